// SPDX-License-Identifier: Apache-2.0

/// The characters by which byte-level vocabularies write bytes: printable Latin-1 characters stand for
/// themselves, the other bytes for the characters from U+0100 on, in order
/// (GPT-2, openai/gpt-2:src/encoder.py).
enum ByteAlphabet {
  private static func isItself(_ byte: UInt8) -> Bool {
    (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || byte >= 0xAE
  }

  /// The byte of each character.
  static let bytes: [Unicode.Scalar: UInt8] = {
    var result: [Unicode.Scalar: UInt8] = [:]
    var next: UInt32 = 0x100
    for byte in UInt8.min...UInt8.max {
      if isItself(byte) {
        result[Unicode.Scalar(byte)] = byte
      } else {
        // Below the surrogates every number is a character.
        result[Unicode.Scalar(next)!] = byte
        next += 1
      }
    }
    return result
  }()

  /// The bytes that a text of such characters stands for; nil if it has others.
  static func bytes(of text: String) -> [UInt8]? {
    var result: [UInt8] = []
    for scalar in text.unicodeScalars {
      guard let byte = bytes[scalar] else { return nil }
      result.append(byte)
    }
    return result
  }
}

// SPDX-License-Identifier: Apache-2.0

import Checkpoints
import Llama
import SystemPackage

/// A tokenizer and, unless it is that of bytes, the file that it came from.
struct ModelTokenizer {
  let tokenizer: any Tokenizer
  /// The bytes of tokenizer.json.
  let file: [UInt8]?

  /// The tokenizer of bytes.
  static let bytes = ModelTokenizer(tokenizer: ByteTokenizer(), file: nil)

  private init(tokenizer: any Tokenizer, file: [UInt8]?) {
    self.tokenizer = tokenizer
    self.file = file
  }

  /// Reads a tokenizer.json.
  init(file path: FilePath) throws {
    let bytes = try readInput(path)
    do throws(LlamaError) {
      tokenizer = try BytePairTokenizer(json: bytes)
    } catch {
      let kind = "tokenizer.json: "
      let start = error.description.hasPrefix(kind) ? kind.count : 0
      throw CommandError("\(path): \(error.description.dropFirst(start))")
    }
    file = bytes
  }

  /// The tokenizer of a model: the file that is named, or the one beside the weights, or that of bytes
  /// for a vocabulary of 256.
  ///
  /// - Throws: ``CommandError`` if there is none, or it has more tokens than the model.
  init(of model: FilePath, named path: String?, vocabularySize: Int) throws {
    let beside = model.appending("tokenizer.json")
    if let path {
      try self.init(file: FilePath(path))
    } else if try FileKind(of: beside) == .file {
      try self.init(file: beside)
    } else if vocabularySize == 256 {
      self = .bytes
    } else {
      throw CommandError(
        "\(model): there is no tokenizer.json beside the weights; --tokenizer names one.")
    }
    guard tokenizer.vocabularySize <= vocabularySize else {
      throw CommandError(
        "\(path ?? beside.string): the tokenizer has \(tokenizer.vocabularySize) tokens, and the "
          + "model only \(vocabularySize).")
    }
  }
}

/// A failure of a command, in one sentence.
package struct CommandError: Error, Hashable, CustomStringConvertible {
  package let description: String

  package init(_ description: String) { self.description = description }
}

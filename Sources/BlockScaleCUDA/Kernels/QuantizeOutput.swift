// SPDX-License-Identifier: Apache-2.0

import BlockScale
import PTX

/// Writes words of codes into a row-major matrix.
struct CodeWriter {
  let k: KernelBuilder
  let element: ElementFormat
  /// Whether rows begin at multiples of 16 bytes and hold a multiple of eight codes.
  let isAligned: Bool
  let codes: GlobalPointer<UInt8>
  let rows: Value<UInt32>
  let columns: Value<UInt32>

  /// Writes the codes of eight neighbours, two words of eight bits or one of four; those outside the
  /// matrix are left out.
  func store(_ words: [Value<UInt32>], row: Value<UInt32>, column: Value<UInt32>) {
    let isRow = row .< rows
    let isNarrow = element == .e2m1
    // Rows of four-bit codes end on a whole byte.
    let rowBytes = isNarrow ? (columns + 1) >> 1 : columns
    let firstByte = isNarrow ? column >> 1 : column
    let place = codes[firstByte].advanced(rows: row, of: rowBytes)
    if isAligned {
      place.assuming(UInt32.self).store(words, if: isRow .& (column .< columns))
      return
    }
    place.storeBytes(of: words) { isRow .& (firstByte + $0 .< rowBytes) }
  }
}

extension Pointer where Space == Global, Element == UInt8 {
  /// Stores the bytes of words one by one: those at whose index the predicate holds.
  func storeBytes(of words: [Value<UInt32>], if isInside: (Int) -> Value<Bool>) {
    for byte in 0..<4 * words.count {
      let word = words[byte / 4]
      let code = byte % 4 == 0 ? word : word >> (8 * (byte % 4))
      advanced(by: byte).store(code.low16, if: isInside(byte))
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Testing
import _BlockScaleTestSupport

@Suite struct SwizzledScalesTests {
  static let shapes = [
    (1, 1), (1, 4), (3, 5), (31, 3), (32, 4), (33, 4), (127, 8), (128, 4), (129, 4), (128, 5),
    (130, 17), (257, 9), (384, 20),
  ]

  /// cuBLAS's formula for the scale of row m and scale column k, with C tiles along the columns.
  @Test(arguments: shapes)
  func followsTheFormula(rows: Int, columns: Int) throws {
    var generator = SplitMix(seed: 11)
    let linear = (0..<rows * columns).map { _ in UInt8.random(in: 1...255, using: &generator) }
    let swizzled = try SwizzledScales(linear: linear, rows: rows, columns: columns)
    let tiles = (columns + 3) / 4
    var taken = Set<Int>()
    for m in 0..<rows {
      for k in 0..<columns {
        let tile = (m / 128) * tiles * 512 + (k / 4) * 512
        let offset = tile + (m % 32) * 16 + ((m % 128) / 32) * 4 + k % 4
        #expect(swizzled.bytes[offset] == linear[m * columns + k])
        taken.insert(offset)
      }
    }
    #expect(taken.count == rows * columns, "No two scales share a place")
    for offset in swizzled.bytes.indices where !taken.contains(offset) {
      #expect(swizzled.bytes[offset] == 0)
    }
    #expect(swizzled.bytes.count == (rows + 127) / 128 * tiles * 512)
    #expect(swizzled.bytes.count == SwizzledScales.byteCount(rows: rows, columns: columns))
    #expect(swizzled.tritonShape.reduce(1, *) == swizzled.bytes.count)
    #expect(swizzled.hasZeroPadding)
    #expect(swizzled.linear == linear)
  }

  @Test(arguments: shapes)
  func storedBytesReadBack(rows: Int, columns: Int) throws {
    var bytes = (0..<SwizzledScales.byteCount(rows: rows, columns: columns)).map {
      UInt8(truncatingIfNeeded: $0 * 7 + 1) | 1
    }
    let swizzled = try SwizzledScales(bytes: bytes, rows: rows, columns: columns)
    #expect(swizzled.bytes == bytes)
    // Nothing but the padding is lost on the way through row-major order.
    let again = try SwizzledScales(linear: swizzled.linear, rows: rows, columns: columns)
    #expect(again.linear == swizzled.linear)
    let isFull = rows % 128 == 0 && columns % 4 == 0
    #expect(swizzled.hasZeroPadding == isFull, "Every byte here is nonzero")
    #expect((again == swizzled) == isFull)
    bytes.removeLast()
    let error = #expect(throws: BlockScaleError.self) {
      try SwizzledScales(bytes: bytes, rows: rows, columns: columns)
    }
    #expect(error?.code == .wrongCount)
  }

  @Test func rejectsOtherCounts() {
    for (rows, columns) in [(2, 3), (-1, -5), (5, 0)] {
      let error = #expect(throws: BlockScaleError.self) {
        try SwizzledScales(linear: [1, 2, 3, 4, 5], rows: rows, columns: columns)
      }
      #expect(error?.code == .wrongCount)
      #expect(error?.description.hasSuffix(".") == true)
    }
  }

  @Test func nothing() throws {
    let empty = try SwizzledScales(linear: [], rows: 0, columns: 4)
    #expect(empty.bytes.isEmpty && empty.linear.isEmpty && empty.hasZeroPadding)
  }
}

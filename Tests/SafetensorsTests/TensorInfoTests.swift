// SPDX-License-Identifier: Apache-2.0

import Testing

import Safetensors

@Suite struct TensorInfoTests {
  @Test func knowsTheFormatsDTypes() {
    #expect(DType.allCases.count == 22)
    #expect(Set(DType.allCases.map(\.rawValue)).count == 22)
    // Descending order, as the reference library sorts: wide first, BOOL last of all.
    let widths = DType.allCases.dropFirst().map(\.bitWidth)
    #expect(widths == widths.sorted())
    #expect(DType.allCases.first == .bool)
  }

  @Test(arguments: DType.allCases)
  func computesByteCounts(_ dtype: DType) throws {
    #expect(try TensorInfo.byteCount(of: dtype, shape: [3, 8]) == 3 * dtype.bitWidth)
    #expect(try TensorInfo.byteCount(of: dtype, shape: [4, 0]) == 0)
    let info = try TensorInfo(name: "a", dtype: dtype, shape: [2, 4], byteOffset: 3)
    #expect(info.elementCount == 8)
    #expect(info.byteCount == dtype.bitWidth)
    #expect(info.byteRange == 3..<3 + dtype.bitWidth)
  }

  @Test(arguments: [
    (
      DType.f32, [2, -1], "the tensor has the shape [2, -1], and a dimension must not be negative."
    ),
    (.u8, [1 << 32, 1 << 31], "whose element count overflows 64 bits."),
    (.u8, [.max, 2, 0], "whose element count overflows 64 bits."),
    (.u8, [.max], "whose size in bits overflows 64 bits."),
    (.f4, [3], "has the shape [3], whose 3 elements of F4 fill no whole number of bytes."),
    (.f4, [], "whose 1 elements of F4 fill no whole number of bytes."),
    (.f6E2M3, [2, 3], "whose 6 elements of F6_E2M3 fill no whole number of bytes."),
    (.f6E3M2, [2], "fill no whole number of bytes."),
    (.u8, Array(repeating: -1, count: 9), "[-1, -1, -1, -1, -1, -1, -1, -1, …]"),
  ])
  func rejectsShapes(_ dtype: DType, _ shape: [Int], _ message: String) {
    let error = #expect(throws: SafetensorsError.self) {
      try TensorInfo.byteCount(of: dtype, shape: shape)
    }
    #expect(error?.code == .invalidShape)
    #expect(error?.path == nil)
    #expect(error?.description.contains(message) == true, "\(error?.description ?? "")")
  }

  @Test(arguments: [-1, Int.max - 3])
  func rejectsOffsets(_ offset: Int) {
    let error = #expect(throws: SafetensorsError.self) {
      try TensorInfo(name: "a", dtype: .f32, shape: [], byteOffset: offset)
    }
    #expect(error?.code == .invalidOffsets)
    #expect(
      error?.description == "tensor 'a' of 4 bytes cannot begin at data offset \(offset).")
  }

  @Test func allowsEmptyShapesBeforeAnOverflow() throws {
    #expect(try TensorInfo.byteCount(of: .u8, shape: [0, .max, .max]) == 0)
  }
}

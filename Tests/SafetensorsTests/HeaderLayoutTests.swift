// SPDX-License-Identifier: Apache-2.0

import OrderedCollections
import Safetensors
import SystemPackage
import Testing

@Suite struct HeaderLayoutTests {
  @Test func laysOutBackToBack() throws {
    let header = try SafetensorsHeader(
      tensors: [("b", .u8, [3]), ("empty", .f32, [0]), ("a", .f32, [2]), ("f4", .f4, [2])],
      metadata: ["k": "v"])
    #expect(header.tensors.values.map(\.byteRange) == [0..<3, 3..<3, 3..<11, 11..<12])
    #expect(header.dataByteCount == 12)
    let bytes = header.encoded()
    #expect(bytes.count == header.dataOffset)
    #expect(bytes.count.isMultiple(of: 8))
    let parsed = try SafetensorsHeader(
      parsing: bytes, fileByteCount: header.fileByteCount, path: "")
    #expect(parsed == header)
  }

  @Test(arguments: 0..<16)
  func padsToAMultipleOfEight(_ length: Int) throws {
    let header = try SafetensorsHeader(
      tensors: [], metadata: ["k": String(repeating: "x", count: length)])
    let bytes = header.encoded()
    #expect(bytes.count.isMultiple(of: 8))
    #expect(Int(bytes[0]) == bytes.count - 8)
    #expect(throws: Never.self) {
      try SafetensorsHeader(parsing: bytes, fileByteCount: bytes.count, path: "")
    }
  }

  @Test func encodesAnEmptyHeader() throws {
    #expect(
      try SafetensorsHeader(tensors: []).encoded()
        == [8, 0, 0, 0, 0, 0, 0, 0] + Array("{}      ".utf8))
  }

  @Test(arguments: DType.allCases)
  func roundTrips(_ dtype: DType) throws {
    let folder = try TemporaryFolder()
    let data = (0..<dtype.bitWidth * 2).map { UInt8(truncatingIfNeeded: $0 * 37) }
    try SafetensorsFile.write(
      [("pad", .u8, [1], [9]), ("x", dtype, [4, 4], data)], to: folder.file("x.safetensors"))
    let file = try SafetensorsFile(path: folder.file("x.safetensors"))
    #expect(try file.tensor(named: "x").dtype == dtype)
    #expect(try file.tensor(named: "x").shape == [4, 4])
    #expect(try bytes(of: "x", in: file) == data)
    #expect(try bytes(of: "pad", in: file) == [9])
  }

  @Test func rejectsNames() {
    let twice = #expect(throws: SafetensorsError.self) {
      try SafetensorsHeader(tensors: [("é", .u8, [1]), ("e\u{301}", .u8, [1])])
    }
    #expect(twice?.code == .invalidName)
    #expect(twice?.description == "two tensors have the name 'e\u{301}'.")
    let reserved = #expect(throws: SafetensorsError.self) {
      try SafetensorsHeader(tensors: [("__metadata__", .u8, [1])])
    }
    #expect(
      reserved?.description
        == "no tensor can be named '__metadata__', where the header keeps its metadata.")
  }

  @Test func rejectsSizes() {
    let shape = #expect(throws: SafetensorsError.self) {
      try SafetensorsHeader(tensors: [("a", .f4, [1])])
    }
    #expect(shape?.code == .invalidShape)
    #expect(shape?.tensor == "a")
    // Each fits, but not all together.
    let items: [SafetensorsHeader.Item] = (0..<17).map { ("t\($0)", .u8, [1 << 30, 1 << 29]) }
    let sum = #expect(throws: SafetensorsError.self) { try SafetensorsHeader(tensors: items) }
    #expect(sum?.code == .invalidOffsets)
    let header = #expect(throws: SafetensorsError.self) {
      try SafetensorsHeader(
        tensors: [], metadata: ["k": String(repeating: "x", count: 100_000_000)])
    }
    #expect(header?.code == .headerTooLarge)
    #expect(
      header?.description
        == "the header takes 100000032 bytes, more than the 100000000 that the format allows.")
  }
}

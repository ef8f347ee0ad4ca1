// SPDX-License-Identifier: Apache-2.0

import OrderedCollections
import Testing

import Safetensors

@Suite struct HeaderParsingTests {
  struct Malformation: Sendable, CustomTestStringConvertible {
    let bytes: [UInt8]
    let code: SafetensorsError.Code
    let sentence: String
    let tensor: String?
    var testDescription: String { sentence }

    init(
      _ header: String, data: Int = 0, _ code: SafetensorsError.Code, tensor: String? = nil,
      _ sentence: String
    ) {
      self.init(fileBytes(header, dataByteCount: data), code, tensor: tensor, sentence)
    }

    init(
      _ bytes: [UInt8], _ code: SafetensorsError.Code, tensor: String? = nil, _ sentence: String
    ) {
      self.bytes = bytes
      self.code = code
      self.sentence = sentence
      self.tensor = tensor
    }
  }

  static func parse(_ bytes: [UInt8]) throws(SafetensorsError) -> SafetensorsHeader {
    try SafetensorsHeader(parsing: bytes, fileByteCount: bytes.count, path: "x.safetensors")
  }

  private static func one(_ entry: String) -> String {
    "{\"a.weight\":{\(entry)}}"
  }

  static let prefixes: [Malformation] = [
    Malformation([], .truncatedHeader, "has 0 bytes, fewer than the 8 of a header's length."),
    Malformation([1], .truncatedHeader, "has 1 byte, fewer than the 8"),
    Malformation(Array(repeating: 0, count: 7), .truncatedHeader, "the file has 7 bytes"),
    Malformation(
      [9, 0, 0, 0, 0, 0, 0, 0, 0x7B, 0x7D], .truncatedHeader,
      "the header claims 9 bytes, but only 2 follow its length."),
    Malformation(
      [1, 0xE1, 0xF5, 5, 0, 0, 0, 0, 0x7B, 0x7D], .headerTooLarge,
      "the header claims 100000001 bytes, more than the 100000000 that the format allows."),
    Malformation(
      [0, 0xE1, 0xF5, 5, 0, 0, 0, 0, 0x7B, 0x7D], .truncatedHeader,
      "the header claims 100000000 bytes, but only 2 follow"),
    Malformation(
      Array(repeating: 0xFF, count: 16), .headerTooLarge, "claims 18446744073709551615 bytes"),
    Malformation("", .invalidHeader, "does not begin with '{' at byte 8"),
    Malformation(" {}", .invalidHeader, "does not begin with '{' at byte 8"),
    Malformation("[]", .invalidHeader, "does not begin with '{'"),
    Malformation("{}\n", .invalidHeader, "padded at byte 10 with something other than a space."),
    Malformation("{}\t  ", .invalidHeader, "padded at byte 10 with"),
    Malformation("{}\0\0", .invalidHeader, "padded at byte 11 with"),
    Malformation("{", .invalidHeader, "no valid JSON at byte 9: the text ends inside an object."),
    Malformation("{} x", .invalidHeader, "no valid JSON at byte 11: the document ends, but 'x'"),
    Malformation(
      fileBytes([0x7B, 0x22, 0xFF, 0x22, 0x7D]), .invalidHeader,
      "no valid JSON at byte 10: a string holds bytes that are no valid UTF-8."),
    Malformation("{\"a\":{},\"a\":{}}", .invalidHeader, "the key 'a' occurs twice."),
    Malformation(
      "{\"a\":" + String(repeating: "[", count: 100), .invalidHeader, "nest deeper than 64"),
    Malformation("{}", data: 3, .unusedData, "end at data offset 0, but the file holds 3 bytes"),
  ]

  static let metadata: [Malformation] = [
    Malformation("{\"__metadata__\":1}", .invalidMetadata, "__metadata__ is a number, not an obj"),
    Malformation("{\"__metadata__\":null}", .invalidMetadata, "__metadata__ is null"),
    Malformation(
      "{\"__metadata__\":{\"k\":1}}", .invalidMetadata, "a number for the key 'k', not a string."),
  ]

  static let entries: [Malformation] = [
    Malformation("{\"a\":1}", .invalidEntry, tensor: "a", "'a' is described by a number"),
    Malformation(one(""), .invalidEntry, tensor: "a.weight", "tensor 'a.weight' has no dtype."),
    Malformation(one(#""dtype":"U8""#), .invalidEntry, tensor: "a.weight", "has no shape."),
    Malformation(
      one(#""dtype":"U8","shape":[]"#), .invalidEntry, tensor: "a.weight", "has no data_offsets."),
    Malformation(
      one(#""dtype":"U8","shape":[],"data_offsets":[0,1],"x":1"#), data: 1, .invalidEntry,
      tensor: "a.weight", "has the unknown key 'x'."),
    Malformation(
      one(#""dtype":8,"shape":[],"data_offsets":[0,1]"#), data: 1, .invalidEntry,
      tensor: "a.weight", "has a number as its dtype, not a string."),
    Malformation(
      one(#""dtype":"F8","shape":[],"data_offsets":[0,1]"#), data: 1, .unknownDType,
      tensor: "a.weight", "has the unknown dtype 'F8'."),
    Malformation(
      one(#""dtype":"u8","shape":[],"data_offsets":[0,1]"#), data: 1, .unknownDType,
      tensor: "a.weight", "has the unknown dtype 'u8'."),
    Malformation(
      one(#""dtype":"U8","shape":1,"data_offsets":[0,1]"#), data: 1, .invalidEntry,
      tensor: "a.weight", "has a number as its shape, not an array."),
    Malformation(
      one(#""dtype":"U8","shape":["1"],"data_offsets":[0,1]"#), data: 1, .invalidShape,
      tensor: "a.weight", "has a string in its shape, not an integer."),
    Malformation(
      one(#""dtype":"U8","shape":[-1],"data_offsets":[0,1]"#), data: 1, .invalidShape,
      tensor: "a.weight", "has '-1' in its shape, which is no natural number below 2^63."),
    Malformation(
      one(#""dtype":"U8","shape":[-0],"data_offsets":[0,0]"#), .invalidShape, tensor: "a.weight",
      "has '-0' in its shape"),
    Malformation(
      one(#""dtype":"U8","shape":[1.0],"data_offsets":[0,1]"#), data: 1, .invalidShape,
      tensor: "a.weight", "has '1.0' in its shape"),
    Malformation(
      one(#""dtype":"U8","shape":[1e0],"data_offsets":[0,1]"#), data: 1, .invalidShape,
      tensor: "a.weight", "has '1e0' in its shape"),
    Malformation(
      one(#""dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,1]"#), data: 1,
      .invalidShape, tensor: "a.weight", "has '9223372036854775808' in its shape"),
    Malformation(
      one(#""dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]"#), .invalidShape,
      tensor: "a.weight", "whose element count overflows 64 bits."),
    Malformation(
      one(#""dtype":"F64","shape":[9223372036854775807],"data_offsets":[0,0]"#), .invalidShape,
      tensor: "a.weight", "whose size in bits overflows 64 bits."),
    Malformation(
      one(#""dtype":"F4","shape":[3],"data_offsets":[0,2]"#), data: 2, .invalidShape,
      tensor: "a.weight", "whose 3 elements of F4 fill no whole number of bytes."),
  ]

  static let offsets: [Malformation] = [
    Malformation(
      one(#""dtype":"U8","shape":[],"data_offsets":[0]"#), data: 1, .invalidOffsets,
      tensor: "a.weight", "has 1 value as its data_offsets, not a beginning and an end."),
    Malformation(
      one(#""dtype":"U8","shape":[],"data_offsets":[0,1,2]"#), data: 1, .invalidOffsets,
      tensor: "a.weight", "has 3 values as its data_offsets"),
    Malformation(
      one(#""dtype":"U8","shape":[],"data_offsets":{"a":0}"#), data: 1, .invalidEntry,
      tensor: "a.weight", "has an object as its data_offsets, not an array."),
    Malformation(
      one(#""dtype":"U8","shape":[],"data_offsets":[-1,0]"#), data: 1, .invalidOffsets,
      tensor: "a.weight", "has '-1' in its data_offsets"),
    Malformation(
      one(#""dtype":"U8","shape":[],"data_offsets":[0,18446744073709551617]"#), data: 1,
      .invalidOffsets, tensor: "a.weight", "has '18446744073709551617' in its data_offsets"),
    Malformation(
      one(#""dtype":"U8","shape":[],"data_offsets":[0,null]"#), data: 1, .invalidOffsets,
      tensor: "a.weight", "has null in its data_offsets, not an integer."),
    Malformation(
      one(#""dtype":"U8","shape":[],"data_offsets":[1,0]"#), data: 1, .invalidOffsets,
      tensor: "a.weight", "begins at data offset 1, after its end at 0."),
    Malformation(
      one(#""dtype":"F32","shape":[16],"data_offsets":[0,64]"#), data: 32, .invalidOffsets,
      tensor: "a.weight",
      "x.safetensors: tensor 'a.weight' ends at data offset 64, past the 32 bytes of data that "
        + "the file holds."),
    Malformation(
      one(#""dtype":"F32","shape":[7],"data_offsets":[0,32]"#), data: 32, .invalidOffsets,
      tensor: "a.weight",
      "takes 28 bytes by its dtype and shape, but 32 by its data offsets 0 to 32."),
    Malformation(
      #"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"#
        + #""b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#, data: 6, .overlappingTensors,
      tensor: "b", "begins at data offset 2, inside of tensor 'a', which ends at 4."),
    Malformation(
      #"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"#
        + #""b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#, data: 4, .overlappingTensors,
      tensor: "b", "begins at data offset 0, inside of tensor 'a', which ends at 4."),
    Malformation(
      #"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"#
        + #""b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}}"#, data: 4, .overlappingTensors,
      tensor: "b", "inside of tensor 'a'"),
    Malformation(
      #"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"#
        + #""b":{"dtype":"U8","shape":[2],"data_offsets":[6,8]}}"#, data: 8, .unusedData,
      tensor: "b", "begins at data offset 6, but the 2 bytes before it from 4 on belong to no"),
    Malformation(
      one(#""dtype":"U8","shape":[1],"data_offsets":[1,2]"#), data: 2, .unusedData,
      tensor: "a.weight", "the 1 byte before it from 0 on belong to no tensor."),
    Malformation(
      one(#""dtype":"U8","shape":[1],"data_offsets":[0,1]"#), data: 2, .unusedData,
      "the tensors end at data offset 1, but the file holds 2 bytes of data."),
  ]

  @Test(arguments: prefixes + metadata + entries + offsets)
  func rejects(_ malformation: Malformation) {
    let error = #expect(throws: SafetensorsError.self) { try Self.parse(malformation.bytes) }
    #expect(error?.code == malformation.code)
    #expect(error?.path == "x.safetensors")
    #expect(error?.tensor == malformation.tensor)
    let description = error?.description ?? ""
    #expect(description.hasPrefix("x.safetensors: "))
    #expect(description.hasSuffix("."))
    #expect(description.contains(malformation.sentence), "\(description)")
  }

  @Test func acceptsSpacesAsPadding() throws {
    let header = try Self.parse(fileBytes("{}      "))
    #expect(header.tensors.isEmpty)
    #expect(header.metadata.isEmpty)
    #expect(header.dataOffset == 16)
    #expect(header.dataByteCount == 0)
  }

  @Test func sortsByOffset() throws {
    let text =
      #"{"c":{"dtype":"U8","shape":[],"data_offsets":[2,3]},"__metadata__":{"z":"1","y":""},"#
      + #""e":{"shape":[0],"data_offsets":[2,2],"dtype":"F32"},"#
      + #""b":{"dtype":"I16","shape":[1],"data_offsets":[0,2]}}"#
    let header = try Self.parse(fileBytes(text, dataByteCount: 3))
    #expect(Array(header.tensors.keys) == ["b", "e", "c"])
    #expect(Array(header.metadata.keys) == ["z", "y"])
    #expect(header.fileByteCount == fileBytes(text, dataByteCount: 3).count)
    #expect(header.tensors["e"]?.byteRange == 2..<2)
  }

  @Test func takesThePrefixOfAFile() throws {
    let bytes = fileBytes(Self.one(#""dtype":"U8","shape":[1],"data_offsets":[0,1]"#))
    let header = try SafetensorsHeader(
      parsing: bytes, fileByteCount: bytes.count + 1, path: "x.safetensors")
    #expect(header.dataByteCount == 1)
    #expect(throws: SafetensorsError.self) {
      try SafetensorsHeader(parsing: bytes, fileByteCount: -1, path: "")
    }
  }

  @Test func makesNamesPrintable() {
    let error = #expect(throws: SafetensorsError.self) {
      try Self.parse(fileBytes(#"{"\u001b[31m\n\u202e":1}"#))
    }
    #expect(
      error?.description
        == "x.safetensors: tensor '\\u{1B}[31m\\u{A}\\u{202E}' is described by a number, not by "
        + "an object.")
  }

  @Test func parsesAHugeHeader() throws {
    let items: [SafetensorsHeader.Item] = (0..<100_000).map {
      (
        "model.layers.\($0 / 100).mlp.experts.\($0 % 100).gate_up_projection_with_a_long_name."
          + String(repeating: "x", count: 64) + ".weight", .bf16, [2, 3]
      )
    }
    let header = try SafetensorsHeader(tensors: items)
    let bytes = header.encoded()
    #expect(bytes.count > 20_000_000)
    let parsed = try SafetensorsHeader(
      parsing: bytes, fileByteCount: header.fileByteCount, path: "x.safetensors")
    #expect(parsed == header)
  }
}

// SPDX-License-Identifier: Apache-2.0

import OrderedCollections
import Safetensors
import SystemPackage
import Testing

/// Runs the fuzzer's most telling inputs; see Tools/Fuzz.
///
/// The first byte of each picks a parser, as in the fuzzer. A parser may throw; it must not trap,
/// and what it accepts must survive being written and parsed again.
@Suite struct CorpusTests {
  private static let folder = vectors.appending("header-corpus")

  @Test(arguments: try fileNames(in: folder))
  func parsesOrThrows(_ name: String) throws {
    let input = try contents(of: Self.folder.appending(name))
    let mode = try #require(input.first) % 4
    let rest = Array(input.dropFirst())
    switch mode {
    case 0:
      try checkHeader(rest, fileByteCount: rest.count + Int(rest.last ?? 0) - 16)
    case 1:
      let dataByteCount = Int(rest[0]) | Int(rest[1]) << 8
      let bytes = fileBytes(Array(rest[2...]))
      try checkHeader(bytes, fileByteCount: bytes.count + dataByteCount)
    case 2:
      guard let value = try? JSONValue.parse(rest, maximumDepth: 100) else { return }
      #expect(try JSONValue.parse(value.rendered(.pretty), maximumDepth: 100) == value)
    default:
      guard let index = try? ShardedIndex(parsing: rest, path: name) else { return }
      #expect(try ShardedIndex(parsing: index.encoded(), path: name).weightMap == index.weightMap)
    }
  }

  private func checkHeader(_ bytes: [UInt8], fileByteCount: Int) throws {
    let header: SafetensorsHeader
    do {
      header = try SafetensorsHeader(parsing: bytes, fileByteCount: fileByteCount, path: "x")
    } catch {
      #expect(error.description.hasPrefix("x: ") && error.description.hasSuffix("."))
      return
    }
    let encoded = header.encoded()
    let again = try SafetensorsHeader(
      parsing: encoded, fileByteCount: encoded.count + header.dataByteCount, path: "x")
    #expect(again.tensors == header.tensors)
    #expect(again.metadata == header.metadata)
  }
}

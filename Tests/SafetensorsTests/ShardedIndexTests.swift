// SPDX-License-Identifier: Apache-2.0

import OrderedCollections
import Safetensors
import Testing

@Suite struct ShardedIndexTests {
  private static let document = """
    {
      "metadata": {
        "total_parameters": 7,
        "total_size": 28966928384
      },
      "weight_map": {
        "b": "model-00002-of-00002.safetensors",
        "a": "model-00001-of-00002.safetensors",
        "é": "model-00002-of-00002.safetensors"
      },
      "other": 1e-05
    }

    """

  private func parse(_ text: String) throws(SafetensorsError) -> ShardedIndex {
    try ShardedIndex(parsing: Array(text.utf8), path: "m.index.json")
  }

  @Test func roundTrips() throws {
    let index = try parse(Self.document)
    #expect(index.totalSize == 28_966_928_384)
    #expect(Array(index.weightMap.keys) == ["b", "a", "é"])
    #expect(
      index.shardNames
        == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"])
    #expect(index.metadata["total_parameters"] == 7)
    let rendered = try ShardedIndex(parsing: index.encoded(), path: "")
    #expect(rendered.weightMap == index.weightMap)
    #expect(rendered.metadata == index.metadata)
  }

  @Test func rendersLikePython() throws {
    let index = try ShardedIndex(weightMap: ["a": "x.safetensors"], totalSize: 12)
    #expect(
      String(decoding: index.encoded(), as: UTF8.self) == """
        {
          "metadata": {
            "total_size": 12
          },
          "weight_map": {
            "a": "x.safetensors"
          }
        }

        """)
    let reversed = "{\n  \"weight_map\": {},\n  \"metadata\": {}\n}\n"
    #expect(String(decoding: try parse(reversed).encoded(), as: UTF8.self) == reversed)
  }

  @Test func takesATotalSizeWithAFraction() throws {
    #expect(try parse(#"{"metadata":{"total_size":8.0},"weight_map":{}}"#).totalSize == 8)
    #expect(try parse(#"{"metadata":{},"weight_map":{}}"#).totalSize == nil)
    #expect(try parse(#"{"weight_map":{}}"#).totalSize == nil)
  }

  @Test(arguments: [
    ("[]", "the index is an array, not an object."),
    ("{}", "the index has no weight_map."),
    ("{\"weight_map\":", "the index is no valid JSON at byte 14: the text ends"),
    (#"{"weight_map":[]}"#, "the index's weight_map is an array, not an object."),
    (#"{"weight_map":{"a":1}}"#, "has a number as the file of tensor 'a', not a string."),
    (#"{"weight_map":{"a":"x","a":"y"}}"#, "at byte 23: the key 'a' occurs twice."),
    (#"{"metadata":1,"weight_map":{}}"#, "the index's metadata is a number, not an object."),
    (#"{"metadata":{"total_size":-1},"weight_map":{}}"#, "total_size is no natural number"),
    (#"{"metadata":{"total_size":1.5},"weight_map":{}}"#, "total_size is no natural number"),
    (#"{"metadata":{"total_size":1e99},"weight_map":{}}"#, "total_size is no natural number"),
    (#"{"metadata":{"total_size":"1"},"weight_map":{}}"#, "total_size is no natural number"),
  ])
  func rejects(_ text: String, _ message: String) {
    let error = #expect(throws: SafetensorsError.self) { try parse(text) }
    #expect(error?.code == .invalidIndex)
    let description = error?.description ?? ""
    #expect(description.hasPrefix("m.index.json: "))
    #expect(description.contains(message), "\(description)")
  }

  @Test(arguments: [
    ("", "which has no name."),
    ("/etc/passwd", "whose path is absolute."),
    ("../x.safetensors", "whose path may lead out of the index's folder."),
    ("a/../../x.safetensors", "whose path may lead out of the index's folder."),
    ("..", "whose path may lead out"),
    (".", "whose path may lead out"),
    ("./x.safetensors", "whose path may lead out"),
    ("a//x.safetensors", "whose path has an empty component."),
    ("a/", "whose path has an empty component."),
    ("a\\u0000b", "whose name holds a NUL."),
    ("/\\u0301etc", "whose path is absolute."),
    ("a/../\\u0301x", "whose path may lead out of the index's folder."),
  ])
  func rejectsShardNames(_ shard: String, _ message: String) {
    let error = #expect(throws: SafetensorsError.self) {
      try parse("{\"weight_map\":{\"t\":\"\(shard)\"}}")
    }
    #expect(error?.code == .invalidShardName)
    #expect(error?.tensor == "t")
    let description = error?.description ?? ""
    #expect(description.hasPrefix("m.index.json: the index places tensor 't' in the file '"))
    #expect(description.contains(message), "\(description)")
  }

  @Test func rejectsShardNamesToWrite() {
    let error = #expect(throws: SafetensorsError.self) {
      try ShardedIndex(weightMap: ["t": "../x"], totalSize: 0)
    }
    #expect(error?.code == .invalidShardName)
    #expect(error?.path == nil)
  }

  @Test func acceptsSubfolders() throws {
    let index = try parse(#"{"weight_map":{"t":"a..b/..x.safetensors"}}"#)
    #expect(index.shardNames == ["a..b/..x.safetensors"])
  }
}

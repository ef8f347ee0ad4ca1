// SPDX-License-Identifier: Apache-2.0

public import OrderedCollections

/// The index of a checkpoint in several files: `model.safetensors.index.json`.
///
/// It maps each tensor to the file that holds it, by a name relative to the index's folder.
public struct ShardedIndex: Sendable, Hashable {
  /// The file that holds each tensor, in the order of the index.
  public let weightMap: OrderedDictionary<String, String>

  /// The other members of the document, such as `metadata`, with their keys in order.
  package let otherMembers: OrderedDictionary<String, JSONValue>

  // A document that was parsed keeps its order: nearly all have the metadata first.
  private let weightMapComesFirst: Bool

  /// Creates an index.
  ///
  /// - Parameters:
  ///   - weightMap: the shard of each tensor.
  ///   - totalSize: the size of all tensors in bytes.
  /// - Throws: ``SafetensorsError`` with the code ``SafetensorsError/Code/invalidShardName``.
  public init(
    weightMap: OrderedDictionary<String, String>, totalSize: Int
  ) throws(SafetensorsError) {
    try self.init(weightMap: weightMap, metadata: ["total_size": JSONValue(totalSize)])
  }

  /// Creates an index with other metadata than the total size alone.
  package init(
    weightMap: OrderedDictionary<String, String>,
    metadata: OrderedDictionary<String, JSONValue>
  ) throws(SafetensorsError) {
    for (tensor, shard) in weightMap {
      try Self.checkShardName(shard, tensor: tensor, path: nil)
    }
    self.weightMap = weightMap
    self.otherMembers = ["metadata": .object(metadata)]
    self.weightMapComesFirst = false
  }

  /// Parses an index.
  ///
  /// - Parameters:
  ///   - bytes: the document.
  ///   - path: the file's name, for error sentences.
  /// - Throws: ``SafetensorsError`` if the document is no strict JSON, has no `weight_map` from
  ///   strings to strings, has a `total_size` that is no natural number, or has a shard name that
  ///   is empty, absolute, holds a NUL, or has a `.` or `..` among its components, and so may lead
  ///   out of the index's folder.
  public init(parsing bytes: Span<UInt8>, path: String) throws(SafetensorsError) {
    let document: JSONValue
    do {
      document = try JSONValue.parse(bytes)
    } catch {
      throw .json(error, path: path, code: .invalidIndex, base: 0, part: "index")
    }
    func failure(_ problem: String, tensor: String? = nil) -> SafetensorsError {
      SafetensorsError(.invalidIndex, path: path, tensor: tensor, problem)
    }
    guard var members = document.objectValue else {
      throw failure("the index is \(document.kind), not an object")
    }
    let weightMapComesFirst = members.keys.first == "weight_map"
    guard let value = members.removeValue(forKey: "weight_map") else {
      throw failure("the index has no weight_map")
    }
    guard let map = value.objectValue else {
      throw failure("the index's weight_map is \(value.kind), not an object")
    }
    if let metadata = members["metadata"] {
      guard let metadata = metadata.objectValue else {
        throw failure("the index's metadata is \(metadata.kind), not an object")
      }
      if let size = metadata["total_size"], Self.natural(size) == nil {
        throw failure("the index's total_size is no natural number below 2^63")
      }
    }
    var weightMap: OrderedDictionary<String, String> = [:]
    weightMap.reserveCapacity(map.count)
    for (tensor, value) in map {
      guard let shard = value.stringValue else {
        throw failure(
          "the index has \(value.kind) as the file of tensor \(quoted(tensor)), not a string",
          tensor: tensor)
      }
      try Self.checkShardName(shard, tensor: tensor, path: path)
      weightMap[tensor] = shard
    }
    self.weightMap = weightMap
    self.otherMembers = members
    self.weightMapComesFirst = weightMapComesFirst
  }

  /// Parses an index that an array holds; see ``init(parsing:path:)-(Span<UInt8>,_)``.
  public init(parsing bytes: [UInt8], path: String) throws(SafetensorsError) {
    try self.init(parsing: bytes.span, path: path)
  }
}

// MARK: - Properties

extension ShardedIndex {
  /// The `metadata` member; empty where the index has none.
  package var metadata: OrderedDictionary<String, JSONValue> {
    otherMembers["metadata"]?.objectValue ?? [:]
  }

  /// The size of all tensors in bytes, as `metadata.total_size` states it, or nil without one.
  ///
  /// Writers disagree about tensors that share memory, so this need not be the sum of the tensors'
  /// sizes.
  public var totalSize: Int? {
    metadata["total_size"].flatMap(Self.natural)
  }

  /// The names of the shards, each once, sorted by their bytes, which is the order of their
  /// numbers.
  public var shardNames: [String] {
    Set(weightMap.values).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  /// The document, indented by two spaces, with a line break at its end.
  public func encoded() -> [UInt8] {
    var members = otherMembers
    let map = JSONValue.object(weightMap.mapValues { .string($0) })
    members.updateValue(
      map, forKey: "weight_map", insertingAt: weightMapComesFirst ? 0 : members.count)
    return JSONValue.object(members).renderedBytes(.pretty) + [UInt8(ascii: "\n")]
  }

  // MARK: - Checks

  /// A natural number, also if it is written with a fraction of zero: some published indexes have
  /// a total size such as `28966928384.0`.
  private static func natural(_ value: JSONValue) -> Int? {
    guard let number = value.intValue ?? value.doubleValue.flatMap(Int.init(exactly:)) else {
      return nil
    }
    return number >= 0 ? number : nil
  }

  /// Checks that a shard name leads to a file in the index's folder or below it.
  static func checkShardName(
    _ shard: String, tensor: String, path: String?
  ) throws(SafetensorsError) {
    func failure(_ problem: String) -> SafetensorsError {
      SafetensorsError(
        .invalidShardName, path: path, tensor: tensor,
        "the index places tensor \(quoted(tensor)) in the file \(quoted(shard)), \(problem)")
    }
    guard !shard.isEmpty else { throw failure("which has no name") }
    guard !shard.utf8.contains(0) else { throw failure("whose name holds a NUL") }
    guard shard.utf8.first != UInt8(ascii: "/") else {
      throw failure("whose path is absolute")
    }
    // By bytes rather than by characters: a combining mark after a slash hides it from Character.
    for component in shard.utf8.split(
      separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    {
      guard !component.isEmpty else { throw failure("whose path has an empty component") }
      guard !component.elementsEqual(".".utf8), !component.elementsEqual("..".utf8) else {
        throw failure("whose path may lead out of the index's folder")
      }
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

public import OrderedCollections

extension SafetensorsHeader {
  /// A tensor before it has a place in a file: its name, its dtype and its shape.
  public typealias Item = (name: String, dtype: DType, shape: [Int])

  /// Lays tensors out back to back, in the order given.
  ///
  /// The format does not ask for alignment, and neither does this initialiser. The reference
  /// library's order, in which every tensor of whole bytes comes out aligned to its elements, is
  /// ``canonicalOrder(_:)``.
  ///
  /// - Throws: ``SafetensorsError`` for two tensors of one name, for a tensor named
  ///   `__metadata__`, for a shape without a size (see ``TensorInfo/byteCount(of:shape:)``), for
  ///   data whose size `Int` cannot hold, and for a header of more than ``maximumByteCount``
  ///   bytes.
  public init(
    tensors items: [Item], metadata: OrderedDictionary<String, String> = [:]
  ) throws(SafetensorsError) {
    var tensors: OrderedDictionary<String, TensorInfo> = [:]
    tensors.reserveCapacity(items.count)
    var end = 0
    for item in items {
      guard item.name != Self.metadataKey else {
        throw SafetensorsError(
          .invalidName, path: nil, tensor: item.name,
          "no tensor can be named \(quoted(item.name)), where the header keeps its metadata")
      }
      let info = try TensorInfo(
        name: item.name, dtype: item.dtype, shape: item.shape, byteOffset: end)
      guard tensors.updateValue(info, forKey: item.name) == nil else {
        throw SafetensorsError(
          .invalidName, path: nil, tensor: item.name,
          "two tensors have the name \(quoted(item.name))")
      }
      end = info.byteRange.upperBound
    }
    let headerByteCount = Self.encode(metadata: metadata, tensors: tensors).count
    guard headerByteCount - 8 <= Self.maximumByteCount else {
      throw SafetensorsError(
        .headerTooLarge, path: nil,
        "the header takes \(headerByteCount - 8) bytes, more than the \(Self.maximumByteCount) "
          + "that the format allows")
    }
    // The file's size must fit as well.
    guard !end.addingReportingOverflow(headerByteCount).overflow else {
      throw SafetensorsError(
        .invalidShape, path: nil, "the tensors' size in bytes overflows 64 bits")
    }
    self.init(
      metadata: metadata, tensors: tensors, dataOffset: headerByteCount, dataByteCount: end)
  }

  /// The tensors in the order in which the reference library writes them.
  ///
  /// It sorts by dtype, from the last of ``DType``'s cases to the first, then by the bytes of the
  /// name. The cases stand in the order of their widths, but for `BOOL`, which sorts behind the
  /// narrower floats.
  public static func canonicalOrder(_ items: [Item]) -> [Item] {
    let ranks = Dictionary(uniqueKeysWithValues: DType.allCases.map { ($0, $0.rank) })
    return items.sorted { left, right in
      guard left.dtype == right.dtype else {
        return ranks[left.dtype, default: 0] > ranks[right.dtype, default: 0]
      }
      return left.name.utf8.lexicographicallyPrecedes(right.name.utf8)
    }
  }

  /// The beginning of a file with this header: the length, the JSON, and spaces up to a multiple
  /// of 8 bytes.
  ///
  /// For a header made by ``init(tensors:metadata:)`` this has ``dataOffset`` bytes, and they are
  /// those that the reference library writes (which keeps the metadata's keys in no fixed order).
  /// For a parsed header the length may differ from ``dataOffset``, since another writer may pad
  /// or order differently.
  public func encoded() -> [UInt8] {
    Self.encode(metadata: metadata, tensors: tensors)
  }

  private static func encode(
    metadata: OrderedDictionary<String, String>, tensors: OrderedDictionary<String, TensorInfo>
  ) -> [UInt8] {
    // Written directly rather than through a JSONValue: there may be 100,000 tensors.
    var output: [UInt8] = Array(repeating: 0, count: 8)
    output.append(UInt8(ascii: "{"))
    var isFirst = true
    if !metadata.isEmpty {
      metadataKey.renderAsJSON(into: &output)
      output.append(UInt8(ascii: ":"))
      let value = JSONValue.object(metadata.mapValues { .string($0) })
      output += value.renderedBytes(.compact)
      isFirst = false
    }
    for info in tensors.values {
      if !isFirst { output.append(UInt8(ascii: ",")) }
      isFirst = false
      info.name.renderAsJSON(into: &output)
      output += ":{\"dtype\":\"".utf8
      output += info.dtype.rawValue.utf8
      output += "\",\"shape\":[".utf8
      for (index, dimension) in info.shape.enumerated() {
        if index > 0 { output.append(UInt8(ascii: ",")) }
        output += String(dimension).utf8
      }
      output += "],\"data_offsets\":[\(info.byteRange.lowerBound),".utf8
      output += "\(info.byteRange.upperBound)]}".utf8
    }
    output.append(UInt8(ascii: "}"))
    while !output.count.isMultiple(of: 8) { output.append(UInt8(ascii: " ")) }
    var length = UInt64(output.count - 8)
    for index in 0..<8 {
      output[index] = UInt8(truncatingIfNeeded: length)
      length >>= 8
    }
    return output
  }
}

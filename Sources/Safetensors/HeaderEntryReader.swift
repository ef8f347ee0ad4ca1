// SPDX-License-Identifier: Apache-2.0

import OrderedCollections

/// Turns the members of a parsed header into tensors and metadata, and checks them.
struct HeaderEntryReader {
  let path: String
  let dataByteCount: Int

  /// The `__metadata__` entry.
  func metadata(_ value: JSONValue) throws(SafetensorsError) -> OrderedDictionary<String, String> {
    guard let members = value.objectValue else {
      throw SafetensorsError(
        .invalidMetadata, path: path,
        "the header's __metadata__ is \(value.kind), not an object")
    }
    var metadata: OrderedDictionary<String, String> = [:]
    for (key, value) in members {
      guard let text = value.stringValue else {
        throw SafetensorsError(
          .invalidMetadata, path: path,
          "the header's __metadata__ has \(value.kind) for the key \(quoted(key)), not a string")
      }
      metadata[key] = text
    }
    return metadata
  }

  /// A tensor's entry.
  func tensor(_ name: String, _ value: JSONValue) throws(SafetensorsError) -> TensorInfo {
    guard let members = value.objectValue else {
      throw failure(.invalidEntry, name, "is described by \(value.kind), not by an object")
    }
    for key in members.keys where !["dtype", "shape", "data_offsets"].contains(key) {
      throw failure(.invalidEntry, name, "has the unknown key \(quoted(key))")
    }
    let dtype = try dtype(of: name, members)
    let shape = try naturals("shape", of: name, members)
    let offsets = try naturals("data_offsets", of: name, members)
    guard offsets.count == 2 else {
      throw failure(
        .invalidOffsets, name,
        "has \(counted(offsets.count, "value")) as its data_offsets, not a beginning and an end")
    }
    let (begin, end) = (offsets[0], offsets[1])
    guard begin <= end else {
      throw failure(
        .invalidOffsets, name, offset: begin,
        "begins at data offset \(begin), after its end at \(end)")
    }
    guard end <= dataByteCount else {
      throw failure(
        .invalidOffsets, name, offset: end,
        "ends at data offset \(end), past the \(counted(dataByteCount, "byte")) of data that the "
          + "file holds")
    }
    let info = try TensorInfo(
      name: name, dtype: dtype, shape: shape, byteOffset: begin, path: path)
    guard info.byteRange.upperBound == end else {
      throw failure(
        .invalidOffsets, name, offset: begin,
        "takes \(counted(info.byteCount, "byte")) by its dtype and shape, but "
          + "\(end - begin) by its data offsets \(begin) to \(end)")
    }
    return info
  }

  /// Checks that tensors, sorted by their offsets, cover the data section without gap or overlap.
  func checkCoverage(_ infos: [TensorInfo]) throws(SafetensorsError) {
    var end = 0
    var previous: String?
    for info in infos {
      let begin = info.byteRange.lowerBound
      if begin < end {
        throw failure(
          .overlappingTensors, info.name, offset: begin,
          "begins at data offset \(begin), inside of tensor \(quoted(previous ?? "")), which ends "
            + "at \(end)")
      }
      if begin > end {
        throw failure(
          .unusedData, info.name, offset: end,
          "begins at data offset \(begin), but the \(counted(begin - end, "byte")) before it from "
            + "\(end) on belong to no tensor")
      }
      end = info.byteRange.upperBound
      previous = info.name
    }
    guard end == dataByteCount else {
      throw SafetensorsError(
        .unusedData, path: path, offset: end,
        "the tensors end at data offset \(end), but the file holds "
          + "\(counted(dataByteCount, "byte")) of data")
    }
  }

  // MARK: - Values

  private func dtype(
    of name: String, _ members: OrderedDictionary<String, JSONValue>
  ) throws(SafetensorsError) -> DType {
    guard let value = members["dtype"] else {
      throw failure(.invalidEntry, name, "has no dtype")
    }
    guard let text = value.stringValue else {
      throw failure(.invalidEntry, name, "has \(value.kind) as its dtype, not a string")
    }
    guard let dtype = DType(rawValue: text) else {
      throw failure(.unknownDType, name, "has the unknown dtype \(quoted(text))")
    }
    return dtype
  }

  /// An array of integers that are not negative.
  private func naturals(
    _ key: String, of name: String, _ members: OrderedDictionary<String, JSONValue>
  ) throws(SafetensorsError) -> [Int] {
    let code: SafetensorsError.Code = key == "shape" ? .invalidShape : .invalidOffsets
    guard let value = members[key] else {
      throw failure(.invalidEntry, name, "has no \(key)")
    }
    guard let elements = value.arrayValue else {
      throw failure(.invalidEntry, name, "has \(value.kind) as its \(key), not an array")
    }
    var numbers: [Int] = []
    numbers.reserveCapacity(elements.count)
    for element in elements {
      guard case .number(let literal) = element else {
        throw failure(code, name, "has \(element.kind) in its \(key), not an integer")
      }
      // A minus sign is wrong even before a zero.
      guard let number = Int(literal), literal.utf8.first != UInt8(ascii: "-") else {
        throw failure(
          code, name,
          "has \(quoted(literal)) in its \(key), which is no natural number below 2^63")
      }
      numbers.append(number)
    }
    return numbers
  }

  private func failure(
    _ code: SafetensorsError.Code, _ name: String, offset: Int? = nil, _ problem: String
  ) -> SafetensorsError {
    SafetensorsError(
      code, path: path, tensor: name, offset: offset, "tensor \(quoted(name)) \(problem)")
  }
}

// SPDX-License-Identifier: Apache-2.0

import OrderedCollections

extension SafetensorsHeader {
  /// Parses and checks the beginning of a safetensors file.
  ///
  /// - Parameters:
  ///   - bytes: the file, or its beginning as far as the header reaches.
  ///   - fileByteCount: the size of the whole file in bytes.
  ///   - path: the file's name, for error sentences.
  /// - Throws: ``SafetensorsError`` for everything that the format does not allow: a file or
  ///   header that is cut off, a header of more than ``maximumByteCount`` bytes, a header that is
  ///   no strict JSON object, padding other than spaces, duplicate names, an unknown dtype, an
  ///   entry with a missing or an unknown key, a shape or an offset that is no natural number or
  ///   overflows, a size that does not fit dtype and shape, tensors that overlap or reach beyond
  ///   the file, and bytes of data that no tensor claims.
  public init(
    parsing bytes: Span<UInt8>, fileByteCount: Int, path: String
  ) throws(SafetensorsError) {
    let headerRange = try Self.headerRange(bytes, fileByteCount: fileByteCount, path: path)
    let document: JSONValue
    do {
      document = try JSONValue.parse(bytes.extracting(headerRange))
    } catch {
      throw .json(
        error, path: path, code: .invalidHeader, base: headerRange.lowerBound, part: "header")
    }
    // The text begins with '{', so the parser returns an object or throws.
    let members = document.objectValue ?? [:]
    let reader = HeaderEntryReader(
      path: path, dataByteCount: fileByteCount - headerRange.upperBound)

    var metadata: OrderedDictionary<String, String> = [:]
    var infos: [TensorInfo] = []
    infos.reserveCapacity(members.count)
    for (name, value) in members {
      if name == Self.metadataKey {
        metadata = try reader.metadata(value)
      } else {
        infos.append(try reader.tensor(name, value))
      }
    }
    // Empty tensors share their offset with a neighbour, and sort before it.
    infos.sort {
      ($0.byteRange.lowerBound, $0.byteRange.upperBound)
        < ($1.byteRange.lowerBound, $1.byteRange.upperBound)
    }
    try reader.checkCoverage(infos)
    self.init(
      metadata: metadata,
      tensors: OrderedDictionary(uniqueKeysWithValues: infos.lazy.map { ($0.name, $0) }),
      dataOffset: headerRange.upperBound, dataByteCount: reader.dataByteCount)
  }

  /// Parses and checks the beginning of a safetensors file that an array holds; see
  /// ``init(parsing:fileByteCount:path:)-(Span<UInt8>,_,_)``.
  public init(
    parsing bytes: [UInt8], fileByteCount: Int, path: String
  ) throws(SafetensorsError) {
    try self.init(parsing: bytes.span, fileByteCount: fileByteCount, path: path)
  }

  /// Checks the length prefix and the padding.
  ///
  /// - Returns: the range of the header with its padding, which the JSON parser takes as white
  ///   space.
  private static func headerRange(
    _ bytes: Span<UInt8>, fileByteCount: Int, path: String
  ) throws(SafetensorsError) -> Range<Int> {
    guard fileByteCount >= 8, bytes.count >= 8 else {
      throw SafetensorsError(
        .truncatedHeader, path: path, offset: 0,
        "the file has \(counted(max(0, min(fileByteCount, bytes.count)), "byte")), fewer than the "
          + "8 of a header's length")
    }
    var length: UInt64 = 0
    for index in 0..<8 { length |= UInt64(bytes[index]) << (8 * index) }
    guard length <= UInt64(maximumByteCount) else {
      throw SafetensorsError(
        .headerTooLarge, path: path, offset: 0,
        "the header claims \(length) bytes, more than the \(maximumByteCount) that the format "
          + "allows")
    }
    let end = 8 + Int(length)
    let available = min(fileByteCount, bytes.count)
    guard end <= available else {
      throw SafetensorsError(
        .truncatedHeader, path: path, offset: 8,
        "the header claims \(counted(Int(length), "byte")), but only \(available - 8) follow its "
          + "length")
    }
    guard length > 0, bytes[8] == UInt8(ascii: "{") else {
      throw SafetensorsError(
        .invalidHeader, path: path, offset: 8,
        "the header does not begin with '{' at byte 8, so this is no safetensors file")
    }
    var last = end - 1
    while bytes[last] == UInt8(ascii: " ") { last -= 1 }
    switch bytes[last] {
    case 0x09, 0x0A, 0x0D, 0x00:
      throw SafetensorsError(
        .invalidHeader, path: path, offset: last,
        "the header is padded at byte \(last) with something other than a space")
    default:
      // Anything else that is not the closing brace is the JSON parser's to report.
      return 8..<end
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

/// One tensor of a safetensors file: its name, its type, and where its bytes lie.
public struct TensorInfo: Sendable, Hashable {
  /// The tensor's name.
  public let name: String

  /// The type of its elements.
  public let dtype: DType

  /// Its dimensions, outermost first; empty for a scalar.
  public let shape: [Int]

  /// Where its bytes lie, counted from the beginning of the data section.
  public let byteRange: Range<Int>

  /// The product of the dimensions; 1 for a scalar.
  public let elementCount: Int

  /// The size of its data in bytes.
  public var byteCount: Int { byteRange.count }

  /// Creates the description of a tensor whose bytes begin at an offset in the data section.
  ///
  /// - Throws: ``SafetensorsError`` with the code ``SafetensorsError/Code/invalidShape`` for a
  ///   negative dimension, for a size that `Int` cannot hold, and for sub-byte elements that fill
  ///   no whole number of bytes; with ``SafetensorsError/Code/invalidOffsets`` for a negative
  ///   offset or an end that `Int` cannot hold.
  public init(
    name: String, dtype: DType, shape: [Int], byteOffset: Int
  ) throws(SafetensorsError) {
    try self.init(name: name, dtype: dtype, shape: shape, byteOffset: byteOffset, path: nil)
  }

  init(
    name: String, dtype: DType, shape: [Int], byteOffset: Int, path: String?
  ) throws(SafetensorsError) {
    let size = try Self.size(of: dtype, shape: shape, path: path, tensor: name)
    let (end, overflow) = byteOffset.addingReportingOverflow(size.byteCount)
    guard byteOffset >= 0, !overflow else {
      throw SafetensorsError(
        .invalidOffsets, path: path, tensor: name, offset: byteOffset,
        "tensor \(quoted(name)) of \(counted(size.byteCount, "byte")) cannot begin at data offset "
          + "\(byteOffset)")
    }
    self.name = name
    self.dtype = dtype
    self.shape = shape
    self.byteRange = byteOffset..<end
    self.elementCount = size.elementCount
  }

  /// The size in bytes of a tensor of a dtype and a shape.
  ///
  /// - Throws: ``SafetensorsError`` with the code ``SafetensorsError/Code/invalidShape``; see
  ///   ``init(name:dtype:shape:byteOffset:)``.
  public static func byteCount(of dtype: DType, shape: [Int]) throws(SafetensorsError) -> Int {
    try size(of: dtype, shape: shape, path: nil, tensor: nil).byteCount
  }

  static func size(
    of dtype: DType, shape: [Int], path: String?, tensor: String?
  ) throws(SafetensorsError) -> (elementCount: Int, byteCount: Int) {
    func failure(_ problem: String) -> SafetensorsError {
      let subject = tensor.map { "tensor \(quoted($0)) has" } ?? "the tensor has"
      return SafetensorsError(
        .invalidShape, path: path, tensor: tensor,
        "\(subject) the shape \(describe(shape)), \(problem)")
    }
    var elementCount = 1
    for dimension in shape {
      guard dimension >= 0 else { throw failure("and a dimension must not be negative") }
      let (product, overflow) = elementCount.multipliedReportingOverflow(by: dimension)
      guard !overflow else { throw failure("whose element count overflows 64 bits") }
      elementCount = product
    }
    let (bitCount, overflow) = elementCount.multipliedReportingOverflow(by: dtype.bitWidth)
    guard !overflow else { throw failure("whose size in bits overflows 64 bits") }
    guard bitCount.isMultiple(of: 8) else {
      throw failure(
        "whose \(elementCount) elements of \(dtype.rawValue) fill no whole number of bytes")
    }
    return (elementCount, bitCount / 8)
  }

  /// A shape for an error sentence, cut after eight dimensions.
  private static func describe(_ shape: [Int]) -> String {
    let shown = shape.prefix(8).map(\.description).joined(separator: ", ")
    return "[" + shown + (shape.count > 8 ? ", …]" : "]")
  }
}

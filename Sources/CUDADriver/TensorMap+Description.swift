// SPDX-License-Identifier: Apache-2.0

extension TensorMap {
  /// What the elements of a tensor are, by the driver's numbers.
  public enum ElementType: Int32, Hashable, Sendable {
    /// 8 bits, also for the formats E4M3, E5M2 and UE8M0, and pairs of E2M1.
    case uint8 = 0
    /// 16 bits.
    case uint16 = 1
    /// 32 bits.
    case uint32 = 2
    /// 32 bits with a sign.
    case int32 = 3
    /// 64 bits.
    case uint64 = 4
    /// 64 bits with a sign.
    case int64 = 5
    /// IEEE half precision.
    case float16 = 6
    /// IEEE single precision.
    case float32 = 7
    /// IEEE double precision.
    case float64 = 8
    /// Half of single precision's bits.
    case bfloat16 = 9
    /// 4 bits, packed in shared memory as they are in global memory. Blackwell.
    case uint4 = 13
    /// 4 bits, of which 16 lie in 8 of every 16 bytes of shared memory. Blackwell.
    case uint4Padded = 14

    /// Bits of an element in global memory.
    public var bitCount: Int {
      switch self {
      case .uint4, .uint4Padded: 4
      case .uint8: 8
      case .uint16, .float16, .bfloat16: 16
      case .uint32, .int32, .float32: 32
      case .uint64, .int64, .float64: 64
      }
    }

    var isPacked: Bool { bitCount == 4 }

    var isFloatingPoint: Bool {
      switch self {
      case .float16, .float32, .float64, .bfloat16: true
      default: false
      }
    }
  }

  /// How 16-byte chunks change places in shared memory, against bank conflicts.
  public enum Swizzle: Int32, Hashable, Sendable {
    /// Rows follow each other as they are.
    case none = 0
    /// Within 32 bytes.
    case bytes32 = 1
    /// Within 64 bytes.
    case bytes64 = 2
    /// Within 128 bytes, as wgmma reads operands fastest.
    case bytes128 = 3

    /// The most bytes of a box's row, or nil where there is no such limit.
    var rowByteCount: Int? {
      switch self {
      case .none: nil
      case .bytes32: 32
      case .bytes64: 64
      case .bytes128: 128
      }
    }
  }

  /// How much the second-level cache fetches at once.
  public enum L2Promotion: Int32, Hashable, Sendable {
    /// What is asked for.
    case none = 0
    /// 64 bytes.
    case bytes64 = 1
    /// 128 bytes.
    case bytes128 = 2
    /// 256 bytes.
    case bytes256 = 3
  }

  /// What a box holds where it leaves the tensor.
  public enum OutOfBoundsFill: Int32, Hashable, Sendable {
    /// Zeros.
    case zero = 0
    /// A NaN that fused multiply-adds take for zero; floating-point elements only.
    case nan = 1
  }

  /// How a tensor lies in global memory and how boxes of it lie in shared memory.
  public struct Description: Hashable, Sendable {
    /// What elements are.
    public var elementType: ElementType

    /// Elements in each dimension, the innermost first.
    public var extents: [Int]

    /// Bytes from one element to the next in each dimension but the innermost.
    public var strides: [Int]

    /// Elements of a box in each dimension.
    public var box: [Int]

    /// How rows of a box lie in shared memory.
    public var swizzle: Swizzle

    /// How much the second-level cache fetches at once.
    public var l2Promotion: L2Promotion

    /// What a box holds where it leaves the tensor.
    public var outOfBoundsFill: OutOfBoundsFill

    /// A tensor and its boxes.
    ///
    /// - Parameters:
    ///   - elementType: What elements are.
    ///   - extents: Elements in each of one to five dimensions, the innermost first.
    ///   - strides: Bytes, one fewer than extents; nil for a tensor without gaps.
    ///   - box: Elements of a box in each dimension, up to 256.
    ///   - swizzle: How rows of a box lie in shared memory.
    ///   - l2Promotion: How much the second-level cache fetches at once.
    ///   - outOfBoundsFill: What a box holds where it leaves the tensor.
    public init(
      elementType: ElementType, extents: [Int], strides: [Int]? = nil, box: [Int],
      swizzle: Swizzle = .none, l2Promotion: L2Promotion = .bytes256,
      outOfBoundsFill: OutOfBoundsFill = .zero
    ) {
      self.elementType = elementType
      self.extents = extents
      self.strides = strides ?? Self.denseStrides(elementType, extents)
      self.box = box
      self.swizzle = swizzle
      self.l2Promotion = l2Promotion
      self.outOfBoundsFill = outOfBoundsFill
    }

    private static func denseStrides(_ elementType: ElementType, _ extents: [Int]) -> [Int] {
      var bits = elementType.bitCount
      return extents.dropLast().map { extent in
        // A product that overflows is no tensor; the check of the extents says so.
        bits = bits.multipliedReportingOverflow(by: extent).partialValue
        return bits / 8
      }
    }
  }
}

extension TensorMap.Description: CustomStringConvertible {
  /// For example "(uint8, extents [7168, 4096], strides [7168], box [128, 64], swizzle bytes128)".
  public var description: String {
    "(\(elementType), extents \(extents), strides \(strides), box \(box), swizzle \(swizzle))"
  }
}

extension TensorMap.Description {
  /// Throws for what breaks a limit of `cuTensorMapEncodeTiled` (cuda.h 12.8), which itself answers only
  /// "invalid value".
  func check(at address: DeviceAddress) throws(CUDAError) {
    func require(_ condition: Bool, _ reason: @autoclosure () -> String) throws(CUDAError) {
      guard condition else { throw .invalid("The tensor map \(self) is not possible: \(reason())") }
    }
    let rank = extents.count
    let alignment = elementType == .uint4Padded ? 32 : 16
    try require((1...5).contains(rank), "it has \(rank) dimensions, and 1 to 5 can be")
    try require(
      strides.count == rank - 1 && box.count == rank,
      "\(rank) extents need \(rank - 1) strides and \(rank) numbers of a box")
    try require(
      address.rawValue % UInt64(alignment) == 0,
      "its address \(address) is no multiple of \(alignment)")
    for extent in extents {
      try require((1...1 << 32).contains(extent), "the extent \(extent) is not in 1 to 2^32")
    }
    for stride in strides {
      try require(
        stride > 0 && stride % alignment == 0 && stride < 1 << 40,
        "the stride \(stride) is no positive multiple of \(alignment) below 2^40")
    }
    for side in box {
      try require((1...256).contains(side), "the box's side \(side) is not in 1 to 256")
    }
    let rowBits = box[0] * elementType.bitCount
    try require(
      rowBits % 128 == 0, "a row of the box has \(rowBits) bits, no multiple of 16 bytes")
    if let limit = swizzle.rowByteCount, elementType != .uint4Padded {
      try require(
        rowBits <= 8 * limit,
        "a row of the box has \(rowBits / 8) bytes, and its swizzle takes at most \(limit)")
    }
    switch elementType {
    case .uint4:
      try require(extents[0] % 2 == 0, "4-bit elements come in pairs")
    case .uint4Padded:
      try require(
        extents[0] % 128 == 0 && box[0] == 128,
        "padded 4-bit elements need rows of a multiple of 128 and boxes of 128")
      try require(
        swizzle == .none || swizzle == .bytes128,
        "padded 4-bit elements have no swizzle or that of 128 bytes")
    default: break
    }
    try require(
      outOfBoundsFill == .zero || elementType.isFloatingPoint,
      "only floating-point elements can be filled with NaN")
  }
}

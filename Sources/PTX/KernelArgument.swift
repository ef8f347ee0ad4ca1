// SPDX-License-Identifier: Apache-2.0

/// What a launch passes for a parameter.
package enum KernelArgument: Hashable, Sendable {
  /// An address of the device's global memory.
  case pointer(UInt64)
  case uint32(UInt32)
  case uint64(UInt64)
  case float(Float)
  case tensorMap(TensorMapLayout)

  /// The kind of parameter that takes it.
  package var kind: KernelParameter.Kind {
    switch self {
    case .pointer: .pointer
    case .uint32: .uint32
    case .uint64: .uint64
    case .float: .float
    case .tensorMap: .tensorMap
    }
  }
}

/// How a tensor lies in global memory and how boxes of it lie in shared memory.
///
/// The driver encodes it into a tensor map; the emulator reads it as it is.
package struct TensorMapLayout: Hashable, Sendable {
  /// What elements are, as tensor maps know them.
  package enum Element: Int, Hashable, Sendable {
    case uint8 = 0, uint16 = 1, uint32 = 2, int32 = 3, float16 = 6, float32 = 7, bfloat16 = 9

    package var byteCount: Int {
      switch self {
      case .uint8: 1
      case .uint16, .float16, .bfloat16: 2
      case .uint32, .int32, .float32: 4
      }
    }
  }

  /// The address of the first element, a multiple of 16.
  package var base: UInt64
  package var element: Element
  /// Elements in each dimension, innermost first.
  package var extents: [Int]
  /// Bytes from one to the next in each dimension but the innermost, multiples of 16.
  package var strides: [Int]
  /// Elements of a box in each dimension, up to 256.
  package var box: [Int]
  package var swizzle: Swizzle

  package init(
    base: UInt64, element: Element, extents: [Int], strides: [Int], box: [Int], swizzle: Swizzle
  ) {
    self.base = base
    self.element = element
    self.extents = extents
    self.strides = strides
    self.box = box
    self.swizzle = swizzle
  }
}

/// How chunks of 16 bytes are exchanged within rows of shared memory, against bank conflicts.
package enum Swizzle: Int, Hashable, Sendable {
  /// Rows follow each other as they are.
  case none = 0
  case bytes32 = 1, bytes64 = 2, bytes128 = 3

  /// The bytes of a row; a pattern repeats every eight rows.
  package var rowBytes: Int? {
    switch self {
    case .none: nil
    case .bytes32: 32
    case .bytes64: 64
    case .bytes128: 128
    }
  }

  /// Where the byte at an offset of a tile (aligned to the pattern's 1024, 512 or 256 bytes) lies.
  package func place(of offset: Int) -> Int {
    switch self {
    case .none: offset
    case .bytes32: offset ^ (offset >> 3 & 0x10)
    case .bytes64: offset ^ (offset >> 3 & 0x30)
    case .bytes128: offset ^ (offset >> 3 & 0x70)
    }
  }

  /// The two bits of a matrix descriptor, which count the other way round.
  package var descriptorBits: UInt64 {
    switch self {
    case .none: 0
    case .bytes128: 1
    case .bytes64: 2
    case .bytes32: 3
    }
  }
}

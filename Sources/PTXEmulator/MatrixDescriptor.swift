// SPDX-License-Identifier: Apache-2.0

import PTX

/// The 64 bits by which wgmma finds an operand in shared memory.
struct MatrixDescriptor {
  let bits: UInt64

  /// Bits 0 to 13: the address of the first element, over 16.
  var start: Int { Int(bits & 0x3FFF) << 4 }
  /// Bits 16 to 29.
  var leadingOffset: Int { Int(bits >> 16 & 0x3FFF) << 4 }
  /// Bits 32 to 45.
  var strideOffset: Int { Int(bits >> 32 & 0x3FFF) << 4 }
  /// Bits 49 to 51: where in eight rows the pattern begins.
  var baseOffset: Int { Int(bits >> 49 & 7) }
  /// Bits 62 and 63.
  var swizzle: Swizzle {
    switch bits >> 62 {
    case 0: .none
    case 1: .bytes128
    case 2: .bytes64
    default: .bytes32
    }
  }

  /// Bits that have no meaning, which must be zero.
  var strayBits: UInt64 {
    bits & ~(0x3FFF | 0x3FFF << 16 | 0x3FFF << 32 | 7 << 49 | 3 << 62)
  }

  /// The shared address of a chunk of 16 bytes along K: of a row (of M or N), with 32 bytes of K an
  /// instruction.
  ///
  /// Rows come in groups of eight, `strideOffset` apart. Without swizzle the two chunks of eight rows
  /// are blocks of 128 bytes, `leadingOffset` apart; else rows follow each other as long as the
  /// pattern is wide.
  func alongK(row: Int, chunk: Int) -> Int {
    let group = start + row / 8 * strideOffset
    guard let span = swizzle.rowBytes else {
      return group + row % 8 * 16 + chunk * leadingOffset
    }
    return place(group + row % 8 * span + chunk * 16)
  }

  /// The shared address of eight values of 16 bits along M or N, for an operand that lies along
  /// these.
  ///
  /// With a swizzle, rows of K are as long as the pattern is wide; eight of them make an atom. Atoms
  /// are `leadingOffset` apart along M or N and `strideOffset` apart along K; without swizzle, where
  /// atoms are 16 bytes wide, it is the other way round.
  func acrossK(chunk: Int, depth: Int) -> Int {
    guard let span = swizzle.rowBytes else {
      return start + chunk * strideOffset + depth / 8 * leadingOffset + depth % 8 * 16
    }
    let chunks = span / 16
    return place(
      start + chunk / chunks * leadingOffset + chunk % chunks * 16 + depth / 8 * strideOffset
        + depth % 8 * span)
  }

  /// Swizzles an address by its own bits, counted from where the pattern begins.
  private func place(_ address: Int) -> Int {
    let shift = baseOffset << 7
    return address ^ (swizzle.place(of: address &- shift) ^ (address &- shift))
  }
}

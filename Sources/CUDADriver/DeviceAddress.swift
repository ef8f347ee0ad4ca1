// SPDX-License-Identifier: Apache-2.0

/// A place in a GPU's memory.
///
/// A number, not a pointer: the processor cannot follow it.
public struct DeviceAddress: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// The address in the GPU's address space.
  public let rawValue: UInt64

  /// An address from its number.
  public init(rawValue: UInt64) {
    self.rawValue = rawValue
  }

  /// The address so many bytes further on.
  public static func + (address: Self, byteCount: Int) -> Self {
    Self(rawValue: address.rawValue &+ UInt64(bitPattern: Int64(byteCount)))
  }

  /// Lower addresses come first.
  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }

  /// In hexadecimal, for example "0x7f2a00000000".
  public var description: String { "0x" + String(rawValue, radix: 16) }
}

// SPDX-License-Identifier: Apache-2.0

/// What a launch passes for one parameter of a kernel.
public enum LaunchArgument: Sendable {
  /// An address of device memory (`.u64`).
  case address(DeviceAddress)
  /// A number of 32 bits (`.u32`).
  case uint32(UInt32)
  /// A number of 64 bits (`.u64`).
  case uint64(UInt64)
  /// A single-precision number (`.f32`).
  case float(Float)
  /// A tensor map by value (`.align 64 .b8 name[128]`).
  case tensorMap(TensorMap)

  /// The beginning of an allocation.
  public static func memory(_ memory: borrowing DeviceMemory) -> LaunchArgument {
    .address(memory.address)
  }

  /// Bytes of the parameter.
  var byteCount: Int {
    switch self {
    case .uint32, .float: 4
    case .address, .uint64: 8
    case .tensorMap: TensorMap.byteCount
    }
  }

  /// What the parameter's address is a multiple of.
  var alignment: Int {
    switch self {
    case .tensorMap: TensorMap.alignment
    default: byteCount
    }
  }
}

/// Passes the addresses of the arguments' values, as the driver wants them.
func withArgumentPointers<R>(
  _ arguments: [LaunchArgument], _ body: (UnsafeMutablePointer<UnsafeMutableRawPointer?>) -> R
) -> R {
  var offsets: [Int] = []
  offsets.reserveCapacity(arguments.count)
  var end = 0
  for argument in arguments {
    let alignment = argument.alignment
    let offset = (end + alignment - 1) / alignment * alignment
    offsets.append(offset)
    end = offset + argument.byteCount
  }
  // Both buffers are written before they are passed on; each value lies within `end`, on its alignment.
  return unsafe withUnsafeTemporaryAllocation(
    byteCount: max(end, 1), alignment: TensorMap.alignment
  ) { values in
    let base = values.baseAddress!
    return unsafe withUnsafeTemporaryAllocation(
      of: UnsafeMutableRawPointer?.self, capacity: max(arguments.count, 1)
    ) { pointers in
      unsafe pointers.initialize(repeating: nil)
      for (index, argument) in arguments.enumerated() {
        let place = unsafe base + offsets[index]
        switch argument {
        case .address(let address):
          unsafe place.storeBytes(of: address.rawValue, as: UInt64.self)
        case .uint32(let value): unsafe place.storeBytes(of: value, as: UInt32.self)
        case .uint64(let value): unsafe place.storeBytes(of: value, as: UInt64.self)
        case .float(let value): unsafe place.storeBytes(of: value, as: Float.self)
        case .tensorMap(let map):
          for word in map.words.indices {
            unsafe place.storeBytes(
              of: map.words[word], toByteOffset: 8 * word, as: UInt64.self)
          }
        }
        unsafe pointers[index] = place
      }
      return unsafe body(pointers.baseAddress!)
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

/// The global memory of an emulated device: allocations with bounds, and which bytes were written.
package final class EmulatedMemory {
  struct Allocation {
    let base: UInt64
    let bytes: Storage<UInt8>
    /// 1 for bytes that were written.
    let written: Storage<UInt8>

    var end: UInt64 { base + UInt64(bytes.count) }

    /// Whether all bytes of a range were written; `count` is a power of two up to 16.
    @inline(__always)
    func areWritten(_ offset: Int, _ count: Int) -> Bool {
      switch count {
      case 4: written.load(UInt32.self, at: offset) == 0x0101_0101
      case 8: written.load(UInt64.self, at: offset) == 0x0101_0101_0101_0101
      case 16:
        written.load(UInt64.self, at: offset) & written.load(UInt64.self, at: offset + 8)
          == 0x0101_0101_0101_0101
      default: (offset..<offset + count).allSatisfy { written[$0] != 0 }
      }
    }
  }

  private(set) var allocations: [Allocation] = []
  /// The allocation that the last access hit, which the next mostly hits again.
  private var last = 0
  private var next: UInt64 = 0x7F00_0000_0000

  package init() {}

  // MARK: Host

  /// Reserves memory that nothing has written yet, and returns its address, a multiple of 512.
  package func allocate(bytes count: Int) -> UInt64 {
    precondition(count >= 0, "allocates \(count) bytes")
    let base = next
    allocations.append(
      Allocation(
        base: base, bytes: Storage(repeating: 0xA5, count: count),
        written: Storage(repeating: 0, count: count)))
    // A gap, so that running out of one allocation does not run into the next.
    next += (UInt64(count) + 0xFFFF) & ~0xFFFF + 0x10000
    return base
  }

  /// Ends an allocation; accesses to it are errors from now on.
  package func free(_ address: UInt64) {
    guard let index = allocations.firstIndex(where: { $0.base == address }) else {
      preconditionFailure("frees address \(address), where no allocation begins")
    }
    allocations.remove(at: index)
    last = 0
  }

  /// Reserves memory for values and writes them.
  package func upload<Value: BitwiseCopyable>(_ values: [Value]) -> UInt64 {
    let base = allocate(bytes: values.count * MemoryLayout<Value>.stride)
    write(values, into: allocations[allocations.count - 1], at: 0)
    return base
  }

  /// Writes values to memory that was reserved before.
  package func upload<Value: BitwiseCopyable>(
    _ values: [Value], to address: UInt64
  ) throws(EmulatorError) {
    let count = values.count * MemoryLayout<Value>.stride
    let (allocation, offset) = try hostAccess(address, count, "an upload")
    write(values, into: allocation, at: offset)
  }

  /// Reads values; every byte must have been written by an upload or a kernel.
  package func download<Value: BitwiseCopyable>(
    _: Value.Type, count: Int, from address: UInt64
  ) throws(EmulatorError) -> [Value] {
    let stride = MemoryLayout<Value>.stride
    let (allocation, offset) = try hostAccess(address, count * stride, "a download")
    for index in offset..<offset + count * stride where allocation.written[index] == 0 {
      throw EmulatorError(
        kind: .uninitializedGlobal, line: nil,
        description:
          "a download of \(count * stride) bytes reads byte \(index - offset), which no upload or kernel has written"
      )
    }
    return (0..<count).map { allocation.bytes.load(Value.self, at: offset + $0 * stride) }
  }

  /// Which bytes of a range were written, one Boolean a byte.
  package func writtenBytes(count: Int, from address: UInt64) throws(EmulatorError) -> [Bool] {
    let (allocation, offset) = try hostAccess(address, count, "a look at what was written")
    return (offset..<offset + count).map { allocation.written[$0] != 0 }
  }

  private func write<Value: BitwiseCopyable>(
    _ values: [Value], into allocation: Allocation, at offset: Int
  ) {
    let stride = MemoryLayout<Value>.stride
    for (index, value) in values.enumerated() {
      allocation.bytes.store(value, at: offset + index * stride)
    }
    allocation.written.fill(offset..<offset + values.count * stride, with: 1)
  }

  private func hostAccess(
    _ address: UInt64, _ count: Int, _ what: String
  ) throws(EmulatorError) -> (Allocation, Int) {
    do throws(Fault) {
      return try locate(address, count)
    } catch {
      throw EmulatorError(kind: error.kind, line: nil, description: "\(what) \(error.text)")
    }
  }

  // MARK: Kernels

  /// The allocation that holds so many bytes at an address, and their offset in it.
  func locate(_ address: UInt64, _ count: Int) throws(Fault) -> (Allocation, Int) {
    if last < allocations.count {
      let allocation = allocations[last]
      if address >= allocation.base, address &+ UInt64(count) <= allocation.end {
        return (allocation, Int(address - allocation.base))
      }
    }
    // Allocations are in the order of their addresses.
    var low = 0
    var high = allocations.count
    while low < high {
      let middle = (low + high) / 2
      if allocations[middle].base <= address { low = middle + 1 } else { high = middle }
    }
    guard low > 0 else {
      throw Fault(
        .outOfBounds, "touches \(count) bytes at \(hexadecimal(address)), outside every allocation")
    }
    let allocation = allocations[low - 1]
    guard address &+ UInt64(count) <= allocation.end, address &+ UInt64(count) >= address else {
      throw Fault(
        .outOfBounds,
        "touches \(count) bytes at \(hexadecimal(address)), "
          + "byte \(address - allocation.base) of an allocation of \(allocation.bytes.count)")
    }
    last = low - 1
    return (allocation, Int(address - allocation.base))
  }
}

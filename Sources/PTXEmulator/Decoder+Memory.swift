// SPDX-License-Identifier: Apache-2.0

import PTX

/// An address register and the bytes added to it.
struct AddressPlace {
  var base: Place
  var offset: UInt64

  @inline(__always)
  func address(_ warp: Warp, _ lane: Int) -> UInt64 { warp[base, lane] &+ offset }
}

extension Decoder {
  mutating func place(_ address: Address, _ space: MemorySpace) -> AddressPlace {
    AddressPlace(
      base: place(address.base, space.addressKind),
      offset: UInt64(bitPattern: Int64(address.offset)))
  }

  mutating func decodePrefetch(_ address: Address) -> Work {
    _ = place(address, .global)
    // A hint: an address outside all allocations is dropped.
    return { (_, _) in .done }
  }

  /// Requires what PTX asks of vectors: 1, 2 or 4 registers of 16 bytes at most.
  private mutating func check(_ access: MemoryAccess, _ registers: Int, _ places: [Place]) {
    if ![1, 2, 4].contains(access.count) || registers != access.count
      || access.type.byteCount * access.count > 16 || access.type == .predicate
    {
      report(
        "moves \(registers) registers as a vector of \(access.count) \(access.type.rawValue), which PTX lacks"
      )
    }
    if places.contains(where: {
      $0.kind == .predicate || $0.kind.bitWidth < access.type.byteCount * 8
    }) {
      report("moves \(access.type.rawValue) to or from a register that is too narrow")
    }
  }

  // MARK: Loads

  mutating func decodeLoad(_ access: MemoryAccess, _ to: [Register], _ address: Address) -> Work {
    let destinations = to.map { place($0) }
    let address = place(address, access.space)
    check(access, to.count, destinations)
    let type = access.type
    let width = type.byteCount
    let size = width * access.count
    if access.space == .global {
      return { (warp, mask) throws(Fault) in
        let launch = warp.block.launch
        for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
          let (allocation, offset) = try warp.global(
            address.address(warp, lane), size, lane, "loads")
          if launch.options.checksUninitializedGlobal,
            !allocation.areWritten(offset, size)
          {
            for index in offset..<offset + size where allocation.written[index] == 0 {
              throw Fault(
                .uninitializedGlobal,
                "loads byte \(index) of an allocation of \(allocation.bytes.count), which nothing has written",
                lane: lane)
            }
          }
          for (index, destination) in destinations.enumerated() {
            warp[destination, lane] = type.load(allocation.bytes, offset + index * width)
          }
        }
        return .done
      }
    }
    let inCluster = access.space == .sharedCluster
    let isVolatile = access.isVolatile
    return { (warp, mask) throws(Fault) in
      for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
        let (shared, offset) = try warp.shared(
          address.address(warp, lane), size, lane, "loads", inCluster: inCluster)
        if isVolatile {
          try shared.accessAtomically(
            offset, size, by: warp, lane: lane, reads: true, writes: false)
        } else {
          try shared.read(offset, size, by: warp, lane: lane)
        }
        for (index, destination) in destinations.enumerated() {
          warp[destination, lane] = type.load(shared.bytes, offset + index * width)
        }
      }
      return .done
    }
  }

  // MARK: Stores

  mutating func decodeStore(_ access: MemoryAccess, _ from: [Operand], _ address: Address) -> Work {
    let type = access.type
    let sources = from.map { operand in
      if case .register(let register) = operand {
        place(register)
      } else {
        place(operand, type.registerKind)
      }
    }
    let address = place(address, access.space)
    check(access, from.count, sources)
    let width = type.byteCount
    let size = width * access.count
    if access.space == .global {
      return { (warp, mask) throws(Fault) in
        var last: UInt64 = 0
        var isAscending = true
        for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
          let place = address.address(warp, lane)
          isAscending = isAscending && place >= last
          last = place &+ UInt64(size)
          let (allocation, offset) = try warp.global(place, size, lane, "stores")
          for (index, source) in sources.enumerated() {
            type.store(warp[source, lane], allocation.bytes, offset + index * width)
          }
          allocation.written.fill(offset..<offset + size, with: 1)
        }
        if isAscending { return .done }
        // Another lane may have overwritten what this one stored.
        for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
          let (allocation, offset) = try warp.global(
            address.address(warp, lane), size, lane, "stores")
          for (index, source) in sources.enumerated()
          where type.load(allocation.bytes, offset + index * width)
            != type.truncated(warp[source, lane])
          {
            throw Fault(
              .conflictingWrites,
              "stores to an address (byte \(offset + index * width) of an allocation of \(allocation.bytes.count)) where another lane stores another value",
              lane: lane)
          }
        }
        return .done
      }
    }
    let inCluster = access.space == .sharedCluster
    let isVolatile = access.isVolatile
    return { (warp, mask) throws(Fault) in
      var last: UInt64 = 0
      var isAscending = true
      for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
        let place = address.address(warp, lane)
        isAscending = isAscending && place >= last
        last = place &+ UInt64(size)
        let (shared, offset) = try warp.shared(place, size, lane, "stores", inCluster: inCluster)
        if isVolatile {
          try shared.accessAtomically(
            offset, size, by: warp, lane: lane, reads: false, writes: true)
        } else {
          try shared.write(offset, size, by: warp, lane: lane)
        }
        for (index, source) in sources.enumerated() {
          type.store(warp[source, lane], shared.bytes, offset + index * width)
        }
      }
      if isAscending { return .done }
      for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
        let (shared, offset) = try warp.shared(
          address.address(warp, lane), size, lane, "stores", inCluster: inCluster)
        for (index, source) in sources.enumerated()
        where type.load(shared.bytes, offset + index * width) != type.truncated(warp[source, lane])
        {
          throw Fault(
            .conflictingWrites,
            "stores to shared byte \(offset + index * width), where another lane stores another value",
            lane: lane)
        }
      }
      return .done
    }
  }

  // MARK: Atomics

  mutating func decodeAtomic(
    _ operation: AtomicOperation, _ type: ScalarType, _ space: MemorySpace, _ to: Register?,
    _ address: Address, _ value: Operand, _ compare: Operand?
  ) -> Work {
    let destination = to.map { place($0, type.registerKind) }
    let address = place(address, space)
    let value = place(value, type.registerKind)
    let compare = compare.map { place($0, type.registerKind) }
    let width = type.byteCount
    if (operation == .compareAndSwap) != (compare != nil) || !operation.exists(for: type) {
      report("has atom.\(operation.rawValue).\(type.rawValue), which PTX lacks")
      return { (_, _) in .done }
    }
    return { (warp, mask) throws(Fault) in
      for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
        let bytes: Storage<UInt8>
        let offset: Int
        if space == .global {
          let found = try warp.global(address.address(warp, lane), width, lane, "updates")
          (bytes, offset) = (found.0.bytes, found.1)
          for index in offset..<offset + width where found.0.written[index] == 0 {
            throw Fault(
              .uninitializedGlobal,
              "updates byte \(index) of an allocation of \(bytes.count), which nothing has written",
              lane: lane)
          }
        } else {
          let (shared, place) = try warp.shared(
            address.address(warp, lane), width, lane, "updates", inCluster: space == .sharedCluster)
          try shared.accessAtomically(place, width, by: warp, lane: lane, reads: true, writes: true)
          (bytes, offset) = (shared.bytes, place)
        }
        let old = type.load(bytes, offset)
        let new = operation.apply(
          type, old, type.truncated(warp[value, lane]),
          compare.map { type.truncated(warp[$0, lane]) } ?? 0)
        type.store(new, bytes, offset)
        if let destination { warp[destination, lane] = old }
      }
      return .done
    }
  }

  mutating func decodeFence(_ fence: Fence) -> Work {
    switch fence {
    // Memory is updated in program order; barriers order it between warps.
    case .block, .cluster, .device, .system: return { (_, _) in .done }
    case .proxyAsyncShared:
      return { (warp, mask) in
        warp.block.cluster.clocks.fence(warp.actor, lanes: mask)
        warp.fenceBarriers()
        return .done
      }
    // Global memory keeps no record of proxies.
    case .proxyAsyncGlobal: return { (_, _) in .done }
    case .mbarrierInitialization:
      return { (warp, _) in
        warp.fenceBarriers()
        return .done
      }
    }
  }
}

extension Warp {
  /// Where aligned bytes of global memory lie.
  @inline(__always)
  func global(
    _ address: UInt64, _ count: Int, _ lane: Int, _ verb: String
  ) throws(Fault) -> (EmulatedMemory.Allocation, Int) {
    guard address % UInt64(count) == 0 else {
      throw Fault(
        .misaligned,
        "\(verb) \(count) bytes at \(hexadecimal(address)), which is not a multiple of \(count)",
        lane: lane)
    }
    do throws(Fault) {
      return try block.launch.memory.locate(address, count)
    } catch {
      throw Fault(error.kind, "\(verb) \(count) bytes and \(error.text)", lane: lane)
    }
  }

  /// Where aligned bytes of shared memory lie.
  @inline(__always)
  func shared(
    _ address: UInt64, _ count: Int, _ lane: Int, _ verb: String, inCluster: Bool
  ) throws(Fault) -> (SharedMemory, Int) {
    guard address % UInt64(count) == 0 else {
      throw Fault(
        .misaligned,
        "\(verb) \(count) bytes at shared address \(hexadecimal(address)), which is not a multiple of \(count)",
        lane: lane)
    }
    let (block, offset) = try block.resolve(
      UInt32(truncatingIfNeeded: address), count, lane: lane, inCluster: inCluster)
    return (block.shared, offset)
  }
}

extension ScalarType {
  /// The bits of a value in memory, extended as loads do.
  @inline(__always)
  func load(_ bytes: Storage<UInt8>, _ offset: Int) -> UInt64 {
    switch byteCount {
    case 1: UInt64(bytes[offset])
    case 2: UInt64(bytes.load(UInt16.self, at: offset))
    case 4:
      self == .s32
        ? UInt64(bitPattern: Int64(bytes.load(Int32.self, at: offset)))
        : UInt64(bytes.load(UInt32.self, at: offset))
    default: bytes.load(UInt64.self, at: offset)
    }
  }

  @inline(__always)
  func store(_ value: UInt64, _ bytes: Storage<UInt8>, _ offset: Int) {
    switch byteCount {
    case 1: bytes[offset] = UInt8(truncatingIfNeeded: value)
    case 2: bytes.store(UInt16(truncatingIfNeeded: value), at: offset)
    case 4: bytes.store(UInt32(truncatingIfNeeded: value), at: offset)
    default: bytes.store(value, at: offset)
    }
  }

  /// A register's bits as a load of what a store wrote would give them.
  @inline(__always)
  func truncated(_ value: UInt64) -> UInt64 {
    switch byteCount {
    case 1: value & 0xFF
    case 2: value & 0xFFFF
    case 4:
      self == .s32
        ? UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: value))) : value & 0xFFFF_FFFF
    default: value
    }
  }
}

extension AtomicOperation {
  func exists(for type: ScalarType) -> Bool {
    switch self {
    case .add: type.byteCount >= 2 && type != .u16 && type != .b16
    case .minimum, .maximum: [.u32, .s32, .u64, .s64].contains(type)
    case .and, .or, .exchange, .compareAndSwap:
      !type.isFloatingPoint && type.half == nil && type.byteCount >= 4
    }
  }

  /// The value after the operation, of bits as loads give them.
  func apply(_ type: ScalarType, _ old: UInt64, _ value: UInt64, _ compare: UInt64) -> UInt64 {
    switch self {
    case .add:
      switch type {
      case .f32:
        UInt64(
          canonical(
            Float(bitPattern: UInt32(truncatingIfNeeded: old))
              + Float(bitPattern: UInt32(truncatingIfNeeded: value))
          ).bitPattern)
      case .f64: (Double(bitPattern: old) + Double(bitPattern: value)).bitPattern
      case .f16, .bf16:
        UInt64(
          type.half!.encode(
            sumToOdd(
              type.half!.decode(UInt16(truncatingIfNeeded: old)),
              type.half!.decode(UInt16(truncatingIfNeeded: value)))))
      case .f16x2, .bf16x2:
        UInt64(
          type.half!.inHalves(UInt32(truncatingIfNeeded: old), UInt32(truncatingIfNeeded: value), 0)
          {
            (x, y, _) in sumToOdd(x, y)
          })
      default: old &+ value
      }
    case .minimum:
      type.isSigned
        ? UInt64(bitPattern: Swift.min(Int64(bitPattern: old), Int64(bitPattern: value)))
        : Swift.min(old, value)
    case .maximum:
      type.isSigned
        ? UInt64(bitPattern: Swift.max(Int64(bitPattern: old), Int64(bitPattern: value)))
        : Swift.max(old, value)
    case .and: old & value
    case .or: old | value
    case .exchange: value
    case .compareAndSwap: old == compare ? value : old
    }
  }
}

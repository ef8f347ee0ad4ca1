// SPDX-License-Identifier: Apache-2.0

import PTX

/// A tensor copy with its registers found.
struct TensorCopyPlaces {
  var map: Place
  var coordinates: [Place]
  var shared: AddressPlace
}

extension Decoder {
  mutating func decodeTensorCopy(_ instruction: Instruction) -> Work {
    switch instruction {
    case .tensorLoad(let copy, let barrier, let multicast):
      let places = place(copy)
      let barrier = place(barrier, .shared)
      let multicast = multicast.map { place($0, .bits16) }
      return { (warp, mask) throws(Fault) in
        for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
          try warp.loadTensor(
            places, barrier.address(warp, lane),
            multicast.map { UInt32(truncatingIfNeeded: warp[$0, lane]) }, lane)
        }
        return .done
      }
    case .tensorStore(let copy, let adding):
      let places = place(copy)
      return { (warp, mask) throws(Fault) in
        for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
          try warp.storeTensor(places, adding: adding, lane)
        }
        return .done
      }
    case .tensorPrefetch(let map, let coordinates):
      let map = place(map, .bits64)
      let coordinates = coordinates.map { place($0, .bits32) }
      return { (warp, mask) throws(Fault) in
        for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
          _ = try warp.tensorMap(map, coordinates, lane)
        }
        return .done
      }
    case .prefetchTensorMap(let map):
      let map = place(map, .bits64)
      return { (warp, mask) throws(Fault) in
        for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 { _ = try warp.tensorMap(map, lane) }
        return .done
      }
    default: preconditionFailure("no copy of tensors")
    }
  }

  private mutating func place(_ copy: TensorCopy) -> TensorCopyPlaces {
    if !(1...5).contains(copy.coordinates.count) {
      report("copies a tensor of rank \(copy.coordinates.count); 1 to 5 are possible")
    }
    return TensorCopyPlaces(
      map: place(copy.map, .bits64), coordinates: copy.coordinates.map { place($0, .bits32) },
      shared: place(copy.shared, .shared))
  }
}

extension Warp {
  /// The tensor map at a generic address.
  func tensorMap(_ place: Place, _ lane: Int) throws(Fault) -> TensorMapLayout {
    let offset = self[place, lane] &- Warp.tensorMapBase
    let arguments = block.launch.arguments
    guard offset % 128 == 0, offset / 128 < UInt64(arguments.count),
      case .tensorMap(let map) = arguments[Int(offset / 128)]
    else {
      throw Fault(
        .tensorMap, "uses \(hexadecimal(self[place, lane])) as a tensor map, which no parameter is",
        lane: lane)
    }
    return map
  }

  /// A tensor map and coordinates of its rank.
  func tensorMap(
    _ place: Place, _ coordinates: [Place], _ lane: Int
  ) throws(Fault) -> (TensorMapLayout, [Int]) {
    let map = try tensorMap(place, lane)
    guard map.extents.count == coordinates.count else {
      throw Fault(
        .tensorMap,
        "names \(coordinates.count) coordinates of a tensor of rank \(map.extents.count)",
        lane: lane)
    }
    let values = coordinates.map { Int(Int32(truncatingIfNeeded: self[$0, lane])) }
    return (map, values)
  }

  /// Where a box lies in shared memory.
  private func box(
    _ map: TensorMapLayout, _ address: UInt64, _ lane: Int, inCluster: Bool
  ) throws(Fault) -> (block: Block, offset: Int) {
    let row = map.box[0] * map.element.byteCount
    if let span = map.swizzle.rowBytes, row != span {
      throw Fault(
        .tensorMap,
        "copies a box whose rows are \(row) bytes under a swizzle of \(span), which is not emulated",
        lane: lane)
    }
    guard address % 128 == 0 else {
      throw Fault(
        .misaligned,
        "copies a tensor at shared address \(hexadecimal(address)), which is not a multiple of 128",
        lane: lane)
    }
    return try block.resolve(
      UInt32(truncatingIfNeeded: address), map.boxBytes, lane: lane, inCluster: inCluster)
  }

  /// The barriers that a load into blocks of the cluster completes at.
  func barriers(
    _ address: UInt64, _ targets: [Block], isMulticast: Bool, _ lane: Int
  ) throws(Fault) -> [TransactionBarrier] {
    let (first, owner) = try transactionBarrier(address, lane: lane, inCluster: true)
    guard isMulticast || owner === targets[0] else {
      throw Fault(
        .notABarrier,
        "copies to block \(targets[0].rank) of the cluster but completes at a barrier of block \(owner.rank)",
        lane: lane)
    }
    var barriers: [TransactionBarrier] = []
    for target in targets {
      guard let barrier = target.shared.barriers[first.offset] else {
        throw Fault(
          .notABarrier,
          "completes at shared byte \(first.offset) of block \(target.rank) of the cluster, where no transaction barrier is",
          lane: lane)
      }
      guard barrier.isFenced else {
        throw Fault(
          .notVisibleToAsyncProxy,
          "completes at the transaction barrier at shared byte \(first.offset), whose initialisation has no fence (`fence.mbarrier_init` or `fence.proxy.async`)",
          lane: lane)
      }
      barriers.append(barrier)
    }
    return barriers
  }

  // MARK: Loads

  func loadTensor(
    _ places: TensorCopyPlaces, _ barrier: UInt64, _ multicast: UInt32?, _ lane: Int
  ) throws(Fault) {
    let (map, coordinates) = try tensorMap(places.map, places.coordinates, lane)
    let (destination, offset) = try box(
      map, places.shared.address(self, lane), lane, inCluster: multicast == nil)
    var targets = [destination]
    if let multicast {
      let blocks = block.cluster.blocks
      guard multicast != 0, multicast >> UInt32(blocks.count) == 0 else {
        throw Fault(
          .outOfBounds,
          "sends a box to the blocks of mask \(hexadecimal(multicast)) of a cluster of \(blocks.count)",
          lane: lane)
      }
      targets = blocks.filter { multicast >> UInt32($0.rank) & 1 != 0 }
    }
    let barriers = try barriers(barrier, targets, isMulticast: multicast != nil, lane)
    let clocks = block.cluster.clocks
    let clock = clocks.startCopy(actor)
    let range = offset..<offset + map.boxBytes
    for target in targets {
      if target.hasEnded {
        throw Fault(
          .outOfBounds, "sends a box to block \(target.rank) of the cluster, which has ended",
          lane: lane)
      }
      try target.shared.beginWrite(range, by: self, at: clock)
    }
    let memory = block.launch.memory
    let checks = block.launch.options.checksUninitializedGlobal
    let actor = actor
    try ask(barriers) { () throws(Fault) in
      for target in targets { target.shared.bytes.fill(range, with: 0) }
      for run in map.runs(at: coordinates) {
        let (source, start) = try memory.read(run.address, run.count, checkingWritten: checks)
        var position = start
        for piece in map.pieces(run, in: offset) {
          for target in targets {
            target.shared.bytes.copy(
              piece.count, from: source, at: position, to: piece.lowerBound)
          }
          position += piece.count
        }
      }
      for (target, barrier) in zip(targets, barriers) {
        target.shared.finishWrite(range)
        clocks.tell(clocks.copier(actor), clock, to: &barrier.telling)
        try barrier.complete(map.boxBytes)
      }
    }
  }

  // MARK: Stores

  func storeTensor(_ places: TensorCopyPlaces, adding: Bool, _ lane: Int) throws(Fault) {
    let (map, coordinates) = try tensorMap(places.map, places.coordinates, lane)
    let (owner, offset) = try box(map, places.shared.address(self, lane), lane, inCluster: false)
    let runs = map.runs(at: coordinates)
    let pieces = runs.map { map.pieces($0, in: offset) }
    let shared = owner.shared
    let memory = block.launch.memory
    let element = map.element
    try ask(lane, reading: shared, pieces.flatMap { $0 }) { () throws(Fault) in
      for (run, pieces) in zip(runs, pieces) {
        let (allocation, start) = try memory.locate(run.address, run.count)
        var position = start
        for piece in pieces {
          if adding {
            try allocation.add(element.scalar, piece, of: shared.bytes, at: position)
          } else {
            allocation.bytes.copy(
              piece.count, from: shared.bytes, at: piece.lowerBound, to: position)
            allocation.written.fill(position..<position + piece.count, with: 1)
          }
          position += piece.count
        }
      }
    }
  }
}

extension TensorMapLayout.Element {
  /// The type whose values a reduction adds.
  var scalar: ScalarType {
    switch self {
    case .uint8: .u8
    case .uint16: .u16
    case .uint32: .u32
    case .int32: .s32
    case .float16: .f16
    case .float32: .f32
    case .bfloat16: .bf16
    }
  }
}

extension EmulatedMemory.Allocation {
  /// Adds values of shared memory to those at an offset.
  func add(
    _ type: ScalarType, _ range: Range<Int>, of shared: Storage<UInt8>, at offset: Int
  ) throws(Fault) {
    guard AtomicOperation.add.exists(for: type) else {
      throw Fault(.tensorMap, "adds values of \(type.rawValue), which bulk reductions cannot")
    }
    for step in stride(from: 0, to: range.count, by: type.byteCount) {
      for index in offset + step..<offset + step + type.byteCount where written[index] == 0 {
        throw Fault(
          .uninitializedGlobal,
          "adds to byte \(index) of an allocation of \(bytes.count), which nothing has written")
      }
      let sum = AtomicOperation.add.apply(
        type, type.load(bytes, offset + step), type.load(shared, range.lowerBound + step), 0)
      type.store(sum, bytes, offset + step)
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import PTX

extension Decoder {
  mutating func decodeWarpOperation(_ instruction: Instruction) -> Work {
    switch instruction {
    case .shuffle(let mode, let d, let valid, let a, let lane, let clamp, let members):
      let destination = place(d, .bits32)
      let inRange = valid.map { place($0, .predicate) }
      let source = place(a, .bits32)
      let lane = place(lane, .bits32)
      let clamp = place(clamp, .bits32)
      let members = place(members, .bits32)
      return { (warp, mask) throws(Fault) in
        try warp.requireMembers(members, mask, "a shuffle")
        try warp.shuffle(mode, destination, inRange, source, lane, clamp, mask)
        return .done
      }
    case .ballot(let d, let p, let members):
      let destination = place(d, .bits32)
      let predicate = place(p, .predicate)
      let members = place(members, .bits32)
      return { (warp, mask) throws(Fault) in
        try warp.requireMembers(members, mask, "a ballot")
        let bits = warp.predicates[predicate.offset] & mask
        warp.fill(destination, bits, mask)
        return .done
      }
    case .vote(let mode, let d, let p, let members):
      let destination = place(d, .predicate)
      let predicate = place(p, .predicate)
      let members = place(members, .bits32)
      return { (warp, mask) throws(Fault) in
        try warp.requireMembers(members, mask, "a vote")
        let bits = warp.predicates[predicate.offset] & mask
        let holds = mode == .all ? bits == mask : bits != 0
        warp.setPredicate(destination, holds ? ~0 : 0, mask)
        return .done
      }
    case .reduceWarp(let operation, let type, let d, let a, let members):
      let destination = place(d, .bits32)
      let source = place(a, .bits32)
      let members = place(members, .bits32)
      let isBits = [BinaryOperation.add, .and, .or, .xor].contains(operation)
      let isOrder = operation == .minimum || operation == .maximum
      if !(isBits && [.b32, .u32, .s32].contains(type))
        && !(isOrder && (type == .u32 || type == .s32))
      {
        report("has redux.sync.\(operation.rawValue).\(type.rawValue), which PTX lacks")
      }
      return { (warp, mask) throws(Fault) in
        try warp.requireMembers(members, mask, "a reduction")
        var result: UInt32?
        let values = warp.registers.lanes(UInt32.self, at: source.offset)
        for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
          let value = values[lane]
          guard let sum = result else {
            result = value
            continue
          }
          let takesValue =
            type == .s32
            ? Int32(bitPattern: value) < Int32(bitPattern: sum) : value < sum
          result =
            switch operation {
            case .and: sum & value
            case .or: sum | value
            case .xor: sum ^ value
            case .minimum: takesValue ? value : sum
            case .maximum: takesValue ? sum : value
            default: sum &+ value
            }
        }
        warp.fill(destination, result ?? 0, mask)
        return .done
      }
    case .elect(let p, let members):
      let destination = place(p, .predicate)
      let members = place(members, .bits32)
      return { (warp, mask) throws(Fault) in
        try warp.requireMembers(members, mask, "an election")
        warp.setPredicate(destination, 1 << UInt32(mask.trailingZeroBitCount), mask)
        return .done
      }
    case .synchronizeWarp(let members):
      let members = place(members, .bits32)
      return { (warp, mask) throws(Fault) in
        try warp.requireMembers(members, mask, "a synchronization of lanes")
        return .done
      }
    default: preconditionFailure("no instruction of warps")
    }
  }
}

extension Warp {
  @inline(__always)
  func fill(_ destination: Place, _ value: UInt32, _ mask: UInt32) {
    for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
      self[destination, lane] = UInt64(value)
    }
  }

  /// Requires that the lanes which a member mask names are those that execute.
  func requireMembers(_ place: Place, _ mask: UInt32, _ what: String) throws(Fault) {
    let members = UInt32(truncatingIfNeeded: try uniform(place, mask, "a member mask of"))
    // Lanes that were never launched may be named; the hardware fills the last warp with idle ones.
    let missing = members & population & ~mask
    guard missing == 0 else {
      throw Fault(
        .inactiveLane,
        "executes \(what) that names \(laneNames(missing)), which does not execute it",
        lanes: mask)
    }
    guard mask & ~members == 0 else {
      throw Fault(
        .inactiveLane,
        "executes \(what) in \(laneNames(mask & ~members)), which its member mask \(hexadecimal(members)) does not name",
        lanes: mask & ~members)
    }
  }

  /// `shfl.sync` as the PTX manual writes it down: the clamp's bits 8 to 12 make segments.
  func shuffle(
    _ mode: ShuffleMode, _ destination: Place, _ inRange: Place?, _ source: Place, _ by: Place,
    _ clamp: Place, _ mask: UInt32
  ) throws(Fault) {
    let values = registers.lanes(UInt32.self, at: source.offset)
    let distances = registers.lanes(UInt32.self, at: by.offset)
    let clamps = registers.lanes(UInt32.self, at: clamp.offset)
    let results = registers.lanes(UInt32.self, at: destination.offset)
    // All lanes read before any writes: the destination may be the source.
    let copy = block.launch.scratch
    for lane in 0..<32 { copy[lane] = values[lane] }
    var validity: UInt32 = 0
    for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
      let distance = Int(distances[lane] & 31)
      let bound = Int(clamps[lane] & 31)
      let segment = Int(clamps[lane] >> 8 & 31)
      let last = lane & segment | bound & ~segment
      let first = lane & segment
      var from: Int
      let isValid: Bool
      switch mode {
      case .up:
        from = lane - distance
        isValid = from >= last
      case .down:
        from = lane + distance
        isValid = from <= last
      case .butterfly:
        from = lane ^ distance
        isValid = from <= last
      case .index:
        from = first | distance & ~segment
        isValid = from <= last
      }
      if !isValid { from = lane }
      guard mask >> UInt32(from) & 1 != 0 else {
        throw Fault(
          .inactiveLane, "shuffles from lane \(from), which does not execute it", lane: lane)
      }
      results[lane] = copy[from]
      if isValid { validity |= 1 << UInt32(lane) }
    }
    if let inRange { setPredicate(inRange, validity, mask) }
  }
}

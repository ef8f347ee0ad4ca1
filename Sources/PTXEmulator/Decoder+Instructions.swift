// SPDX-License-Identifier: Apache-2.0

import PTX

extension Decoder {
  /// What an instruction does, with its registers found.
  mutating func decode(_ instruction: Instruction) -> Work {
    switch instruction {
    case .move, .readSpecial, .loadParameter, .tensorMapAddress, .sharedAddress, .globalAddress,
      .pack, .unpack, .select, .permuteBytes, .logic3, .predicateLogic:
      decodeMove(instruction)
    case .unary(let operation, let type, let d, let a): decodeUnary(operation, type, d, a)
    case .binary(let operation, let type, let d, let a, let b):
      decodeBinary(operation, type, d, a, b)
    case .ternary(let operation, let type, let d, let a, let b, let c):
      decodeTernary(operation, type, d, a, b, c)
    case .compare(let comparison, let type, let d, let a, let b):
      decodeCompare(comparison, type, d, a, b)
    case .convert(let d, let to, let a, let from, let rounding, let saturating):
      decodeConvert(d, to, a, from, rounding, saturating)
    case .packPair, .packQuadStochastic, .unpackPair: decodePairs(instruction)
    case .load(let access, let to, let address): decodeLoad(access, to, address)
    case .store(let access, let from, let address): decodeStore(access, from, address)
    case .atomic(let operation, let type, let space, let to, let address, let a, let b):
      decodeAtomic(operation, type, space, to, address, a, b)
    case .prefetchL2(let address):
      decodePrefetch(address)
    case .shuffle, .ballot, .vote, .reduceWarp, .elect, .synchronizeWarp:
      decodeWarpOperation(instruction)
    case .barrier(let id, let threads): decodeBarrier(id: id, threads: threads, waits: true)
    case .barrierArrive(let id, let threads): decodeBarrier(id: id, threads: threads, waits: false)
    case .fence(let fence): decodeFence(fence)
    case .clusterArrive, .clusterWait, .mapToCluster: decodeCluster(instruction)
    case .mbarrierInitialize, .mbarrierInvalidate, .mbarrierArrive, .mbarrierArriveExpecting,
      .mbarrierExpect, .mbarrierArriveRemote, .mbarrierTryWait:
      decodeTransactionBarrier(instruction)
    case .tensorLoad, .tensorStore, .tensorPrefetch, .prefetchTensorMap:
      decodeTensorCopy(instruction)
    case .bulkLoad, .bulkStore, .bulkCommit, .bulkWait: decodeBulkCopy(instruction)
    case .wgmmaFence, .wgmma, .wgmmaCommit, .wgmmaWait: decodeProduct(instruction)
    case .loadMatrix(let to, let address, let transposed): decodeLoadMatrix(to, address, transposed)
    case .storeMatrix(let from, let address, let transposed):
      decodeStoreMatrix(from, address, transposed)
    case .setMaximumRegisters(let count, let increasing): decodeRegisterLimit(count, increasing)
    // Launches follow each other here, so that prior grids have always finished.
    case .waitForPriorGrids, .launchDependentGrids: { (_, _) in .done }
    case .trap: { (_, mask) throws(Fault) in throw Fault(.trap, "executes a trap", lanes: mask) }
    }
  }

  // MARK: Moves

  private mutating func decodeMove(_ instruction: Instruction) -> Work {
    switch instruction {
    case .move(let d, let a):
      let destination = place(d)
      let source = place(a, d.kind)
      switch d.kind {
      case .predicate:
        return { (warp, mask) in
          warp.setPredicate(destination, warp.predicates[source.offset], mask)
          return .done
        }
      case .bits16:
        return { (warp, mask) in
          warp.map(destination, source, mask) { (x: UInt16) in x }
          return .done
        }
      case .bits32:
        return { (warp, mask) in
          warp.map(destination, source, mask) { (x: UInt32) in x }
          return .done
        }
      case .bits64:
        return { (warp, mask) in
          warp.map(destination, source, mask) { (x: UInt64) in x }
          return .done
        }
      }
    case .readSpecial(let d, let special): return decodeSpecial(place(d, .bits32), special)
    case .loadParameter(let d, let parameter): return decodeParameter(d, parameter)
    case .tensorMapAddress(let d, let parameter):
      let destination = place(d, .bits64)
      guard tree.parameters.indices.contains(parameter),
        tree.parameters[parameter].kind == .tensorMap
      else {
        report("takes the address of parameter \(parameter), which is no tensor map")
        return { (_, _) in .done }
      }
      return fill(destination) { (_, _) in Warp.tensorMapBase + UInt64(parameter) * 128 }
    case .sharedAddress(let d, let offset):
      if offset < 0 || offset > tree.sharedBytes {
        report("takes the address of shared byte \(offset) of \(tree.sharedBytes)")
      }
      return fill(place(d, .bits32)) { (_, _) in UInt64(SharedMemory.base + offset) }
    case .globalAddress(let d, let a):
      let destination = place(d, .bits64)
      let source = place(a, .bits64)
      return { (warp, mask) in
        warp.map(destination, source, mask) { (x: UInt64) in x }
        return .done
      }
    case .pack(let d, let parts): return decodePack(place(d), parts.map { place($0) })
    case .unpack(let parts, let a): return decodeUnpack(parts.map { place($0) }, place(a))
    case .select(let d, let a, let b, let p):
      let destination = place(d)
      let x = place(a, d.kind)
      let y = place(b, d.kind)
      let predicate = place(p, .predicate)
      switch d.kind {
      case .predicate:
        report("selects a predicate, which PTX cannot")
        return { (_, _) in .done }
      case .bits16: return selection(UInt16.self, destination, x, y, predicate)
      case .bits32: return selection(UInt32.self, destination, x, y, predicate)
      case .bits64: return selection(UInt64.self, destination, x, y, predicate)
      }
    case .permuteBytes(let d, let a, let b, let selector):
      let (d, a, b, c) =
        (place(d, .bits32), place(a, .bits32), place(b, .bits32), place(selector, .bits32))
      return { (warp, mask) in
        warp.map(d, a, b, c, mask) { (x: UInt32, y: UInt32, selector: UInt32) in
          permuted(UInt64(y) << 32 | UInt64(x), selector)
        }
        return .done
      }
    case .logic3(let d, let a, let b, let c, let table):
      let (d, a, b, c) = (
        place(d, .bits32), place(a, .bits32), place(b, .bits32), place(c, .bits32)
      )
      // Bit i of the table is the result where a, b and c are the bits of i, a the highest.
      let rows = (0..<8).map { table >> UInt8($0) & 1 != 0 ? UInt32.max : 0 }
      return { (warp, mask) in
        warp.map(d, a, b, c, mask) { (x: UInt32, y: UInt32, z: UInt32) in
          var result: UInt32 = 0
          for row in 0..<8 {
            let terms = (row & 4 != 0 ? x : ~x) & (row & 2 != 0 ? y : ~y) & (row & 1 != 0 ? z : ~z)
            result |= terms & rows[row]
          }
          return result
        }
        return .done
      }
    case .predicateLogic(let operation, let d, let a, let b):
      let destination = place(d, .predicate)
      let x = place(a, .predicate)
      if (operation == .not) != (b == nil) {
        report("has \(operation.rawValue).pred with the wrong count of operands")
      }
      let y = b.map { place($0, .predicate) } ?? x
      return { (warp, mask) in
        let left = warp.predicates[x.offset]
        let right = warp.predicates[y.offset]
        let bits =
          switch operation {
          case .and: left & right
          case .or: left | right
          case .xor: left ^ right
          case .not: ~left
          }
        warp.setPredicate(destination, bits, mask)
        return .done
      }
    default: preconditionFailure("no move")
    }
  }

  private func selection<Word: FixedWidthInteger & BitwiseCopyable>(
    _: Word.Type, _ destination: Place, _ x: Place, _ y: Place, _ predicate: Place
  ) -> Work {
    { (warp, mask) in
      let bits = warp.predicates[predicate.offset]
      let result = warp.registers.lanes(Word.self, at: destination.offset)
      let first = warp.registers.lanes(Word.self, at: x.offset)
      let second = warp.registers.lanes(Word.self, at: y.offset)
      for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
        result[lane] = bits >> UInt32(lane) & 1 != 0 ? first[lane] : second[lane]
      }
      return .done
    }
  }

  /// The same value, or one that depends on the lane, for every lane.
  private func fill(_ destination: Place, _ value: @escaping (Warp, Int) -> UInt64) -> Work {
    { (warp, mask) in
      for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
        warp[destination, lane] = value(warp, lane)
      }
      return .done
    }
  }

  private func decodeSpecial(_ destination: Place, _ special: SpecialRegister) -> Work {
    fill(destination) { (warp, lane) in
      let block = warp.block
      let value =
        switch special {
        case .threadX: warp.index * 32 + lane
        case .threadY: 0
        case .threadsX: block.launch.tree.bounds.threads
        case .blockX: block.position.x
        case .blockY: block.position.y
        case .blockZ: block.position.z
        case .blocksX: block.launch.grid.x
        case .blocksY: block.launch.grid.y
        case .blocksZ: block.launch.grid.z
        case .lane: lane
        case .blockInCluster: block.rank
        case .blocksInCluster: block.cluster.blocks.count
        case .cluster: block.position.x / block.cluster.blocks.count
        }
      return UInt64(value)
    }
  }

  private mutating func decodeParameter(_ d: Register, _ parameter: Int) -> Work {
    guard tree.parameters.indices.contains(parameter) else {
      report("loads parameter \(parameter) of \(tree.parameters.count)")
      return { (_, _) in .done }
    }
    let kind: RegisterKind
    switch tree.parameters[parameter].kind {
    case .pointer, .uint64: kind = .bits64
    case .uint32, .float: kind = .bits32
    case .tensorMap:
      report("loads tensor map \(tree.parameters[parameter].name) as a scalar")
      return { (_, _) in .done }
    }
    return fill(place(d, kind)) { (warp, _) in
      switch warp.block.launch.arguments[parameter] {
      case .pointer(let address): address
      case .uint32(let value): UInt64(value)
      case .uint64(let value): value
      case .float(let value): UInt64(value.bitPattern)
      case .tensorMap: 0
      }
    }
  }

  private mutating func decodePack(_ destination: Place, _ parts: [Place]) -> Work {
    let width = destination.kind.bitWidth
    if parts.isEmpty || parts.contains(where: { $0.kind.bitWidth * parts.count != width }) {
      report("packs \(parts.count) registers into one of another width")
    }
    return { (warp, mask) in
      for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
        var value: UInt64 = 0
        for (index, part) in parts.enumerated() {
          value |= warp[part, lane] << UInt64(index * part.kind.bitWidth)
        }
        warp[destination, lane] = value
      }
      return .done
    }
  }

  private mutating func decodeUnpack(_ parts: [Place], _ source: Place) -> Work {
    let width = source.kind.bitWidth
    if parts.isEmpty || parts.contains(where: { $0.kind.bitWidth * parts.count != width }) {
      report("unpacks \(parts.count) registers from one of another width")
    }
    return { (warp, mask) in
      for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
        let value = warp[source, lane]
        for (index, part) in parts.enumerated() {
          warp[part, lane] = value >> UInt64(index * part.kind.bitWidth)
        }
      }
      return .done
    }
  }
}

extension RegisterKind {
  var bitWidth: Int {
    switch self {
    case .predicate: 1
    case .bits16: 16
    case .bits32: 32
    case .bits64: 64
    }
  }
}

extension Warp {
  /// The generic address of the first parameter; no allocation lies there.
  static let tensorMapBase: UInt64 = 0x7E00_0000_0000
}

/// `prmt`: each nibble of the selector names a byte of eight; its high bit asks for the sign instead.
func permuted(_ bytes: UInt64, _ selector: UInt32) -> UInt32 {
  var result: UInt32 = 0
  for index in 0..<4 {
    let nibble = selector >> UInt32(index * 4) & 0xF
    var byte = UInt32(truncatingIfNeeded: bytes >> UInt64((nibble & 7) * 8)) & 0xFF
    if nibble & 8 != 0 { byte = byte & 0x80 != 0 ? 0xFF : 0 }
    result |= byte << UInt32(index * 8)
  }
  return result
}

// SPDX-License-Identifier: Apache-2.0

import PTX

extension Operand {
  var registers: [Register] {
    switch self {
    case .register(let register): [register]
    case .immediate: []
    }
  }
}

extension Instruction {
  /// Registers whose values it needs, in every lane that executes it.
  var registersRead: [Register] {
    func of(_ operands: Operand?...) -> [Register] { operands.flatMap { $0?.registers ?? [] } }
    switch self {
    case .readSpecial, .loadParameter, .tensorMapAddress, .sharedAddress: return []
    case .move(_, let a): return a.registers
    case .globalAddress(_, let a), .unpack(_, let a), .unpackPair(_, let a, _): return [a]
    case .pack(_, let parts): return parts
    case .select(_, let a, let b, let p): return of(a, b) + [p]
    case .permuteBytes(_, let a, let b, let c), .logic3(_, let a, let b, let c, _):
      return of(a, b, c)
    case .unary(_, _, _, let a): return a.registers
    case .binary(_, _, _, let a, let b), .compare(_, _, _, let a, let b): return of(a, b)
    case .ternary(_, _, _, let a, let b, let c): return of(a, b, c)
    case .predicateLogic(_, _, let a, let b): return [a] + (b.map { [$0] } ?? [])
    case .convert(_, _, let a, _, _, _): return a.registers
    case .packPair(_, _, let high, let low): return of(high, low)
    case .packQuadStochastic(_, _, let values, let random):
      return values.flatMap(\.registers) + random.registers
    case .load(_, _, let address), .prefetchL2(let address): return [address.base]
    case .store(_, let values, let address): return values.flatMap(\.registers) + [address.base]
    case .atomic(_, _, _, _, let address, let a, let b): return [address.base] + of(a, b)
    case .shuffle(_, _, _, let a, let lane, let clamp, let mask): return of(a, lane, clamp, mask)
    case .ballot(_, let p, let mask), .vote(_, _, let p, let mask): return [p] + mask.registers
    case .reduceWarp(_, _, _, let a, let mask): return of(a, mask)
    case .elect(_, let mask), .synchronizeWarp(let mask): return mask.registers
    case .barrier(let id, _), .barrierArrive(let id, _): return id.registers
    case .fence, .clusterArrive, .clusterWait, .bulkCommit, .bulkWait, .wgmmaFence, .wgmmaCommit,
      .wgmmaWait, .setMaximumRegisters, .waitForPriorGrids, .launchDependentGrids, .trap:
      return []
    case .mapToCluster(_, let a, let block): return of(a, block)
    case .mbarrierInitialize(let address, let count): return [address.base] + count.registers
    case .mbarrierInvalidate(let address), .mbarrierArrive(let address),
      .mbarrierArriveRemote(let address):
      return [address.base]
    case .mbarrierArriveExpecting(let address, let bytes), .mbarrierExpect(let address, let bytes):
      return [address.base] + bytes.registers
    case .mbarrierTryWait(_, let address, let parity): return [address.base] + parity.registers
    case .tensorLoad(let copy, let barrier, let multicast):
      return copy.registersRead + [barrier.base] + of(multicast)
    case .tensorStore(let copy, _): return copy.registersRead
    case .tensorPrefetch(let map, let coordinates): return [map] + coordinates.flatMap(\.registers)
    case .prefetchTensorMap(let map): return [map]
    case .bulkLoad(let shared, let global, let bytes, let barrier):
      return [shared.base, global, barrier.base] + bytes.registers
    case .bulkStore(let global, let shared, let bytes, _):
      return [global, shared.base] + bytes.registers
    case .wgmma(let product):
      return product.leftRegisters + [product.right] + (product.adding ? product.sums : [])
    case .loadMatrix(_, let address, _): return [address.base]
    case .storeMatrix(let values, let address, _): return values + [address.base]
    }
  }

  /// Registers that it writes, in every lane that executes it.
  var registersWritten: [Register] {
    switch self {
    case .move(let d, _), .readSpecial(let d, _), .loadParameter(let d, _),
      .tensorMapAddress(let d, _), .sharedAddress(let d, _), .globalAddress(let d, _),
      .pack(let d, _), .select(let d, _, _, _), .permuteBytes(let d, _, _, _),
      .logic3(let d, _, _, _, _), .unary(_, _, let d, _), .binary(_, _, let d, _, _),
      .ternary(_, _, let d, _, _, _), .compare(_, _, let d, _, _),
      .predicateLogic(_, let d, _, _), .convert(let d, _, _, _, _, _), .packPair(let d, _, _, _),
      .packQuadStochastic(let d, _, _, _), .unpackPair(let d, _, _), .ballot(let d, _, _),
      .vote(_, let d, _, _), .reduceWarp(_, _, let d, _, _), .elect(let d, _),
      .mapToCluster(let d, _, _), .mbarrierTryWait(let d, _, _):
      return [d]
    case .unpack(let parts, _): return parts
    case .load(_, let to, _), .loadMatrix(let to, _, _): return to
    case .atomic(_, _, _, let to, _, _, _): return to.map { [$0] } ?? []
    case .shuffle(_, let d, let valid, _, _, _, _): return [d] + (valid.map { [$0] } ?? [])
    case .wgmma(let product): return product.sums
    case .store, .prefetchL2, .synchronizeWarp, .barrier, .barrierArrive, .fence, .clusterArrive,
      .clusterWait, .mbarrierInitialize, .mbarrierInvalidate, .mbarrierArrive,
      .mbarrierArriveExpecting, .mbarrierExpect, .mbarrierArriveRemote, .tensorLoad, .tensorStore,
      .tensorPrefetch, .prefetchTensorMap, .bulkLoad, .bulkStore, .bulkCommit, .bulkWait,
      .wgmmaFence, .wgmmaCommit, .wgmmaWait, .storeMatrix, .setMaximumRegisters,
      .waitForPriorGrids, .launchDependentGrids, .trap:
      return []
    }
  }
}

extension TensorCopy {
  var registersRead: [Register] { [map, shared.base] + coordinates.flatMap(\.registers) }
}

extension MatrixProduct {
  /// The registers of the left operand: a descriptor or its values.
  var leftRegisters: [Register] {
    switch left {
    case .descriptor(let register): [register]
    case .registers(let registers): registers
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

extension Instruction {
  /// The registers that it writes, in the order of its operands.
  package var writes: [Register] {
    switch self {
    case .move(let result, _), .readSpecial(let result, _), .loadParameter(let result, _),
      .tensorMapAddress(let result, _), .sharedAddress(let result, _),
      .globalAddress(let result, _),
      .pack(let result, _), .select(let result, _, _, _), .permuteBytes(let result, _, _, _),
      .logic3(let result, _, _, _, _), .unary(_, _, let result, _), .binary(_, _, let result, _, _),
      .ternary(_, _, let result, _, _, _), .compare(_, _, let result, _, _),
      .predicateLogic(_, let result, _, _), .convert(let result, _, _, _, _, _),
      .packPair(let result, _, _, _), .packQuadStochastic(let result, _, _, _),
      .unpackPair(let result, _, _), .ballot(let result, _, _), .vote(_, let result, _, _),
      .reduceWarp(_, _, let result, _, _), .elect(let result, _), .mapToCluster(let result, _, _),
      .mbarrierTryWait(let result, _, _):
      [result]
    case .unpack(let results, _), .load(_, let results, _), .loadMatrix(let results, _, _):
      results
    case .atomic(_, _, _, let result, _, _, _):
      result.map { [$0] } ?? []
    case .shuffle(_, let result, let valid, _, _, _, _):
      valid.map { [result, $0] } ?? [result]
    case .wgmma(let product):
      product.sums
    case .store, .prefetchL2, .synchronizeWarp, .barrier, .barrierArrive, .fence, .clusterArrive,
      .clusterWait, .mbarrierInitialize, .mbarrierInvalidate, .mbarrierArrive,
      .mbarrierArriveExpecting, .mbarrierExpect, .mbarrierArriveRemote, .tensorLoad, .tensorStore,
      .tensorPrefetch, .prefetchTensorMap, .bulkLoad, .bulkStore, .bulkCommit, .bulkWait,
      .wgmmaFence,
      .wgmmaCommit, .wgmmaWait, .storeMatrix, .setMaximumRegisters, .waitForPriorGrids,
      .launchDependentGrids, .trap:
      []
    }
  }

  /// The registers that it reads, in the order of its operands.
  package var reads: [Register] {
    operands.compactMap { if case .register(let register) = $0 { register } else { nil } }
  }

  /// All that it reads, immediates included.
  private var operands: [Operand] {
    switch self {
    case .readSpecial, .loadParameter, .tensorMapAddress, .sharedAddress, .fence, .clusterArrive,
      .clusterWait, .bulkCommit, .bulkWait, .wgmmaFence, .wgmmaCommit, .wgmmaWait,
      .setMaximumRegisters, .waitForPriorGrids, .launchDependentGrids, .trap:
      []
    case .move(_, let value), .unary(_, _, _, let value), .convert(_, _, let value, _, _, _):
      [value]
    case .globalAddress(_, let value), .unpack(_, let value), .unpackPair(_, let value, _),
      .prefetchTensorMap(let value):
      [.register(value)]
    case .pack(_, let parts):
      parts.map(Operand.register)
    case .select(_, let yes, let no, let predicate):
      [yes, no, .register(predicate)]
    case .permuteBytes(_, let a, let b, let c), .logic3(_, let a, let b, let c, _),
      .ternary(_, _, _, let a, let b, let c):
      [a, b, c]
    case .binary(_, _, _, let left, let right), .compare(_, _, _, let left, let right),
      .packPair(_, _, let left, let right):
      [left, right]
    case .predicateLogic(_, _, let left, let right):
      [.register(left)] + (right.map { [.register($0)] } ?? [])
    case .packQuadStochastic(_, _, let values, let random):
      values + [random]
    case .load(_, _, let address), .prefetchL2(let address), .mbarrierInvalidate(let address),
      .mbarrierArrive(let address), .mbarrierArriveRemote(let address),
      .loadMatrix(_, let address, _):
      [.register(address.base)]
    case .store(_, let values, let address):
      [.register(address.base)] + values
    case .atomic(_, _, _, _, let address, let value, let new):
      [.register(address.base), value] + (new.map { [$0] } ?? [])
    case .shuffle(_, _, _, let value, let lane, let clamp, let mask):
      [value, lane, clamp, mask]
    case .ballot(_, let predicate, let mask), .vote(_, _, let predicate, let mask):
      [.register(predicate), mask]
    case .reduceWarp(_, _, _, let value, let mask):
      [value, mask]
    case .elect(_, let mask), .synchronizeWarp(let mask):
      [mask]
    case .barrier(let id, _), .barrierArrive(let id, _):
      [id]
    case .mapToCluster(_, let address, let block):
      [address, block]
    case .mbarrierInitialize(let address, let value),
      .mbarrierArriveExpecting(let address, let value),
      .mbarrierExpect(let address, let value), .mbarrierTryWait(_, let address, let value):
      [.register(address.base), value]
    case .tensorLoad(let copy, let barrier, let multicast):
      copy.operands + [.register(barrier.base)] + (multicast.map { [$0] } ?? [])
    case .tensorStore(let copy, _):
      copy.operands
    case .tensorPrefetch(let map, let coordinates):
      [.register(map)] + coordinates
    case .bulkLoad(let shared, let global, let bytes, let barrier):
      [.register(shared.base), .register(global), bytes, .register(barrier.base)]
    case .bulkStore(let global, let shared, let bytes, _):
      [.register(global), .register(shared.base), bytes]
    case .wgmma(let product):
      (product.adding ? product.sums : []).map(Operand.register) + product.left.operands
        + [.register(product.right)]
    case .storeMatrix(let values, let address, _):
      [.register(address.base)] + values.map(Operand.register)
    }
  }
}

extension TensorCopy {
  fileprivate var operands: [Operand] {
    [.register(map)] + coordinates + [.register(shared.base)]
  }
}

extension MatrixProduct.Left {
  fileprivate var operands: [Operand] {
    switch self {
    case .descriptor(let descriptor): [.register(descriptor)]
    case .registers(let registers): registers.map(Operand.register)
    }
  }
}

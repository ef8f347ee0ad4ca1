// SPDX-License-Identifier: Apache-2.0

extension Instruction {
  /// What a target must have to run it, beyond what all have.
  package var requirement: Target.Feature? {
    switch self {
    case .readSpecial(_, .blockInCluster), .readSpecial(_, .blocksInCluster),
      .readSpecial(_, .cluster),
      .clusterArrive, .clusterWait, .mapToCluster, .mbarrierArriveRemote:
      .cluster
    case .fence(let fence):
      fence.requirement
    case .load(let access, _, _), .store(let access, _, _):
      access.space.requirement
    case .atomic(let operation, let type, let space, _, _, _, _):
      operation == .add && type.isBFloat16 ? .bfloat16Arithmetic : space.requirement
    case .unary(let operation, let type, _, _):
      type.isBFloat16 && (operation == .approximateExponential2 || operation == .approximateTanh)
        ? .bfloat16Arithmetic : nil
    case .binary(let operation, let type, _, _, _):
      type.isBFloat16 && (operation == .add || operation == .subtract || operation == .multiply)
        ? .bfloat16Arithmetic : nil
    case .compare(_, let type, _, _, _):
      type.isBFloat16 ? .bfloat16Arithmetic : nil
    case .convert(_, let to, _, let from, _, _):
      // Between BF16 and FP32 all targets convert.
      (to.isBFloat16 && from != .f32) || (from.isBFloat16 && to != .f32) ? .bfloat16Arithmetic : nil
    case .packPair(_, let format, _, _), .unpackPair(_, _, let format):
      format.requirement
    case .packQuadStochastic:
      .stochasticConversion
    case .elect:
      .electedLane
    case .mbarrierInitialize, .mbarrierInvalidate, .mbarrierArrive, .mbarrierArriveExpecting,
      .mbarrierExpect, .mbarrierTryWait:
      .mbarrier
    case .tensorLoad(_, _, let multicast):
      multicast == nil ? .bulkCopy : .multicast
    case .tensorStore, .tensorPrefetch, .prefetchTensorMap, .bulkLoad, .bulkStore, .bulkCommit,
      .bulkWait:
      .bulkCopy
    case .wgmmaFence, .wgmma, .wgmmaCommit, .wgmmaWait:
      .wgmma
    case .storeMatrix:
      .storeMatrix
    case .setMaximumRegisters:
      .registerReallocation
    case .waitForPriorGrids, .launchDependentGrids:
      .dependentLaunch
    case .move, .readSpecial, .loadParameter, .tensorMapAddress, .sharedAddress, .globalAddress,
      .pack,
      .unpack, .select, .permuteBytes, .logic3, .ternary, .predicateLogic, .prefetchL2, .shuffle,
      .ballot, .vote, .reduceWarp, .synchronizeWarp, .barrier, .barrierArrive, .loadMatrix, .trap:
      nil
    }
  }

  /// What sentences call it: PTX's name for its family.
  package var name: String {
    switch self {
    case .move, .readSpecial, .sharedAddress, .pack, .unpack: "mov"
    case .loadParameter: "ld.param"
    case .tensorMapAddress: "cvta.param"
    case .globalAddress: "cvta.to.global"
    case .select: "selp"
    case .permuteBytes: "prmt"
    case .logic3: "lop3"
    case .unary(let operation, let type, _, _): "\(operation.rawValue) of \(type.rawValue)"
    case .binary(let operation, let type, _, _, _): "\(operation.rawValue) of \(type.rawValue)"
    case .ternary(.multiplyAdd, let type, _, _, _, _):
      "\(type.isFloatingPoint ? "fma" : "mad") of \(type.rawValue)"
    case .ternary(.multiplyAddWide, let type, _, _, _, _): "mad.wide of \(type.rawValue)"
    case .ternary(.funnelShiftRight, _, _, _, _, _): "shf"
    case .compare(_, let type, _, _, _): "setp of \(type.rawValue)"
    case .predicateLogic(let operation, _, _, _): "\(operation.rawValue).pred"
    case .convert(_, let to, _, let from, _, _): "cvt from \(from.rawValue) to \(to.rawValue)"
    case .packPair(_, let format, _, _): "cvt to \(format.rawValue)"
    case .packQuadStochastic(_, let format, _, _): "cvt.rs to \(format.quadName)"
    case .unpackPair(_, _, let format): "cvt from \(format.rawValue)"
    case .load(let access, _, _): "ld.\(access.space.rawValue)"
    case .store(let access, _, _): "st.\(access.space.rawValue)"
    case .atomic(let operation, let type, _, let result, _, _, _):
      "\(result == nil ? "red" : "atom").\(operation.rawValue) of \(type.rawValue)"
    case .prefetchL2: "prefetch.global.L2"
    case .shuffle: "shfl.sync"
    case .ballot, .vote: "vote.sync"
    case .reduceWarp: "redux.sync"
    case .elect: "elect.sync"
    case .synchronizeWarp: "bar.warp.sync"
    case .barrier: "bar.sync"
    case .barrierArrive: "bar.arrive"
    case .fence(let fence): fence.rawValue
    case .clusterArrive: "barrier.cluster.arrive"
    case .clusterWait: "barrier.cluster.wait"
    case .mapToCluster: "mapa"
    case .mbarrierInitialize: "mbarrier.init"
    case .mbarrierInvalidate: "mbarrier.inval"
    case .mbarrierArrive, .mbarrierArriveRemote: "mbarrier.arrive"
    case .mbarrierArriveExpecting: "mbarrier.arrive.expect_tx"
    case .mbarrierExpect: "mbarrier.expect_tx"
    case .mbarrierTryWait: "mbarrier.try_wait"
    case .tensorLoad: "cp.async.bulk.tensor"
    case .tensorStore(_, let adding):
      adding ? "cp.reduce.async.bulk.tensor" : "cp.async.bulk.tensor"
    case .tensorPrefetch: "cp.async.bulk.prefetch.tensor"
    case .prefetchTensorMap: "prefetch.tensormap"
    case .bulkLoad: "cp.async.bulk"
    case .bulkStore(_, _, _, let type): type == nil ? "cp.async.bulk" : "cp.reduce.async.bulk"
    case .bulkCommit: "cp.async.bulk.commit_group"
    case .bulkWait: "cp.async.bulk.wait_group"
    case .wgmmaFence: "wgmma.fence"
    case .wgmma: "wgmma.mma_async"
    case .wgmmaCommit: "wgmma.commit_group"
    case .wgmmaWait: "wgmma.wait_group"
    case .loadMatrix: "ldmatrix"
    case .storeMatrix: "stmatrix"
    case .setMaximumRegisters: "setmaxnreg"
    case .waitForPriorGrids: "griddepcontrol.wait"
    case .launchDependentGrids: "griddepcontrol.launch_dependents"
    case .trap: "trap"
    }
  }
}

extension Fence {
  fileprivate var requirement: Target.Feature? {
    switch self {
    case .block, .device, .system: nil
    case .cluster: .cluster
    case .proxyAsyncShared, .proxyAsyncGlobal: .bulkCopy
    case .mbarrierInitialization: .mbarrier
    }
  }
}

extension MemorySpace {
  fileprivate var requirement: Target.Feature? { self == .sharedCluster ? .cluster : nil }
}

extension PairFormat {
  fileprivate var requirement: Target.Feature? {
    switch self {
    case .f16x2, .bf16x2: nil
    case .e4m3x2, .e5m2x2: .float8Conversion
    case .e2m1x2: .float4Conversion
    case .ue8m0x2: .scaleExponentConversion
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

extension EntryWriter {
  /// Writes the lines of an instruction that `KernelTree.validate` has accepted.
  mutating func write(_ instruction: Instruction) {
    switch instruction {
    case .move, .readSpecial, .loadParameter, .tensorMapAddress, .sharedAddress, .globalAddress,
      .pack,
      .unpack, .select, .permuteBytes, .logic3:
      writeRegisters(instruction)
    case .unary, .binary, .ternary, .compare, .predicateLogic:
      writeArithmetic(instruction)
    case .convert, .packPair, .packQuadStochastic, .unpackPair:
      writeConversion(instruction)
    case .load, .store, .atomic, .prefetchL2:
      writeMemory(instruction)
    case .shuffle, .ballot, .vote, .reduceWarp, .elect, .synchronizeWarp:
      writeWarp(instruction)
    case .barrier, .barrierArrive, .fence, .clusterArrive, .clusterWait, .mapToCluster:
      writeBarrier(instruction)
    case .mbarrierInitialize, .mbarrierInvalidate, .mbarrierArrive, .mbarrierArriveExpecting,
      .mbarrierExpect, .mbarrierArriveRemote, .mbarrierTryWait:
      writeTransactionBarrier(instruction)
    case .tensorLoad, .tensorStore, .tensorPrefetch, .prefetchTensorMap, .bulkLoad, .bulkStore,
      .bulkCommit, .bulkWait:
      writeBulk(instruction)
    case .wgmmaFence, .wgmma, .wgmmaCommit, .wgmmaWait, .loadMatrix, .storeMatrix:
      writeMatrix(instruction)
    case .setMaximumRegisters(let count, let increasing):
      emit("setmaxnreg", increasing ? "inc" : "dec", "sync.aligned.u32", operands: "\(count)")
    case .waitForPriorGrids:
      emit("griddepcontrol.wait")
    case .launchDependentGrids:
      emit("griddepcontrol.launch_dependents")
    case .trap:
      emit("trap")
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

extension EntryWriter {
  /// Named barriers, fences and clusters.
  mutating func writeBarrier(_ instruction: Instruction) {
    switch instruction {
    case .barrier(let id, let threads?):
      emit("bar.sync", operands: operand(id, .u32), "\(threads)")
    case .barrier(let id, nil):
      emit("bar.sync", operands: operand(id, .u32))
    case .barrierArrive(let id, let threads):
      emit("bar.arrive", operands: operand(id, .u32), "\(threads)")
    case .fence(let fence):
      emit(fence.rawValue)
    case .clusterArrive(let relaxed):
      emit("barrier.cluster.arrive", relaxed ? "relaxed" : "release", "aligned")
    case .clusterWait:
      emit("barrier.cluster.wait.acquire.aligned")
    case .mapToCluster(let result, let address, let block):
      emit(
        "mapa.shared::cluster.u32",
        operands: result.text, operand(address, .u32), operand(block, .u32))
    default:
      preconditionFailure("not of this family: \(instruction)")
    }
  }

  /// Barriers in shared memory.
  ///
  /// Arrivals and waits release and acquire by default at the scope of the block. So do arrivals from afar: what follows them is a bulk copy of the other block, which the
  /// phase orders, and the cluster's scope on the arrival halved the speed of a GEMM on an H100.
  mutating func writeTransactionBarrier(_ instruction: Instruction) {
    switch instruction {
    case .mbarrierInitialize(let address, let count):
      emit("mbarrier.init.shared::cta.b64", operands: address.text, operand(count, .u32))
    case .mbarrierInvalidate(let address):
      emit("mbarrier.inval.shared::cta.b64", operands: address.text)
    case .mbarrierArrive(let address):
      emit("mbarrier.arrive.shared::cta.b64", operands: "_", address.text)
    case .mbarrierArriveExpecting(let address, let bytes):
      emit(
        "mbarrier.arrive.expect_tx.shared::cta.b64",
        operands: "_", address.text, operand(bytes, .u32))
    case .mbarrierExpect(let address, let bytes):
      emit(
        "mbarrier.expect_tx.relaxed.cta.shared::cta.b64",
        operands: address.text, operand(bytes, .u32))
    case .mbarrierArriveRemote(let address):
      emit("mbarrier.arrive.shared::cluster.b64", operands: "_", address.text)
    case .mbarrierTryWait(let result, let address, let parity):
      emit(
        "mbarrier.try_wait.parity.shared::cta.b64",
        operands: result.text, address.text, operand(parity, .u32))
    default:
      preconditionFailure("not of this family: \(instruction)")
    }
  }
}

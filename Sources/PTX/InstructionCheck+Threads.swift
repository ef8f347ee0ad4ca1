// SPDX-License-Identifier: Apache-2.0

extension InstructionCheck {
  func checkWarp(_ instruction: Instruction) throws(Misfit) {
    switch instruction {
    case .shuffle(_, let result, let valid, let value, let lane, let clamp, let mask):
      try expect(result, .bits32, "result")
      if let valid { try expect(valid, .predicate, "second result") }
      for operand in [value, lane, clamp, mask] { try expect(operand, .bits32, "source") }
    case .ballot(let result, let predicate, let mask):
      try expect(result, .bits32, "result")
      try expect(predicate, .predicate, "source")
      try expect(mask, .bits32, "mask")
    case .vote(_, let result, let predicate, let mask):
      try expect([result, predicate], .predicate, "predicate")
      try expect(mask, .bits32, "mask")
    case .reduceWarp(let operation, let type, let result, let value, let mask):
      try expect(type, among: .integers32)
      switch operation {
      case .add, .and, .or, .xor: break
      case .minimum, .maximum: try expect(type, among: [.u32, .s32])
      default: throw Misfit("by \(operation.rawValue), which PTX does not have")
      }
      try expect(result, .bits32, "result")
      for operand in [value, mask] { try expect(operand, .bits32, "source") }
    case .elect(let result, let mask):
      try expect(result, .predicate, "result")
      try expect(mask, .bits32, "mask")
    case .synchronizeWarp(let mask):
      try expect(mask, .bits32, "mask")
    default:
      preconditionFailure("not of this family: \(instruction)")
    }
  }

  func checkBarrier(_ instruction: Instruction) throws(Misfit) {
    switch instruction {
    case .barrier(let id, let threads):
      try check(id, threads)
    case .barrierArrive(let id, let threads):
      try check(id, threads)
    case .mapToCluster(let result, let address, let block):
      try expect(result, .bits32, "result")
      for operand in [address, block] { try expect(operand, .bits32, "source") }
      try expect(block, in: 0...tree.bounds.clusterBlocks - 1, "block")
    case .mbarrierInitialize(let address, let count):
      try expect(address, in: .shared)
      try expect(count, .bits32, "count")
      try expect(count, in: 1...0xF_FFFF, "count")
    case .mbarrierArriveExpecting(let address, let bytes), .mbarrierExpect(let address, let bytes):
      try expect(address, in: .shared)
      try expect(bytes, .bits32, "number of bytes")
      try expect(bytes, in: 0...0xF_FFFF, "a number of bytes of")
    case .mbarrierInvalidate(let address), .mbarrierArrive(let address):
      try expect(address, in: .shared)
    case .mbarrierArriveRemote(let address):
      try expect(address, in: .sharedCluster)
    case .mbarrierTryWait(let result, let address, let parity):
      try expect(result, .predicate, "result")
      try expect(address, in: .shared)
      try expect(parity, .bits32, "parity")
      try expect(parity, in: 0...1, "parity")
    default:
      preconditionFailure("not of this family: \(instruction)")
    }
  }

  private func check(_ id: Operand, _ threads: Int?) throws(Misfit) {
    try expect(id, .bits32, "number")
    try expect(id, in: 0...15, "number")
    guard let threads else { return }
    try expect(threads, in: 32...tree.bounds.threads, "a number of threads of")
    try expect(threads % 32 == 0, "with \(threads) threads, which should be a multiple of 32")
  }

  func checkMatrix(_ instruction: Instruction) throws(Misfit) {
    switch instruction {
    case .wgmma(let product):
      try check(product)
    case .wgmmaWait(let pending):
      try expect(pending, in: 0...7, "a number of groups of")
    case .loadMatrix(let registers, let address, _), .storeMatrix(let registers, let address, _):
      try expect(registers.count, among: [1, 2, 4], "matrices")
      try expect(registers, .bits32, "matrix")
      try expect(address, in: .shared)
    case .setMaximumRegisters(let count, _):
      try expect(
        (24...256).contains(count) && count % 8 == 0,
        "for \(count) registers, which should be 24 to 256 in steps of 8")
    default:
      preconditionFailure("not of this family: \(instruction)")
    }
  }

  private func check(_ product: MatrixProduct) throws(Misfit) {
    try expect(
      (8...256).contains(product.columns) && product.columns % 8 == 0,
      "of \(product.columns) columns, which should be 8 to 256 in steps of 8")
    try expect(
      product.sums.count == product.columns / 2,
      "with \(product.sums.count) registers for the sums of \(product.columns) columns, "
        + "which need \(product.columns / 2)")
    try expect(product.sums, .bits32, "sum")
    try expect(product.right, .bits64, "right descriptor")
    switch product.left {
    case .descriptor(let descriptor):
      try expect(descriptor, .bits64, "left descriptor")
    case .registers(let registers):
      try expect(registers.count, among: [4], "registers of the left operand")
      try expect(registers, .bits32, "left operand")
      try expect(!product.leftTransposed, "with registers transposed")
    }
    if product.leftElement.depth == 32 || product.rightElement.depth == 32 {
      try expect(
        product.leftElement.depth == product.rightElement.depth, "of operands of different widths")
      try expect(
        !product.leftTransposed && !product.rightTransposed,
        "with an operand of eight bits transposed, which PTX does not have")
    } else {
      try expect(
        product.leftElement == product.rightElement,
        "of \(product.leftElement.rawValue) by \(product.rightElement.rawValue)")
    }
  }
}

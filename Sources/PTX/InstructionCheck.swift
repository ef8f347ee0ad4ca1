// SPDX-License-Identifier: Apache-2.0

/// Whether the parts of instructions fit: kinds of registers, types, counts and ranges.
///
/// Families are extensions. Faults complete the sentence "Kernel k uses mul.wide …".
struct InstructionCheck {
  let tree: KernelTree

  /// What does not fit.
  struct Misfit: Error {
    let text: String
    init(_ text: String) { self.text = text }
  }

  func check(_ instruction: Instruction) throws(Misfit) {
    switch instruction {
    case .move, .readSpecial, .loadParameter, .tensorMapAddress, .sharedAddress, .globalAddress,
      .pack,
      .unpack, .select, .permuteBytes, .logic3:
      try checkRegisters(instruction)
    case .unary, .binary, .ternary, .compare, .predicateLogic:
      try checkArithmetic(instruction)
    case .convert, .packPair, .packQuadStochastic, .unpackPair:
      try checkConversion(instruction)
    case .load, .store, .atomic, .prefetchL2:
      try checkMemory(instruction)
    case .shuffle, .ballot, .vote, .reduceWarp, .elect, .synchronizeWarp:
      try checkWarp(instruction)
    case .barrier, .barrierArrive, .mapToCluster, .mbarrierInitialize, .mbarrierInvalidate,
      .mbarrierArrive, .mbarrierArriveExpecting, .mbarrierExpect, .mbarrierArriveRemote,
      .mbarrierTryWait:
      try checkBarrier(instruction)
    case .tensorLoad, .tensorStore, .tensorPrefetch, .prefetchTensorMap, .bulkLoad, .bulkStore,
      .bulkWait:
      try checkBulk(instruction)
    case .wgmma, .wgmmaWait, .loadMatrix, .storeMatrix, .setMaximumRegisters:
      try checkMatrix(instruction)
    case .fence, .clusterArrive, .clusterWait, .bulkCommit, .wgmmaFence, .wgmmaCommit,
      .waitForPriorGrids, .launchDependentGrids, .trap:
      break
    }
  }

  // MARK: Parts

  func expect(_ register: Register, _ kind: RegisterKind, _ role: String) throws(Misfit) {
    if register.kind != kind {
      throw Misfit(
        "with \(register.text) as its \(role), which should be a register of \(kind.typeName)")
    }
  }

  func expect(_ operand: Operand, _ kind: RegisterKind, _ role: String) throws(Misfit) {
    if case .register(let register) = operand { try expect(register, kind, role) }
  }

  func expect(_ registers: [Register], _ kind: RegisterKind, _ role: String) throws(Misfit) {
    for register in registers { try expect(register, kind, role) }
  }

  func expect(_ address: Address, in space: MemorySpace) throws(Misfit) {
    try expect(address.base, space.addressKind, "address")
  }

  func expect(_ value: Int, in range: ClosedRange<Int>, _ role: String) throws(Misfit) {
    if !range.contains(value) {
      throw Misfit(
        "with \(role) \(value), which should be \(range.lowerBound) to \(range.upperBound)")
    }
  }

  /// An immediate in a range; of registers nothing is known.
  func expect(_ operand: Operand, in range: ClosedRange<Int>, _ role: String) throws(Misfit) {
    if case .immediate(let bits) = operand {
      try expect(Int(truncatingIfNeeded: bits), in: range, role)
    }
  }

  func expect(_ count: Int, among counts: [Int], _ role: String) throws(Misfit) {
    if !counts.contains(count) {
      let list = counts.map(String.init).joined(separator: ", ")
      throw Misfit("with \(count) \(role), of which there should be one of \(list)")
    }
  }

  func expect(_ type: ScalarType, among types: Set<ScalarType>) throws(Misfit) {
    if !types.contains(type) {
      throw Misfit("with values of \(type.rawValue), which PTX does not have")
    }
  }

  func expect(_ holds: Bool, _ fault: String) throws(Misfit) {
    if !holds { throw Misfit(fault) }
  }
}

extension Set<ScalarType> {
  static let bits: Self = [.b16, .b32, .b64]
  static let integers: Self = [.b16, .b32, .b64, .u16, .u32, .u64, .s32, .s64]
  static let integers32: Self = [.b32, .u32, .s32]
  static let integersFrom32: Self = [.b32, .b64, .u32, .u64, .s32, .s64]
  static let floats: Self = [.f32, .f64]
  static let halves: Self = [.f16, .bf16, .f16x2, .bf16x2]
  static let numbers: Self = integers.union(floats).union(halves)
}

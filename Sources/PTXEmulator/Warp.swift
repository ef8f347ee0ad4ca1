// SPDX-License-Identifier: Apache-2.0

import PTX

/// 32 lanes with their registers, program counter and masks.
final class Warp {
  /// What a warp waits for.
  enum Wait {
    case barrier(id: Int, generation: Int)
    case cluster(generation: Int)
    /// One of these transaction barriers to have completed the phase of its parity.
    case phases([(barrier: TransactionBarrier, parity: Int)])
    case registers(Int)
  }

  /// A branch or loop that lanes are in.
  struct Frame {
    /// Lanes that go on after it.
    var mask: UInt32
    /// Lanes that are to take the other side of a branch.
    var pending: UInt32
  }

  let block: Block
  /// Its number in the block, and in the cluster's clocks.
  let index: Int
  let actor: Int
  /// Lanes that threads were launched for.
  let population: UInt32

  let registers: Storage<UInt8>
  let predicates: Storage<UInt32>
  /// Lanes in which each register holds a value.
  let written: Storage<UInt32>

  var counter = 0
  var active: UInt32
  var frames: [Frame] = []
  var wait: Wait?
  /// Whether the instruction that waits has done its first half.
  var resumes = false
  var isFinished = false
  var instructionCount = 0
  /// The generation of the barrier that it waits at, and of the cluster barrier that it arrived at.
  var pending = 0
  var clusterGeneration: Int?
  /// Registers that a thread may have now, as `setmaxnreg` counts.
  var registerLimit: Int
  /// The lanes' uncommitted and committed bulk stores.
  var bulkGroups = BulkGroups()
  var products: ProductState

  init(_ block: Block, index: Int, threads: Int) {
    let program = block.launch.program
    self.block = block
    self.index = index
    actor = block.rank * block.launch.warpsPerBlock + index
    population = threads >= 32 ? ~0 : (1 << UInt32(threads)) - 1
    active = population
    registers = block.launch.takeRegisters()
    let counts = program.tree.registerCounts
    predicates = Storage(repeating: 0, count: counts.isEmpty ? 0 : counts[0])
    written = Storage(repeating: 0, count: program.slotCount)
    registerLimit = block.launch.registersAtEntry
    products = ProductState(slotCount: program.usesProducts ? program.slotCount : 0)
  }

  // MARK: Registers

  /// A register of any kind as 64 bits.
  subscript(place: Place, lane: Int) -> UInt64 {
    @inline(__always) get {
      switch place.kind {
      case .predicate: UInt64(predicates[place.offset] >> UInt32(lane) & 1)
      case .bits16: UInt64(registers.lanes(UInt16.self, at: place.offset)[lane])
      case .bits32: UInt64(registers.lanes(UInt32.self, at: place.offset)[lane])
      case .bits64: registers.lanes(UInt64.self, at: place.offset)[lane]
      }
    }
    @inline(__always) set {
      switch place.kind {
      case .predicate:
        let bit: UInt32 = 1 << UInt32(lane)
        predicates[place.offset] = predicates[place.offset] & ~bit | (newValue & 1 == 0 ? 0 : bit)
      case .bits16:
        registers.lanes(UInt16.self, at: place.offset)[lane] = UInt16(truncatingIfNeeded: newValue)
      case .bits32:
        registers.lanes(UInt32.self, at: place.offset)[lane] = UInt32(truncatingIfNeeded: newValue)
      case .bits64: registers.lanes(UInt64.self, at: place.offset)[lane] = newValue
      }
    }
  }

  /// Sets a predicate in the lanes of a mask.
  @inline(__always)
  func setPredicate(_ place: Place, _ bits: UInt32, _ mask: UInt32) {
    predicates[place.offset] = predicates[place.offset] & ~mask | bits & mask
  }

  /// The one value that the lanes of a mask hold.
  func uniform(_ place: Place, _ mask: UInt32, _ what: String) throws(Fault) -> UInt64 {
    let first = self[place, mask.trailingZeroBitCount]
    for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 && self[place, lane] != first {
      throw Fault(
        .divergentCollective,
        "has \(what) \(first) in lane \(mask.trailingZeroBitCount) and \(self[place, lane]) in lane \(lane); it must be the same in all",
        lane: lane)
    }
    return first
  }

  /// Requires that all threads of the warp execute together.
  func requireConvergence(_ mask: UInt32, _ what: String) throws(Fault) {
    guard mask == population else {
      throw Fault(
        .divergentCollective,
        "executes \(what), which all lanes must execute together, without \(laneNames(population & ~mask))",
        lanes: mask)
    }
  }

  // MARK: Execution

  /// Executes up to so many steps, until it waits or ends.
  func run(steps quantum: Int) throws(Fault) {
    let program = block.launch.program
    let limit = block.launch.options.instructionLimit
    wait = nil
    for _ in 0..<quantum {
      let step = program.steps[counter]
      switch step.action {
      case .work(let work):
        var mask = active
        if step.guardIndex >= 0 { mask = try lanes(step, program) }
        if mask == 0 {
          counter = active == 0 ? step.skip : counter + 1
          continue
        }
        for slot in step.reads where mask & ~written[slot] != 0 {
          throw Fault(
            .uninitializedRegister,
            "reads register \(program.slotNames[slot]), which nothing has written",
            lanes: mask & ~written[slot])
        }
        if !step.productSlots.isEmpty { try touch(step.productSlots) }
        instructionCount += 1
        if instructionCount > limit {
          throw Fault(.instructionLimit, "has executed \(limit) instructions without an end")
        }
        if try work(self, mask) == .wait { return }
        resumes = false
        for slot in step.writes { written[slot] |= mask }
        if !step.productSlots.isEmpty { products.markWritten(step.writes) }
        counter += 1
      case .branch(let otherwise):
        let taken = try lanes(step, program)
        frames.append(Frame(mask: active, pending: active & ~taken))
        active = taken
        counter = taken != 0 ? counter + 1 : otherwise
      case .otherwise(let end):
        active = frames[frames.count - 1].pending
        frames[frames.count - 1].pending = 0
        counter = active != 0 ? counter + 1 : end
      case .endBranch:
        active = frames.removeLast().mask
        counter = active != 0 ? counter + 1 : step.skip
      case .loop:
        frames.append(Frame(mask: active, pending: 0))
        counter += 1
      case .repeatLoop(let head):
        instructionCount += 1
        if instructionCount > limit {
          throw Fault(.instructionLimit, "has executed \(limit) instructions without an end")
        }
        if active != 0 {
          counter = head + 1
        } else {
          active = frames.removeLast().mask
          counter = active != 0 ? counter + 1 : step.skip
        }
      case .leave(let branches):
        let leaving = try lanes(step, program)
        active &= ~leaving
        for index in frames.count - branches..<frames.count { frames[index].mask &= ~leaving }
        counter = active != 0 ? counter + 1 : step.skip
      case .exit:
        let leaving = try lanes(step, program)
        active &= ~leaving
        for index in frames.indices { frames[index].mask &= ~leaving }
        try finishLanes(leaving)
        counter = active != 0 ? counter + 1 : step.skip
      case .end:
        try finishLanes(active)
        active = 0
        isFinished = true
        try block.finished(self)
        return
      }
    }
  }

  /// The active lanes in which a step's guard holds.
  @inline(__always)
  private func lanes(_ step: Program.Step, _ program: Program) throws(Fault) -> UInt32 {
    guard step.guardIndex >= 0 else { return active }
    // Predicates are the first slots.
    guard active & ~written[step.guardIndex] == 0 else {
      throw Fault(
        .uninitializedRegister,
        "reads predicate \(program.slotNames[step.guardIndex]), which nothing has written",
        lanes: active & ~written[step.guardIndex])
    }
    let bits = predicates[step.guardIndex]
    return active & (step.guardExpected ? bits : ~bits)
  }
}

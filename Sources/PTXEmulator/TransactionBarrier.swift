// SPDX-License-Identifier: Apache-2.0

/// An mbarrier: arrivals that a phase still needs, bytes that copies still owe it, and the phase.
final class TransactionBarrier {
  /// What the warp that initialised it is, for others to be ordered after.
  let initializer: Int
  let initializedAt: UInt32
  /// Whether its initialisation was fenced for copies and other blocks.
  var isFenced = false
  let offset: Int

  /// Arrivals of a phase.
  let count: Int
  private(set) var pending: Int
  /// Bytes announced less bytes that came.
  private(set) var owed = 0
  /// Phases completed.
  private(set) var phase = 0
  /// What arrivals and copies of this phase tell, and what those of completed phases told.
  var telling = VectorClock()
  private(set) var told = VectorClock()
  /// The last phase that lanes of each warp saw completed, and which lanes did.
  private var seen: [Int: (phase: Int, lanes: UInt32)] = [:]

  init(count: Int, offset: Int, initializer: Int, at clock: UInt32) {
    self.count = count
    self.offset = offset
    self.initializer = initializer
    initializedAt = clock
    pending = count
  }

  /// Limits of the fields of the hardware's barrier.
  static let largestCount = 1 << 20 - 1

  /// Whether the phase of a parity is behind it: the current one has the other parity.
  func hasCompleted(parity: Int) -> Bool { phase & 1 != parity }

  func arrive() throws(Fault) {
    guard pending > 0 else {
      throw Fault(
        .arrivalOverflow,
        "arrives at the transaction barrier at shared byte \(offset), whose phase has all its \(count) arrivals and still waits for \(owed) bytes"
      )
    }
    pending -= 1
    try completeIfDone()
  }

  func announce(_ bytes: Int) throws(Fault) {
    owed += bytes
    try checkRange()
    try completeIfDone()
  }

  func complete(_ bytes: Int) throws(Fault) {
    owed -= bytes
    try checkRange()
    try completeIfDone()
  }

  private func checkRange() throws(Fault) {
    guard owed.magnitude <= TransactionBarrier.largestCount else {
      throw Fault(
        .transactionCount,
        "brings the bytes of the transaction barrier at shared byte \(offset) to \(owed), beyond \(TransactionBarrier.largestCount)"
      )
    }
  }

  private func completeIfDone() throws(Fault) {
    guard pending == 0 else { return }
    guard owed >= 0 else {
      throw Fault(
        .transactionCount,
        "brings \(-owed) bytes more to the transaction barrier at shared byte \(offset) than were announced when its last arrival came"
      )
    }
    guard owed == 0 else { return }
    phase += 1
    pending = count
    told.merge(telling)
    telling = VectorClock()
  }

  /// Notes that lanes of a warp go on because a phase is behind them.
  func notePassage(of lanes: UInt32, actor: Int) throws(Fault) {
    let observed = phase - 1
    let last = seen[actor] ?? (phase: -2, lanes: 0)
    guard last.phase != observed || last.lanes & lanes == 0 else {
      throw Fault(
        .phaseWaitedTwice,
        "waits at the transaction barrier at shared byte \(offset) for a phase that it has waited for before (\(phase) have completed)",
        lanes: last.lanes & lanes)
    }
    seen[actor] = (observed, last.phase == observed ? last.lanes | lanes : lanes)
  }
}

extension Warp {
  /// The barrier at an address, which the warp must know to be initialised.
  func transactionBarrier(
    _ address: UInt64, lane: Int?, inCluster: Bool
  ) throws(Fault) -> (barrier: TransactionBarrier, block: Block) {
    func fault(_ kind: EmulatorError.Kind, _ text: String) -> Fault {
      if let lane { Fault(kind, text, lane: lane) } else { Fault(kind, text) }
    }
    let address = UInt32(truncatingIfNeeded: address)
    guard address % 8 == 0 else {
      throw fault(
        .misaligned,
        "uses shared address \(hexadecimal(address)) as a transaction barrier, which is not a multiple of 8"
      )
    }
    let (owner, offset) = try block.resolve(address, 8, lane: lane, inCluster: inCluster)
    guard let barrier = owner.shared.barriers[offset] else {
      throw fault(
        .notABarrier,
        "uses shared byte \(offset) as a transaction barrier, which nothing has initialised")
    }
    guard
      block.cluster.clocks.isOrdered(
        barrier.initializer, barrier.initializedAt, before: actor)
    else {
      throw fault(
        .race,
        "uses the transaction barrier at shared byte \(offset), whose initialisation no barrier orders before"
      )
    }
    return (barrier, owner)
  }

  /// Makes barriers that this warp initialised visible to copies and other blocks.
  func fenceBarriers() {
    for barrier in block.shared.barriers.values where barrier.initializer == actor {
      barrier.isFenced = true
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

/// A barrier in shared memory that completes a phase when so many arrivals and announced bytes
/// have come.
package struct TransactionBarrier {
  let address: Value<UInt32>
  let offset: Int

  var place: Address { Address(address.register, offset: offset) }
  private var builder: KernelBuilder { Value<UInt32>.builder(address.builder) }

  /// Makes the barrier; one thread calls it.
  func initialize(arrivals: Int) {
    builder.append(.mbarrierInitialize(place, count: .immediate(UInt64(arrivals))))
  }

  /// Arrives once.
  func arrive(if predicate: Value<Bool>? = nil) {
    builder.append(.mbarrierArrive(place), if: predicate)
  }

  /// Arrives once and announces bytes.
  func arrive(expecting bytes: Int) {
    builder.append(.mbarrierArriveExpecting(place, bytes: .immediate(UInt64(bytes))))
  }

  /// Waits until the phase of a parity has completed.
  func wait(parity: Value<UInt32>) {
    let k = builder
    let line = k.line
    k.loop(file: line.file, line: line.line) {
      let isComplete = k.register(.predicate)
      k.append(.mbarrierTryWait(isComplete, place, parity: parity.operand))
      k.leave(if: Value<Bool>(isComplete, k), file: line.file, line: line.line)
    }
  }
}

/// Copies that one phase of a barrier waits for; it adds up their bytes.
package final class Transaction {
  let barrier: TransactionBarrier
  private(set) var byteCount = 0

  init(barrier: TransactionBarrier) { self.barrier = barrier }

  func announce(bytes: Int) { byteCount += bytes }
}

// SPDX-License-Identifier: Apache-2.0

/// One warpgroup, one thread of which starts copies.
package struct Producer {
  /// Registers a thread while it runs.
  package let registers: Int
  let body: () -> Void

  package init(registers: Int, _ body: @escaping () -> Void) {
    self.registers = registers
    self.body = body
  }
}

/// Warpgroups that compute.
package struct Consumers {
  package let warpgroups: Int
  /// Registers a thread while they run.
  package let registers: Int
  let body: (Warpgroup) -> Void

  package init(warpgroups: Int, registers: Int, _ body: @escaping (Warpgroup) -> Void) {
    self.warpgroups = warpgroups
    self.registers = registers
    self.body = body
  }
}

extension KernelBuilder {
  /// Parts the block: its first warpgroups compute, the last one starts copies, and registers move
  /// from the latter to the former.
  ///
  /// - Precondition: The block has the threads of all roles; the registers of a role are a multiple
  ///   of 8 from 24 to 256, and all together fit the multiprocessor's 65,536. (Asking for more waits
  ///   forever for registers that nobody gives back.)
  package func roles(_ producer: Producer, _ consumers: Consumers) {
    require(.registerReallocation)
    precondition(
      bounds.threads == 128 * (consumers.warpgroups + 1),
      "\(name) has \(bounds.threads) threads, which are not one producing and \(consumers.warpgroups) computing warpgroups"
    )
    for count in [producer.registers, consumers.registers] {
      precondition(
        (24...256).contains(count) && count % 8 == 0,
        "setmaxnreg takes a multiple of 8 from 24 to 256")
    }
    let total = 128 * (producer.registers + consumers.warpgroups * consumers.registers)
    precondition(
      total <= 65_536,
      "the roles of \(name) ask for \(total) registers of 65,536, and would wait forever")

    let thread = thread
    let index = uniform(thread >> 7)
    when(index .< consumers.warpgroups) {
      append(.setMaximumRegisters(consumers.registers, increasing: true))
      let group = Warpgroup(self, index: index)
      consumers.body(group)
      precondition(group.isIdle, "a product of \(name) is in flight where its role ends")
    } otherwise: {
      append(.setMaximumRegisters(producer.registers, increasing: false))
      when(thread .== 128 * consumers.warpgroups) { producer.body() }
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

#if canImport(Glibc)
  import BlockScaleCPU
  import Glibc
  import Testing

  @Suite struct FreedMemoryTests {
    @Test func isTakenAgainWithoutFaults() async {
      // In a process of its own, whose settings end with it.
      await #expect(processExitsWith: .success) {
        await MainActor.run {
          precondition(keepFreedMemory())
          func faultsOfFilling() -> Int {
            func faults() -> Int {
              var usage = rusage()
              // The structure is alive during the call.
              unsafe getrusage(Int32(RUSAGE_SELF.rawValue), &usage)
              return usage.ru_minflt
            }
            let before = faults()
            let bytes = [UInt8](repeating: 1, count: 1 << 27)
            precondition(bytes[bytes.count - 1] == 1)
            return faults() - before
          }
          let first = faultsOfFilling()
          precondition(first > 0 && faultsOfFilling() * 4 < first)
        }
      }
    }
  }
#endif

// SPDX-License-Identifier: Apache-2.0

#if canImport(Glibc)
  import BlockScaleCPU
  import Testing

  @Suite struct FreedMemoryTests {
    /// What it does to steps of training, `benchmark train` shows: the threads of tests are not the first.
    @Test func glibcTakesTheSettings() async {
      // In a process of its own, whose settings end with it.
      await #expect(processExitsWith: .success) { precondition(keepFreedMemory()) }
    }
  }
#endif

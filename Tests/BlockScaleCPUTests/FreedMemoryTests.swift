// SPDX-License-Identifier: Apache-2.0

#if canImport(Glibc)
  import BlockScaleCPU
  import Glibc
  import Testing

  @Suite struct FreedMemoryTests {
    /// Whether this program's `malloc` is AddressSanitizer's, which has no such settings.
    static let hasSanitizer = unsafe dlsym(nil, "__asan_init") != nil

    /// What it does to steps of training, `benchmark train` shows: the threads of tests are not the first.
    @Test(.disabled(if: hasSanitizer, "AddressSanitizer has a malloc of its own"))
    func glibcTakesTheSettings() async {
      // In a process of its own, whose settings end with it.
      await #expect(processExitsWith: .success) { precondition(keepFreedMemory()) }
    }
  }
#endif

// SPDX-License-Identifier: Apache-2.0

package import PTX

/// The emulator in the place of a GPU.
///
/// Addresses are not used again, so that a kernel that reads freed memory is found out.
package final class EmulatedDevice: KernelExecutor {
  package let target: Target
  package let multiprocessors: Int
  private let emulator: Emulator
  private let memory = EmulatedMemory()
  /// What was launched so far.
  package private(set) var launches: [KernelLaunch] = []

  package init(
    target: Target = .sm90a, multiprocessors: Int = 4,
    _ options: Emulator.Options = Emulator.Options()
  ) {
    self.target = target
    self.multiprocessors = multiprocessors
    emulator = Emulator(options)
  }

  package func allocate(byteCount: Int) -> UInt64 { memory.allocate(bytes: byteCount) }

  package func free(_ address: UInt64) { memory.free(address) }

  package func upload(_ bytes: RawSpan, to address: UInt64) throws {
    let copy = (0..<bytes.byteCount).map {
      // Offsets of the span's own bytes.
      unsafe bytes.unsafeLoad(fromByteOffset: $0, as: UInt8.self)
    }
    try memory.upload(copy, to: address)
  }

  package func download(byteCount: Int, from address: UInt64) throws -> [UInt8] {
    try memory.download(UInt8.self, count: byteCount, from: address)
  }

  package func launch(_ launch: KernelLaunch) throws {
    launches.append(launch)
    try emulator.launch(
      launch.tree, grid: launch.grid, arguments: launch.arguments.map { ($0.key, $0.value) },
      memory: memory)
  }
}

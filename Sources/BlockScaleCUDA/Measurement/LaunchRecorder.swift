// SPDX-License-Identifier: Apache-2.0

package import PTX

/// Passes an operation on to another executor and keeps its launches with their memory, so that they
/// can be started again.
///
/// Launches must not need what the host wrote between them.
package final class LaunchRecorder: KernelExecutor {
  private let executor: any KernelExecutor
  private var memory: [UInt64] = []
  package private(set) var launches: [KernelLaunch] = []

  package init(_ executor: any KernelExecutor) { self.executor = executor }

  deinit { memory.forEach(executor.free) }

  package var target: Target { executor.target }
  package var multiprocessors: Int { executor.multiprocessors }

  package func allocate(byteCount: Int) throws -> UInt64 {
    let address = try executor.allocate(byteCount: byteCount)
    memory.append(address)
    return address
  }

  /// Nothing: what launches read and write lives as long as they do.
  package func free(_ address: UInt64) {}

  package func upload(_ bytes: RawSpan, to address: UInt64) throws {
    try executor.upload(bytes, to: address)
  }

  package func download(byteCount: Int, from address: UInt64) throws -> [UInt8] {
    try executor.download(byteCount: byteCount, from: address)
  }

  package func launch(_ launch: KernelLaunch) throws {
    try executor.launch(launch)
    launches.append(launch)
  }
}

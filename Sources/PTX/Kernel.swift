// SPDX-License-Identifier: Apache-2.0

/// A GPU kernel: its configuration in stored properties, its instructions in `body`.
///
/// A kernel is built for one target into a ``KernelTree``, which is rendered to PTX text, launched
/// by a driver, or run by the emulator. The host passes parameters by name, so it cannot disagree
/// with the kernel unnoticed.
package protocol Kernel: Sendable {
  /// The entry's name: letters, digits and underscores. It tells configurations apart.
  var name: String { get }
  /// Threads a block, and what the compiler may assume of launches.
  var bounds: LaunchBounds { get }

  /// Appends the kernel's parameters and instructions.
  func body(_ k: KernelBuilder)
}

extension Kernel {
  /// Builds the kernel.
  ///
  /// - Throws: ``KernelError`` if the target lacks what the kernel asks for.
  package func tree(for target: Target) throws(KernelError) -> KernelTree {
    let builder = KernelBuilder(name: name, bounds: bounds, target: target)
    body(builder)
    return try builder.finished()
  }
}

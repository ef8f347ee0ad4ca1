// SPDX-License-Identifier: Apache-2.0

package import PTX

/// An operation on one input, run by kernels and compared with the processor's result.
///
/// `doctor` runs all checks on a GPU, tests run them in the emulator.
package struct KernelCheck: Sendable {
  /// Rows and columns of an input.
  package typealias Shape = (rows: Int, columns: Int)

  /// The operation, formats and shape.
  package let name: String
  /// Why the emulator leaves it to a GPU; nil if it does not.
  package let needsGPU: String?
  /// The targets that have its kernels.
  package let targets: [Target]
  private let body: @Sendable (any KernelExecutor) throws -> Void

  package init(
    _ name: String, needsGPU: String? = nil, targets: [Target] = Target.all,
    _ body: @escaping @Sendable (any KernelExecutor) throws -> Void
  ) {
    self.name = name
    self.needsGPU = needsGPU
    self.targets = targets
    self.body = body
  }

  /// Runs the kernels.
  ///
  /// - Throws: ``KernelMismatch`` if the results differ, or what the executor throws.
  package func run(on executor: any KernelExecutor) throws { try body(executor) }

  /// Every check.
  package static var all: [KernelCheck] {
    quantizing + quantizingBothWays + roundingAtRandom + dequantizing + scaleLayouts
      + swiGLU + activation + norms + blockwiseProducts
  }

  /// The reason for which the emulator does without large inputs.
  static let takesMinutes = "the emulator would take minutes"
}

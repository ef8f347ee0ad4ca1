// SPDX-License-Identifier: Apache-2.0

package import BlockScale
import Minifloat
package import PTX

/// What tells apart the configurations of any kernel of the FP8 activation flow.
package struct ActivationSettings: Sendable, Hashable {
  /// The values of a group.
  package let groupSize: Int
  package let recipe: ActivationRecipe
  /// Whether rows are multiples of 16 values.
  package let isAligned: Bool

  package init(
    groupSize: Int = 16, recipe: ActivationRecipe = .storedScale, isAligned: Bool = true
  ) {
    self.groupSize = groupSize
    self.recipe = recipe
    self.isAligned = isAligned
  }
}

/// A kernel of the FP8 activation flow whose threads have a chunk of a row each.
package protocol ActivationKernel: Kernel {
  var settings: ActivationSettings { get }

  /// Appends what a thread does with its chunk.
  func body(_ k: KernelBuilder, _ chunk: ActivationChunk)
}

extension ActivationKernel {
  package var groupSize: Int { settings.groupSize }
  package var recipe: ActivationRecipe { settings.recipe }
  package var isAligned: Bool { settings.isAligned }

  package var bounds: LaunchBounds { LaunchBounds(threads: ActivationChunk.threads) }

  package func body(_ k: KernelBuilder) {
    let chunk = ActivationChunk(
      k, rows: k.uint32("rows"), columns: k.uint32("columns"), groupSize: groupSize,
      isAligned: isAligned)
    body(k, chunk)
  }

  /// The launch for M×N values.
  package func launch(
    rows: Int, columns: Int, _ operands: [String: KernelArgument], for target: Target
  ) throws(KernelError) -> KernelLaunch {
    let shape = try MatrixShape(rows: rows, columns: columns)
    return KernelLaunch(
      try tree(for: target),
      grid: ActivationChunk.grid(rows: rows, columns: columns, groupSize: groupSize),
      arguments: operands.merging(shape.arguments) { $1 })
  }
}

extension ActivationChunk {
  /// The values of codes in parameters of this name.
  func decoded<Element: ActivationElement>(
    _ k: KernelBuilder, _ name: String, as element: Element.Type
  ) -> [Value<Float>] {
    decoded(
      k.pointer(name, to: Element.self), scales: k.pointer("\(name)Scales", to: BFloat16.self))
  }

  /// The values in a parameter of this name.
  func values(
    _ k: KernelBuilder, _ name: String, _ format: SourceFormat = .bfloat16
  ) -> [Value<Float>] {
    values(k.pointer(name, to: UInt8.self), format)
  }

  /// Stores codes in groups into parameters of this name.
  func store<Element: ActivationElement>(
    _ k: KernelBuilder, _ values: [Value<Float>], as element: Element.Type,
    _ recipe: ActivationRecipe, to name: String
  ) {
    store(
      values, as: element, recipe, to: k.pointer(name, to: Element.self),
      scales: k.pointer("\(name)Scales", to: BFloat16.self))
  }
}

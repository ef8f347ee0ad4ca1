// SPDX-License-Identifier: Apache-2.0

package import CUDADriver
package import PTX

/// What a kernel costs before its first launch.
package struct KernelPreparation: Sendable {
  package let name: String
  /// Seconds from the Swift value to the PTX text; nil for a kernel that is not in the catalogue.
  package let textSeconds: Double?
  /// Seconds from a text that nothing has seen before to a function.
  package let compileSeconds: Double
  /// Seconds from the same text to a function once more, as in a program's second run.
  package let loadSeconds: Double
  /// Where the second one came from.
  package let origin: ModuleCache.Origin

  package init(
    name: String, textSeconds: Double?, compileSeconds: Double, loadSeconds: Double,
    origin: ModuleCache.Origin
  ) {
    self.name = name
    self.textSeconds = textSeconds
    self.compileSeconds = compileSeconds
    self.loadSeconds = loadSeconds
    self.origin = origin
  }
}

extension CUDAExecutor {
  /// Measures what a kernel costs before its first launch, in the first run of a program and in later ones.
  ///
  /// Whatever caches hold from earlier runs does not count: a comment makes the text one that neither
  /// this package's cache nor the driver's has seen. It leaves nothing in the former.
  package func preparation(of tree: KernelTree) throws -> KernelPreparation {
    let textSeconds = try KernelCatalog.named(tree.name).map { entry in
      let start = ContinuousClock.now
      _ = try entry.kernel.tree(for: target).text
      return start.duration(to: .now) / .seconds(1)
    }
    let text = try tree.text + "// \(UInt64.random(in: 0 ... .max))\n"
    defer { cache?.discard(ptx: text, for: context.device) }
    let (_, compiled) = try load(tree, text: text)
    let (_, loaded) = try load(tree, text: text)
    return KernelPreparation(
      name: tree.name, textSeconds: textSeconds, compileSeconds: compiled.seconds,
      loadSeconds: loaded.seconds, origin: loaded.origin)
  }
}

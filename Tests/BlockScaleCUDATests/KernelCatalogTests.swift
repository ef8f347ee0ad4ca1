// SPDX-License-Identifier: Apache-2.0

import BlockScaleCUDA
import PTX
import Testing
import _BlockScaleTestSupport

/// Every kernel that the library may launch is built for its targets, and assembled where `ptxas` is.
@Suite struct KernelCatalogTests {
  @Test func namesAreDistinct() {
    let names = KernelCatalog.entries.map(\.name)
    #expect(Set(names).count == names.count)
    #expect(names.allSatisfy { $0.allSatisfy { $0.isLetter || $0.isNumber || $0 == "_" } })
    #expect(KernelCatalog.named(names[0])?.name == names[0])
    #expect(KernelCatalog.named("nothing") == nil)
  }

  /// What an entry does not list, its kernel refuses with a sentence.
  @Test(arguments: Target.all)
  func rendersForItsTargets(_ target: Target) throws {
    for entry in KernelCatalog.entries {
      guard entry.targets.contains(target) else {
        let error = #expect(throws: KernelError.self) { try entry.kernel.tree(for: target) }
        #expect(error?.description.contains(target.name) == true)
        continue
      }
      try entry.kernel.tree(for: target).validate()
    }
  }

  /// Without spills, stack frames and warnings; a module for many kernels, so that it goes fast.
  @Test(.enabled(if: Assembler.installed != nil, Comment(rawValue: Assembler.absence)))
  func assemblesForItsTargets() async throws {
    let assembler = try #require(Assembler.installed)
    let parts = try Target.all.flatMap { target in
      var trees = try KernelCatalog.entries.filter { $0.targets.contains(target) }
        .map { try $0.kernel.tree(for: target) }
      if target == .sm90a {
        // What the checks launch beyond the catalogue: recipes from other sources, and tails.
        let names = Set(trees.map(\.name))
        trees += launchedByChecks().filter { !names.contains($0.name) }
      }
      return stride(from: 0, to: trees.count, by: 16).map {
        Part(target: target, trees: Array(trees[$0..<min($0 + 16, trees.count)]))
      }
    }
    // `ptxas` runs on one core; as many run as there are threads for tasks.
    let usages = try await withThrowingTaskGroup(of: (Int, [Assembler.Usage]).self) { group in
      for (index, part) in parts.enumerated() {
        group.addTask {
          // A fault of one module hides none of the others'.
          do {
            let text = try Renderer().text(of: part.trees)
            return (index, try assembler.assemble(text, for: part.target.name))
          } catch {
            Issue.record(error)
            return (index, [])
          }
        }
      }
      return try await group.reduce(into: [[Assembler.Usage]](repeating: [], count: parts.count)) {
        $0[$1.0] = $1.1
      }
    }
    var table = AssemblyTable()
    for (part, usages) in zip(parts, usages) {
      guard !usages.isEmpty else { continue }
      #expect(Set(usages.map(\.entry)) == Set(part.trees.map(\.name)))
      for tree in part.trees {
        let usage = try #require(usages.first { $0.entry == tree.name })
        table.add(
          usage, configuration: "\(tree.bounds.threads) threads", target: part.target.name,
          sharedBytes: tree.sharedBytes, text: try tree.text)
      }
    }
    print(table)
  }

  /// Kernels of one module.
  private struct Part: Sendable {
    let target: Target
    let trees: [KernelTree]
  }

  /// The kernels that the checks launch, each once.
  private func launchedByChecks() -> [KernelTree] {
    let device = RecordingDevice()
    for check in KernelCheck.all where check.needsGPU == nil {
      // Nothing is computed, so results differ once all kernels were launched.
      #expect(throws: KernelMismatch.self) { try check.run(on: device) }
    }
    return device.trees.values.sorted { $0.name < $1.name }
  }
}

/// A device that computes nothing and keeps what was launched.
private final class RecordingDevice: KernelExecutor {
  let target = Target.sm90a
  let multiprocessors = 132
  private(set) var trees: [String: KernelTree] = [:]
  private var next: UInt64 = 256

  func allocate(byteCount: Int) -> UInt64 {
    defer { next += UInt64(byteCount + 255) / 256 * 256 }
    return next
  }

  func free(_ address: UInt64) {}
  func upload(_ bytes: RawSpan, to address: UInt64) {}

  func download(byteCount: Int, from address: UInt64) -> [UInt8] {
    // No code and no scale of a sample.
    [UInt8](repeating: 0xA5, count: byteCount)
  }

  func launch(_ launch: KernelLaunch) { trees[launch.tree.name] = launch.tree }
}

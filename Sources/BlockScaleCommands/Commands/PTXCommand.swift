// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BlockScaleCUDA
import PTX

struct PTXCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ptx", abstract: "Print a GPU kernel as PTX text, or list the kernels.",
    discussion: """
      The text is what the driver compiles; it needs no GPU. Kernels are listed for one \
      architecture, and each is for all sizes of matrices.
      """)

  @Argument(help: "The kernel's name; without one, all names are listed.")
  var kernel: String?

  @Option(
    help: ArgumentHelp(
      "The architecture: \(Target.all.map(\.name).joined(separator: ", ")).", valueName: "arch"))
  var arch = Target.sm90a.name

  func run() throws {
    try Terminal.standardOutput.writeResult(text())
  }

  /// What is printed.
  func text() throws -> String {
    guard let target = Target.named(arch) else {
      throw ValidationError(
        "There is no architecture \(arch); there are \(Target.all.map(\.name).joined(separator: ", "))."
      )
    }
    guard let kernel else {
      return KernelCatalog.entries.filter { $0.targets.contains(target) }
        .map { $0.name + "\n" }.joined()
    }
    guard let entry = KernelCatalog.named(kernel) else {
      throw ValidationError("There is no kernel \(kernel); `blockscale ptx` lists all.")
    }
    return try entry.kernel.tree(for: target).text
  }
}

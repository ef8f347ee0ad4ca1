// SPDX-License-Identifier: Apache-2.0

/// Writes kernels as PTX text, which `ptxas` or the driver assembles.
///
/// The text depends on the trees and the options alone, so that it can be a key of a cache.
package struct Renderer: Hashable, Sendable {
  /// Whether comments name the Swift line that the instructions below them come from.
  package var namesLines: Bool
  /// Whether `.loc` directives carry the Swift lines into the machine code, for profilers.
  package var hasLineTable: Bool

  package init(namesLines: Bool = true, hasLineTable: Bool = false) {
    self.namesLines = namesLines
    self.hasLineTable = hasLineTable
  }

  /// A module of these kernels, each an entry of its name.
  ///
  /// - Throws: what `KernelTree.validate()` throws, and when there is no kernel, when two have one name,
  ///   or when they are for different targets.
  package func text(of trees: [KernelTree]) throws(KernelError) -> String {
    guard let target = trees.first?.target else {
      throw KernelError("A module needs a kernel.")
    }
    var names: Set<String> = []
    for tree in trees {
      try tree.validate()
      guard tree.target == target else {
        throw KernelError(
          "Kernel \(tree.name) is for \(tree.target.name), others of its module for \(target.name)."
        )
      }
      guard names.insert(tree.name).inserted else {
        throw KernelError("Two kernels of one module are called \(tree.name).")
      }
    }
    var text = """
      .version \(target.ptxVersion)
      .target \(target.name)
      .address_size 64

      """
    if trees.contains(where: { $0.sharedBytes > 0 }) {
      text += ".extern .shared .align 1024 .b8 \(PTXName.sharedMemory)[];\n"
    }
    var files = FileTable()
    for tree in trees {
      text += "\n"
      var writer = EntryWriter(tree, options: self, files: files)
      text += writer.entry()
      files = writer.files
    }
    for (index, file) in files.names.enumerated() {
      text += ".file \(index + 1) \"\(file)\"\n"
    }
    return text
  }
}

extension KernelTree {
  /// A module of PTX text that holds this kernel alone.
  package var text: String {
    get throws(KernelError) { try Renderer().text(of: [self]) }
  }
}

/// Names in the text that are not registers.
enum PTXName {
  static let sharedMemory = "sharedMemory"

  /// A parameter: the underscore keeps it apart from words that PTX reserves.
  static func parameter(_ parameter: KernelParameter) -> String { "_" + parameter.name }
}

/// Files that `.loc` names by number, in the order of their appearance.
struct FileTable {
  private(set) var names: [String] = []

  mutating func number(of file: String) -> Int {
    if let index = names.firstIndex(of: file) { return index + 1 }
    names.append(file)
    return names.count
  }
}

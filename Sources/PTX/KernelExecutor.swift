// SPDX-License-Identifier: Apache-2.0

/// One launch: a built kernel, its grid and its arguments.
package struct KernelLaunch: Hashable, Sendable {
  package var tree: KernelTree
  package var grid: GridShape
  /// In any order; each parameter of the kernel has one of its name and kind.
  package var arguments: [String: KernelArgument]

  package init(_ tree: KernelTree, grid: GridShape, arguments: [String: KernelArgument]) {
    self.tree = tree
    self.grid = grid
    self.arguments = arguments
  }

  /// The arguments in the order of the parameters.
  ///
  /// - Throws: ``KernelError`` if one is missing, of another kind, or none of the kernel's.
  package func orderedArguments() throws(KernelError) -> [KernelArgument] {
    var result: [KernelArgument] = []
    for parameter in tree.parameters {
      guard let argument = arguments[parameter.name] else {
        throw KernelError("\(tree.name) was launched without its parameter \(parameter.name).")
      }
      guard argument.kind == parameter.kind else {
        throw KernelError(
          "\(tree.name) takes \(parameter.name) as \(parameter.kind) and was given \(argument.kind)."
        )
      }
      result.append(argument)
    }
    if result.count != arguments.count {
      let known = Set(tree.parameters.map(\.name))
      let strange = arguments.keys.filter { !known.contains($0) }.sorted()
      throw KernelError("\(tree.name) has no parameter \(strange.joined(separator: ", ")).")
    }
    return result
  }
}

/// How many blocks there are in each dimension.
package struct GridShape: Hashable, Sendable {
  package var x: Int
  package var y: Int
  package var z: Int

  /// Blocks in x, y and z.
  package init(_ x: Int, _ y: Int = 1, _ z: Int = 1) {
    self.x = x
    self.y = y
    self.z = z
  }

  /// All blocks.
  package var count: Int { x * y * z }
}

/// A place where kernels run: a GPU, or the emulator.
///
/// Operations are written for any of them, so that tests run the launches that a GPU will run.
package protocol KernelExecutor: AnyObject {
  /// What kernels are to be built for.
  var target: Target { get }
  /// How many multiprocessors persistent kernels fill.
  var multiprocessors: Int { get }

  /// Sets memory aside, aligned to 256 bytes, with unknown contents.
  func allocate(byteCount: Int) throws -> UInt64
  /// Gives memory back.
  func free(_ address: UInt64)
  /// Copies bytes to the device.
  func upload(_ bytes: RawSpan, to address: UInt64) throws
  /// Copies bytes from the device, after all launches.
  func download(byteCount: Int, from address: UInt64) throws -> [UInt8]
  /// Starts a kernel after those before it.
  func launch(_ launch: KernelLaunch) throws
}

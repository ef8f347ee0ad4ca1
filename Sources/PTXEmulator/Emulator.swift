// SPDX-License-Identifier: Apache-2.0

package import PTX

/// Runs kernels on the CPU, lane by lane, and reports what a GPU would silently get wrong.
///
/// ```swift
/// let memory = EmulatedMemory()
/// let x = memory.upload([Float](repeating: 1, count: 100))
/// let y = memory.allocate(bytes: 400)
/// try Emulator().launch(
///   tree, grid: GridShape(4),
///   arguments: [("x", .pointer(x)), ("y", .pointer(y)), ("count", .uint32(100))], memory: memory)
/// let result = try memory.download(Float.self, count: 100, from: y)
/// ```
///
/// A launch throws an ``EmulatorError`` at the first fault; its `kind` is for tests and its
/// description names the kernel, block, warp, lanes and the Swift line of the instruction. Kernels
/// should be run with both values of ``Options/completion`` and a few random schedules.
package struct Emulator {
  /// In what order warps execute.
  package enum Schedule: Hashable, Sendable {
    /// Each runs until it waits, for some instructions at most, in the order of their numbers.
    case roundRobin
    /// In a random order, for a random number of instructions each.
    case random(seed: UInt64)
  }

  /// When asynchronous work is done.
  package enum Completion: Hashable, Sendable, CaseIterable {
    /// At once, when it is asked for.
    case earliest
    /// Loads when every warp of the cluster waits, stores and products when they are waited for.
    case latest
  }

  /// How products of FP8 values are summed.
  package enum Float8Sums: Hashable, Sendable, CaseIterable {
    /// In FP32, one product after the other.
    case exact
    /// Products and the sum so far aligned to the largest and cut to 14 bits, as Hopper does.
    case truncated
  }

  package struct Options: Sendable {
    package var schedule = Schedule.roundRobin
    package var completion = Completion.latest
    package var approximations = Approximations.exact
    package var float8Sums = Float8Sums.exact
    /// Blocks that run at the same time, for kernels whose blocks wait for each other; rounded up to
    /// whole clusters.
    package var residentBlocks = 1
    /// Whether loads of global bytes that nothing has written are errors.
    package var checksUninitializedGlobal = true
    /// Instructions that a warp may execute; more are taken for an endless loop.
    package var instructionLimit = 50_000_000

    package init() {}
  }

  package var options: Options

  package init(_ options: Options = Options()) { self.options = options }

  /// What a launch did.
  package struct Report: Hashable, Sendable {
    /// Instructions executed, once for each warp that did.
    package var warpInstructions = 0

    package init() {}
  }

  /// Runs a kernel for every block of a grid.
  ///
  /// - Parameters:
  ///   - tree: The kernel.
  ///   - grid: Its blocks; clusters lie along x, which must be a multiple of their size.
  ///   - arguments: A value for each parameter, by name, in any order.
  ///   - memory: The global memory that pointers and tensor maps refer to.
  /// - Throws: The first fault.
  @discardableResult
  package func launch(
    _ tree: KernelTree, grid: GridShape, arguments: [(name: String, value: KernelArgument)],
    memory: EmulatedMemory
  ) throws(EmulatorError) -> Report {
    let program = try Program(tree)
    let values = try check(tree, grid, arguments, memory)
    let launch = Launch(program, options, memory, grid, values)
    var scheduler = Scheduler(launch)
    return try scheduler.run()
  }

  /// The arguments in the order of the parameters.
  private func check(
    _ tree: KernelTree, _ grid: GridShape, _ arguments: [(name: String, value: KernelArgument)],
    _ memory: EmulatedMemory
  ) throws(EmulatorError) -> [KernelArgument] {
    func fail(_ text: String) -> EmulatorError {
      EmulatorError(kind: .launch, line: nil, description: "kernel \(tree.name) \(text)")
    }
    guard grid.x > 0, grid.y > 0, grid.z > 0 else {
      throw fail("is launched with \(grid.x) x \(grid.y) x \(grid.z) blocks")
    }
    let size = tree.bounds.clusterBlocks
    guard size > 0, size <= 16, grid.x % size == 0 else {
      throw fail(
        "is launched with \(grid.x) blocks along x, no multiple of its clusters of \(size)")
    }
    let threads = tree.bounds.threads
    guard threads > 0, threads <= 1024 else {
      throw fail("has \(threads) threads a block; 1 to 1024 are possible")
    }
    guard tree.sharedBytes >= 0, tree.sharedBytes <= tree.target.maximumSharedBytes else {
      throw fail(
        "has \(tree.sharedBytes) bytes of shared memory; \(tree.target.name) allows \(tree.target.maximumSharedBytes)"
      )
    }
    var values: [KernelArgument] = []
    for parameter in tree.parameters {
      let matches = arguments.filter { $0.name == parameter.name }
      guard let argument = matches.first?.value, matches.count == 1 else {
        throw fail("is given \(matches.count) arguments for its parameter \(parameter.name)")
      }
      guard argument.kind == parameter.kind else {
        throw fail(
          "is given an argument of kind \(argument.kind) for its parameter \(parameter.name) of kind \(parameter.kind)"
        )
      }
      if case .tensorMap(let map) = argument, let problem = map.problem {
        throw EmulatorError(
          kind: .tensorMap, line: nil,
          description: "kernel \(tree.name) is given a tensor map for \(parameter.name) \(problem)")
      }
      values.append(argument)
    }
    if let unknown = arguments.first(where: { name, _ in
      !tree.parameters.contains { $0.name == name }
    }) {
      throw fail("is given an argument for \(unknown.name), which it has not")
    }
    return values
  }
}

extension TensorMapLayout {
  /// What `cuTensorMapEncodeTiled` would refuse, or nothing.
  var problem: String? {
    let rank = extents.count
    guard (1...5).contains(rank) else { return "of rank \(rank); 1 to 5 are possible" }
    guard strides.count == rank - 1, box.count == rank else {
      return "of rank \(rank) with \(strides.count) strides and a box of rank \(box.count)"
    }
    guard base % 16 == 0 else { return "whose base \(hexadecimal(base)) is no multiple of 16" }
    guard extents.allSatisfy({ $0 >= 1 && $0 <= 1 << 32 }) else { return "with extents \(extents)" }
    guard strides.allSatisfy({ $0 % 16 == 0 && $0 > 0 && $0 < 1 << 40 }) else {
      return "with strides of \(strides) bytes; they must be multiples of 16"
    }
    guard box.allSatisfy({ (1...256).contains($0) }) else {
      return "with a box of \(box); each side has 1 to 256 elements"
    }
    let row = box[0] * element.byteCount
    guard row % 16 == 0 else { return "whose box is \(row) bytes wide, no multiple of 16" }
    if let limit = swizzle.rowBytes, row > limit {
      return "whose box is \(row) bytes wide, beyond the \(limit) of its swizzle"
    }
    return nil
  }

  /// The bytes of a whole box.
  var boxBytes: Int { box.reduce(element.byteCount, *) }
}

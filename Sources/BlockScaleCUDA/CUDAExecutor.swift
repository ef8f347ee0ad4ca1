// SPDX-License-Identifier: Apache-2.0

package import CUDADriver
package import PTX

/// Runs kernels on a GPU, in the order in which they are launched.
///
/// Kernels are loaded at their first launch and kept: out of the cache of machine code where an earlier
/// run left them there, compiled otherwise. Not `Sendable`: each thread has its own.
package final class CUDAExecutor: KernelExecutor {
  package let context: Context
  package let stream: Stream
  package let target: Target
  /// Where machine code is kept between runs, or nil where it is not.
  package let cache: ModuleCache?
  /// The kernels that were loaded, in their order.
  package private(set) var loads: [KernelLoad] = []
  private var memory: [UInt64: Allocation] = [:]
  private var functions: [KernelTree: Function] = [:]

  /// Opens a GPU.
  ///
  /// - Parameter cache: Where machine code is kept between runs, or nil to compile in each run.
  /// - Throws: `CUDAError`, or ``KernelError`` for a GPU that no target is for.
  package init(_ device: Device, cache: ModuleCache? = .ofUser()) throws {
    guard let target = Target.for(device.computeCapability) else {
      throw KernelError(
        "\(device.name) is of compute capability \(device.computeCapability), for which there are no kernels."
      )
    }
    self.target = target
    self.cache = cache
    context = try Context(device)
    stream = try Stream(in: context)
  }

  package var multiprocessors: Int { context.device.multiprocessorCount }

  // MARK: Memory

  /// Owns memory until it is freed.
  private final class Allocation {
    let memory: DeviceMemory

    init(_ memory: consuming DeviceMemory) { self.memory = memory }
  }

  package func allocate(byteCount: Int) throws -> UInt64 {
    let allocation = Allocation(try DeviceMemory(byteCount: byteCount, in: context))
    let address = allocation.memory.address.rawValue
    memory[address] = allocation
    return address
  }

  package func free(_ address: UInt64) {
    memory[address] = nil
  }

  package func upload(_ bytes: RawSpan, to address: UInt64) throws {
    try allocation(at: address).memory.copy(from: bytes, on: stream)
  }

  package func download(byteCount: Int, from address: UInt64) throws -> [UInt8] {
    try allocation(at: address).memory.elements(of: UInt8.self, count: byteCount, on: stream)
  }

  private func allocation(at address: UInt64) -> Allocation {
    guard let allocation = memory[address] else {
      preconditionFailure("no memory of this executor begins at address \(address)")
    }
    return allocation
  }

  // MARK: Launching

  package func launch(_ launch: KernelLaunch) throws {
    try prepared(launch).start(on: stream)
  }

  /// A launch whose kernel is compiled and whose arguments are encoded, to be started many times.
  package func prepared(_ launch: KernelLaunch) throws -> PreparedLaunch {
    let arguments = try launch.orderedArguments().map { argument -> LaunchArgument in
      switch argument {
      case .pointer(let address): .address(DeviceAddress(rawValue: address))
      case .uint32(let value): .uint32(value)
      case .uint64(let value): .uint64(value)
      case .float(let value): .float(value)
      case .tensorMap(let layout): .tensorMap(try encoded(layout))
      }
    }
    let tree = launch.tree
    let grid = launch.grid
    return PreparedLaunch(
      function: try function(for: tree),
      configuration: LaunchConfiguration(
        grid: Dimensions(grid.x, grid.y, grid.z), block: Dimensions(tree.bounds.threads),
        dynamicSharedMemory: tree.sharedBytes,
        cluster: tree.bounds.clusterBlocks > 1 ? Dimensions(tree.bounds.clusterBlocks) : nil),
      arguments: arguments)
  }

  private func function(for tree: KernelTree) throws -> Function {
    if let function = functions[tree] { return function }
    let (function, load) = try load(tree, text: try tree.text)
    functions[tree] = function
    loads.append(load)
    return function
  }

  /// Loads a text, without keeping the result for launches.
  func load(_ tree: KernelTree, text: String) throws(CUDAError) -> (Function, KernelLoad) {
    let start = ContinuousClock.now
    let module: Module
    let origin: ModuleCache.Origin
    if let cache {
      let entry = try cache.module(ptx: text, in: context)
      origin = entry.origin
      module = entry.take()
    } else {
      module = try Module(ptx: text, in: context)
      origin = .notCached("there is no cache")
    }
    let function = try module.function(named: tree.name, dynamicSharedMemory: tree.sharedBytes)
    let seconds = start.duration(to: .now) / .seconds(1)
    return (function, KernelLoad(name: tree.name, origin: origin, seconds: seconds))
  }

  private func encoded(_ layout: TensorMapLayout) throws -> TensorMap {
    guard let element = TensorMap.ElementType(rawValue: Int32(layout.element.rawValue)),
      let swizzle = TensorMap.Swizzle(rawValue: Int32(layout.swizzle.rawValue))
    else { preconditionFailure("tensor maps know every element and swizzle of the language") }
    return try TensorMap(
      TensorMap.Description(
        elementType: element, extents: layout.extents, strides: layout.strides, box: layout.box,
        swizzle: swizzle),
      at: DeviceAddress(rawValue: layout.base), in: context)
  }
}

/// How a kernel came to the GPU.
package struct KernelLoad: Sendable {
  package let name: String
  package let origin: ModuleCache.Origin
  /// From the text to a function that can be launched.
  package let seconds: Double

  package init(name: String, origin: ModuleCache.Origin, seconds: Double) {
    self.name = name
    self.origin = origin
    self.seconds = seconds
  }
}

/// A kernel and its arguments, ready to start.
package struct PreparedLaunch {
  package let function: Function
  private let configuration: LaunchConfiguration
  private let arguments: [LaunchArgument]

  init(function: Function, configuration: LaunchConfiguration, arguments: [LaunchArgument]) {
    self.function = function
    self.configuration = configuration
    self.arguments = arguments
  }

  /// Starts the kernel after the work before it.
  package func start(on stream: borrowing Stream) throws {
    try function.launch(configuration, arguments, on: stream)
  }
}

extension Target {
  /// The target for GPUs of a compute capability, or nothing.
  package static func `for`(_ capability: ComputeCapability) -> Target? {
    switch (capability.major, capability.minor) {
    case (8, 9): .sm89
    case (8, _): .sm80
    case (9, _): .sm90a
    case (10, 0): .sm100a
    case (12, 0): .sm120a
    default: nil
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

extension Function {
  /// Launches the kernel; returns before it runs.
  ///
  /// Arguments are copied. What they point to must stay allocated until the kernel is done.
  ///
  /// - Parameters:
  ///   - configuration: Grid, block, shared memory and cluster.
  ///   - arguments: One for each parameter, in order. Number and sizes are compared with the kernel's
  ///     where the driver knows them (CUDA 12.4 and newer); before, a missing argument is undefined
  ///     behaviour.
  ///   - stream: Where the kernel takes its turn.
  /// - Throws: ``CUDAError``: ``CUDAError/Code/invalidArgument`` for what breaks a limit,
  ///   ``CUDAError/Code/launchOutOfResources``; ``CUDAError/Code/contextLost`` where an earlier kernel
  ///   failed. A failure of this kernel appears in a later call.
  public func launch(
    _ configuration: LaunchConfiguration, _ arguments: [LaunchArgument],
    on stream: borrowing Stream
  ) throws(CUDAError) {
    try check(configuration)
    try check(arguments)
    let streamHandle = stream.opened.handle
    let result = context.result { functions in
      unsafe configuration.withDriverConfiguration(stream: streamHandle) { encoded in
        unsafe withArgumentPointers(arguments) { pointers in
          // Configuration and arguments live for the call, which copies them.
          unsafe functions.cuLaunchKernelEx(encoded, handle, pointers, nil)
        }
      }
    }
    try context.library.check(
      result, "cuLaunchKernelEx",
      "Kernel '\(name)' cannot be launched (grid \(configuration.grid), block "
        + "\(configuration.block), \(registers) registers a thread, "
        + "\(staticSharedMemory + configuration.dynamicSharedMemory) bytes of shared memory)")
  }

  /// Throws for a configuration that no GPU or not this kernel can have.
  func check(_ configuration: LaunchConfiguration) throws(CUDAError) {
    let grid = configuration.grid
    let block = configuration.block
    guard grid.x >= 1, grid.y >= 1, grid.z >= 1, grid.x < 1 << 31, grid.y < 1 << 16,
      grid.z < 1 << 16
    else {
      throw .invalid(
        "Kernel '\(name)' cannot have the grid \(grid): 1 to 2147483647 blocks in x, 1 to 65535 in y "
          + "and z")
    }
    guard block.x >= 1, block.y >= 1, block.z >= 1, block.x <= 1024, block.y <= 1024,
      block.z <= 64, block.count <= maximumThreadsPerBlock
    else {
      throw .invalid(
        "Kernel '\(name)' cannot have the block \(block): at most \(maximumThreadsPerBlock) threads, "
          + "1 to 1024 in x and y, 1 to 64 in z")
    }
    guard (0...maximumDynamicSharedMemory).contains(configuration.dynamicSharedMemory) else {
      throw .invalid(
        "Kernel '\(name)' cannot have \(configuration.dynamicSharedMemory) bytes of dynamic shared "
          + "memory: it was looked up with at most \(maximumDynamicSharedMemory)")
    }
    guard let cluster = configuration.cluster else { return }
    guard context.device.hasClusters else {
      throw CUDAError(
        .unsupported,
        "Kernel '\(name)' cannot have clusters on \(context.device.name), which has none")
    }
    guard cluster.x >= 1, cluster.y >= 1, cluster.z >= 1, max(cluster.x, cluster.y, cluster.z) <= 8,
      cluster.count <= 8
    else {
      throw .invalid("Kernel '\(name)' cannot have the cluster \(cluster): 1 to 8 blocks")
    }
    guard grid.x % cluster.x == 0, grid.y % cluster.y == 0, grid.z % cluster.z == 0 else {
      throw .invalid(
        "Kernel '\(name)' cannot have the grid \(grid) in clusters of \(cluster): it is no multiple"
      )
    }
  }

  /// Throws for arguments that are not the kernel's.
  func check(_ arguments: [LaunchArgument]) throws(CUDAError) {
    guard let parameterByteCounts else { return }
    guard arguments.count == parameterByteCounts.count else {
      throw .invalid(
        "Kernel '\(name)' has \(parameterByteCounts.count) parameters and was given "
          + "\(arguments.count) arguments")
    }
    for (index, byteCount) in parameterByteCounts.enumerated()
    where arguments[index].byteCount != byteCount {
      throw .invalid(
        "Argument \(index) of kernel '\(name)' has \(arguments[index].byteCount) bytes, and its "
          + "parameter \(byteCount)")
    }
  }
}

extension Dimensions: CustomStringConvertible {
  /// For example "132x1x1".
  public var description: String { "\(x)x\(y)x\(z)" }
}

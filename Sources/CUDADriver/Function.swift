// SPDX-License-Identifier: Apache-2.0

/// A kernel of a loaded module.
///
/// A plain value that keeps its module loaded; copies refer to the same kernel.
public struct Function: Sendable {
  /// The entry's name in the PTX.
  public let name: String

  /// 32-bit registers of a thread.
  public let registers: Int

  /// Local memory of a thread in bytes.
  ///
  /// What the compiler spilled, and arrays that it could not keep in registers; zero for a kernel that is
  /// in order.
  public let localByteCount: Int

  /// Shared memory that the kernel declares with a size; bytes of a block.
  public let staticSharedMemory: Int

  /// The most dynamic shared memory that a launch may ask for; bytes of a block.
  public let maximumDynamicSharedMemory: Int

  /// The most threads of a block, as the kernel's registers and its `.maxntid` allow.
  public let maximumThreadsPerBlock: Int

  /// Bytes of each parameter, or nil where the driver is too old (before CUDA 12.4) to tell.
  let parameterByteCounts: [Int]?

  let module: LoadedModule
  let handle: DriverFunctions.Handle

  var context: Context { module.context }
}

extension Module {
  /// A kernel of this module.
  ///
  /// - Parameters:
  ///   - name: The entry's name in the PTX.
  ///   - dynamicSharedMemory: The most dynamic shared memory that launches will ask for, in bytes. The
  ///     driver must be told of more than 48 KiB beforehand.
  /// - Throws: ``CUDAError``: ``CUDAError/Code/notFound`` for another name,
  ///   ``CUDAError/Code/launchOutOfResources`` for more shared memory than a block can have.
  public func function(
    named name: String, dynamicSharedMemory: Int = 0
  ) throws(CUDAError) -> Function {
    let context = loaded.context
    var handle: DriverFunctions.Handle = 0
    try context.perform("cuModuleGetFunction", "The module has no kernel '\(name)'") { functions in
      // The name is a C string and one handle is written, for the duration of the call.
      unsafe name.withCString { unsafe functions.cuModuleGetFunction(&handle, loaded.handle, $0) }
    }
    func attribute(_ attribute: FunctionAttribute) throws(CUDAError) -> Int {
      var value: Int32 = 0
      try context.perform(
        "cuFuncGetAttribute", "The property '\(attribute)' of kernel '\(name)' cannot be read"
      ) {
        // One number is written, for the duration of the call.
        unsafe $0.cuFuncGetAttribute(&value, attribute.rawValue, handle)
      }
      return Int(value)
    }
    let staticSharedMemory = try attribute(.staticSharedMemory)
    let limit = context.device.sharedMemoryPerBlock
    guard dynamicSharedMemory >= 0, staticSharedMemory + dynamicSharedMemory <= limit else {
      throw CUDAError(
        .launchOutOfResources,
        "Kernel '\(name)' needs \(staticSharedMemory) + \(dynamicSharedMemory) bytes of shared memory, "
          + "and a block on \(context.device.name) can have \(limit)")
    }
    // Only raised, so that two users of one kernel do not take memory from each other.
    if try attribute(.maximumDynamicSharedMemory) < dynamicSharedMemory {
      try context.perform(
        "cuFuncSetAttribute",
        "Kernel '\(name)' cannot have \(dynamicSharedMemory) bytes of dynamic shared memory"
      ) {
        $0.cuFuncSetAttribute(
          handle, FunctionAttribute.maximumDynamicSharedMemory.rawValue, Int32(dynamicSharedMemory))
      }
    }
    return try Function(
      name: name,
      registers: attribute(.registers),
      localByteCount: attribute(.localMemory),
      staticSharedMemory: staticSharedMemory,
      maximumDynamicSharedMemory: attribute(.maximumDynamicSharedMemory),
      maximumThreadsPerBlock: attribute(.maximumThreadsPerBlock),
      parameterByteCounts: parameterByteCounts(of: handle, in: context),
      module: loaded,
      handle: handle)
  }
}

/// Bytes of a kernel's parameters, or nil where the driver cannot tell.
private func parameterByteCounts(of handle: DriverFunctions.Handle, in context: Context) -> [Int]? {
  // Called below, with places for two numbers.
  guard let getInfo = unsafe context.library.functions.cuFuncGetParamInfo else { return nil }
  var counts: [Int] = []
  // More parameters than fit into the 32764 bytes that a kernel can have.
  while counts.count < 1 << 15 {
    var offset = 0
    var byteCount = 0
    // Two numbers are written, for the duration of the call; past the last parameter it fails.
    guard
      context.result(of: { _ in unsafe getInfo(handle, counts.count, &offset, &byteCount) })
        == ResultNumber.success
    else { break }
    counts.append(byteCount)
  }
  return counts
}

extension Function {
  /// How many blocks run on a multiprocessor at the same time.
  ///
  /// - Parameters:
  ///   - threads: Threads of a block.
  ///   - dynamicSharedMemory: Bytes of a block.
  /// - Throws: ``CUDAError``.
  public func blocksPerMultiprocessor(
    threads: Int, dynamicSharedMemory: Int = 0
  ) throws(CUDAError) -> Int {
    var count: Int32 = 0
    try context.perform(
      "cuOccupancyMaxActiveBlocksPerMultiprocessor",
      "The occupancy of kernel '\(name)' cannot be computed"
    ) {
      // One number is written, for the duration of the call.
      unsafe $0.cuOccupancyMaxActiveBlocksPerMultiprocessor(
        &count, handle, Int32(threads), dynamicSharedMemory)
    }
    return Int(count)
  }

  /// How many clusters run on the GPU at the same time.
  ///
  /// - Parameter configuration: The launch, whose cluster may be missing: then a cluster is one block.
  /// - Throws: ``CUDAError``.
  public func clustersOnDevice(_ configuration: LaunchConfiguration) throws(CUDAError) -> Int {
    try check(configuration)
    var count: Int32 = 0
    try context.perform(
      "cuOccupancyMaxActiveClusters", "The occupancy of kernel '\(name)' cannot be computed"
    ) { functions in
      unsafe configuration.withDriverConfiguration(stream: 0) { encoded in
        // One number is written, and the configuration lives for the call.
        unsafe functions.cuOccupancyMaxActiveClusters(&count, handle, encoded)
      }
    }
    return Int(count)
  }
}

// SPDX-License-Identifier: Apache-2.0

/// Machine code loaded into a context.
///
/// Unloaded when the module and all its ``Function``s are gone.
public struct Module: ~Copyable, Sendable {
  /// What the compiler wrote: for each kernel its registers, spills and warnings; empty for code that
  /// was not compiled.
  public let log: String

  let loaded: LoadedModule

  /// Compiles PTX for the context's device and loads it (about 0.1 s).
  ///
  /// The driver keeps a cache of its own for this (`CUDA_CACHE_PATH`, by default in the home folder).
  ///
  /// - Parameters:
  ///   - ptx: The text.
  ///   - context: Where the code will run.
  ///   - options: What to ask the compiler for.
  /// - Throws: ``CUDAError`` with the compiler's log: ``CUDAError/Code/invalidCode``,
  ///   ``CUDAError/Code/foreignArchitecture``, ``CUDAError/Code/driverTooOld``.
  public init(
    ptx: String, in context: Context, options: JITOptions = JITOptions()
  ) throws(CUDAError) {
    try PTXTarget(ptx: ptx)?.check(on: context.device)
    let arguments = JITArguments(options)
    var text = Array(ptx.utf8)
    text.append(0)
    var handle: DriverFunctions.Handle = 0
    let result = context.result {
      // The text ends with a zero, and the arguments are as many as they say.
      unsafe $0.cuModuleLoadDataEx(
        &handle, text, UInt32(arguments.count), arguments.numbers, arguments.values)
    }
    try context.library.check(
      result, "cuModuleLoadDataEx", "The PTX cannot be compiled for \(context.device.name)",
      log: arguments.errorText)
    log = arguments.infoText
    loaded = LoadedModule(handle, in: context)
  }

  /// Loads machine code.
  ///
  /// - Parameters:
  ///   - cubin: What ``Context/compile(_:options:)`` made, or NVIDIA's assembler.
  ///   - context: Where the code will run.
  /// - Throws: ``CUDAError``: ``CUDAError/Code/invalidCode`` for bytes that are no cubin,
  ///   ``CUDAError/Code/foreignArchitecture`` for another GPU's.
  public init(cubin: Cubin, in context: Context) throws(CUDAError) {
    // Anything that is not ELF would be read as PTX, up to a zero that need not be there.
    guard cubin.bytes.count >= 64, cubin.bytes.starts(with: [0x7F, 0x45, 0x4C, 0x46]) else {
      throw CUDAError(
        .invalidCode, "These \(cubin.bytes.count) bytes are no cubin: an ELF header is missing")
    }
    let arguments = JITArguments(JITOptions())
    var handle: DriverFunctions.Handle = 0
    let result = context.result {
      // The image is complete, and the arguments are as many as they say.
      unsafe $0.cuModuleLoadDataEx(
        &handle, cubin.bytes, UInt32(arguments.count), arguments.numbers, arguments.values)
    }
    try context.library.check(
      result, "cuModuleLoadDataEx", "The cubin cannot be loaded on \(context.device.name)",
      log: arguments.errorText)
    log = cubin.log
    loaded = LoadedModule(handle, in: context)
  }
}

/// The driver's module, shared by a ``Module`` and its ``Function``s.
final class LoadedModule: Sendable {
  let context: Context
  let handle: DriverFunctions.Handle

  init(_ handle: DriverFunctions.Handle, in context: Context) {
    self.handle = handle
    self.context = context
  }

  deinit {
    context.dispose { $0.cuModuleUnload(handle) }
  }
}

// SPDX-License-Identifier: Apache-2.0

/// Machine code of one architecture.
public struct Cubin: Hashable, Sendable {
  /// The ELF image.
  public var bytes: [UInt8]

  /// What the compiler wrote: for each kernel its registers, spills and warnings.
  public var log: String

  /// An image with its log.
  public init(bytes: [UInt8], log: String = "") {
    self.bytes = bytes
    self.log = log
  }
}

extension Context {
  /// Compiles PTX to machine code for this context's device, to be kept.
  ///
  /// The driver gives machine code away only through its linker, which compiles as for separate
  /// compilation. There `setmaxnreg` is ignored (C7504 in the log), so kernels with it are loaded by
  /// ``Module/init(ptx:in:options:)`` instead; ``ModuleCache`` sees to that.
  ///
  /// - Parameters:
  ///   - ptx: The text.
  ///   - options: What to ask the compiler for.
  /// - Throws: ``CUDAError`` with the compiler's log, as ``Module/init(ptx:in:options:)``.
  public func compile(
    _ ptx: String, options: JITOptions = JITOptions()
  ) throws(CUDAError) -> Cubin {
    let target = PTXTarget(ptx: ptx)
    try target?.check(on: device)
    // Targets with the suffix "a" have numbers of their own; the context only knows the plain one.
    let option: (JITOption, UInt) =
      if let target, target.reach == .exact {
        (.target, UInt(JITOption.acceleratedTargetBase + target.number))
      } else {
        (.targetFromContext, 0)
      }
    let linker = try Linker(options, target: option, in: self)
    return try linker.link(ptx)
  }
}

/// The driver's linker, for one text.
private struct Linker: ~Copyable {
  let context: Context
  let handle: DriverFunctions.Handle
  // Goes after the deinitialiser's body, so after the linker that uses it.
  let arguments: JITArguments

  init(
    _ options: JITOptions, target: (JITOption, UInt), in context: Context
  ) throws(CUDAError) {
    let arguments = JITArguments(options, target: target)
    var handle: DriverFunctions.Handle = 0
    try context.perform(
      "cuLinkCreate_v2", Self.message(context), log: arguments.errorText
    ) {
      // The arguments are as many as they say, and outlive the linker.
      unsafe $0.cuLinkCreate(
        UInt32(arguments.count), arguments.numbers, arguments.values, &handle)
    }
    self.context = context
    self.handle = handle
    self.arguments = arguments
  }

  deinit {
    context.dispose { $0.cuLinkDestroy(handle) }
  }

  func link(_ ptx: String) throws(CUDAError) -> Cubin {
    let message = Self.message(context)
    var text = Array(ptx.utf8)
    text.append(0)
    try context.perform("cuLinkAddData_v2", message, log: arguments.errorText) { functions in
      // The driver reads the text during the call and changes nothing in it.
      unsafe "kernel.ptx".withCString { name in
        unsafe functions.cuLinkAddData(
          handle, Flag.ptxInput, &text, text.count, name, 0, nil, nil)
      }
    }
    var image: UnsafeRawPointer?
    var byteCount = 0
    try context.perform("cuLinkComplete", message, log: arguments.errorText) {
      // An address and a size are written, for the duration of the call.
      unsafe $0.cuLinkComplete(handle, &image, &byteCount)
    }
    // The image belongs to the linker, which is borrowed here; it is copied.
    let bytes = unsafe [UInt8](UnsafeRawBufferPointer(start: image, count: byteCount))
    return Cubin(bytes: bytes, log: arguments.infoText)
  }

  private static func message(_ context: Context) -> String {
    "The PTX cannot be compiled for \(context.device.name)"
  }
}

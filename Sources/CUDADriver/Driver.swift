// SPDX-License-Identifier: Apache-2.0

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// NVIDIA's driver, loaded while the program runs.
///
/// There is no global driver and no default device: a program loads the driver, picks a device and makes
/// its context.
///
/// ```swift
/// let driver = try Driver.load()
/// let context = try Context(driver.device(at: 0))
/// ```
///
/// A value may be used from any thread, as libcuda itself.
public struct Driver: Sendable {
  /// The CUDA version that the driver is made for.
  public let version: CUDAVersion

  /// How many GPUs the driver shows to this process.
  public let deviceCount: Int

  let library: DriverLibrary

  /// Loads `libcuda.so.1` and initialises it.
  ///
  /// - Throws: ``CUDAError``: ``CUDAError/Code/noDriver`` without a library, ``CUDAError/Code/driverTooOld``
  ///   before driver 525, ``CUDAError/Code/noDevice`` without a GPU, ``CUDAError/Code/driverNotReady``
  ///   for an installation in disorder.
  public static func load() throws(CUDAError) -> Driver {
    try load(path: "libcuda.so.1")
  }

  /// Loads the driver's library from a path of one's own.
  ///
  /// - Throws: As ``load()``.
  package static func load(path: String) throws(CUDAError) -> Driver {
    // The library stays loaded as long as the process: its threads do not survive an unloading.
    guard let library = unsafe dlopen(path, RTLD_NOW | RTLD_LOCAL) else {
      // dlerror's text is valid until this thread's next call of the loader.
      let reason = unsafe dlerror().map { unsafe String(cString: $0) }
      throw .noDriver(reason ?? "\(path) cannot be loaded")
    }
    // The version first, so that an old driver is told by its age, not by what it lacks.
    if let address = unsafe dlsym(library, "cuDriverGetVersion") {
      // This is the declaration of cuDriverGetVersion in cuda.h.
      let getVersion = unsafe unsafeBitCast(
        address, to: (@convention(c) (UnsafeMutablePointer<Int32>) -> Int32).self)
      var version: Int32 = 0
      // One number is written, for the duration of the call.
      if unsafe getVersion(&version) == ResultNumber.success, version < CUDAError.oldestVersion {
        throw .tooOld(version: version)
      }
    }
    // The handle is valid for good, and names are C strings for the duration of the call.
    return try unsafe Driver(DriverFunctions { name in unsafe dlsym(library, name) })
  }

  /// A driver with the given functions; what tests use in place of a GPU.
  ///
  /// - Throws: As ``load()``.
  package init(_ functions: DriverFunctions) throws(CUDAError) {
    let library = DriverLibrary(functions)
    var number: Int32 = 0
    // One number is written, for the duration of the call.
    let result = unsafe functions.cuDriverGetVersion(&number)
    try library.check(result, "cuDriverGetVersion", "The driver's version cannot be read")
    guard number >= CUDAError.oldestVersion else { throw .tooOld(version: number) }
    try library.check(functions.cuInit(0), "cuInit", "The NVIDIA driver cannot be initialised")
    var count: Int32 = 0
    // One number is written, for the duration of the call.
    let counted = unsafe functions.cuDeviceGetCount(&count)
    try library.check(counted, "cuDeviceGetCount", "The GPUs cannot be counted")
    guard count > 0 else {
      throw CUDAError(
        .noDevice, "The NVIDIA driver shows no GPU",
        advice: CUDAError.meaning(of: ResultNumber.noDevice).advice)
    }
    version = CUDAVersion(number: number)
    deviceCount = Int(count)
    self.library = library
  }
}

/// The functions, on the heap: every resource refers to them.
final class DriverLibrary: Sendable {
  let functions: DriverFunctions

  init(_ functions: DriverFunctions) {
    self.functions = functions
  }

  /// Throws unless a call succeeded.
  ///
  /// - Parameters:
  ///   - result: What the driver returned.
  ///   - call: The driver's function.
  ///   - message: What was tried, as a sentence without its full stop; composed only on failure.
  ///   - log: What the compiler wrote.
  func check(
    _ result: Int32, _ call: String, _ message: @autoclosure () -> String,
    log: @autoclosure () -> String = ""
  ) throws(CUDAError) {
    guard result != ResultNumber.success else { return }
    let meaning = CUDAError.meaning(of: result)
    throw CUDAError(
      meaning.code, message(), advice: meaning.advice, number: result, name: name(of: result),
      call: call, log: log())
  }

  /// The driver's name of a result, or nil for numbers that it does not know.
  func name(of result: Int32) -> String? {
    var text: UnsafePointer<CChar>?
    // The driver stores the address of a constant text of its own.
    guard unsafe functions.cuGetErrorName(result, &text) == ResultNumber.success,
      let text = unsafe text
    else { return nil }
    // The text ends with a zero and stays as long as the library.
    return unsafe String(cString: text)
  }
}

// SPDX-License-Identifier: Apache-2.0

public import SystemPackage

/// Machine code of kernels on disk, so that a program's second run compiles nothing.
///
/// An entry is found by the hash of everything that it depends on: the PTX, the compiler's options, the
/// driver's version, the device's name and architecture. An entry that is cut off, changed or not what
/// its name says is removed and made anew. Any number of threads and processes may use a folder at the
/// same time. A folder that cannot be written costs time, never a result.
///
/// Kernels that contain `setmaxnreg` are not kept here: the driver gives machine code away only through
/// its linker, which compiles for separate compilation. That mode ignores the instruction (C7504),
/// whatever register count is asked for, and spills registers instead; no option of the driver turns it
/// off. Such kernels go through ``Module/init(ptx:in:options:)`` and the cache that the driver itself
/// keeps (``Origin/driver``).
public struct ModuleCache: Sendable {
  /// The folder; made when the first entry is written.
  public let directory: FilePath

  /// A cache in a folder of the caller's choice.
  public init(directory: FilePath) {
    self.directory = directory
  }

  /// Where a module came from.
  public enum Origin: Hashable, Sendable {
    /// Read from the folder.
    case cache
    /// Compiled, and kept in the folder.
    case compiled
    /// Left to the driver, because of `setmaxnreg`.
    ///
    /// The driver compiles the text, or finds it in its own cache: `CUDA_CACHE_PATH`, by default
    /// `~/.nv/ComputeCache`, unless `CUDA_CACHE_DISABLE=1`. It does not tell which.
    case driver
    /// Compiled, and not kept, for this reason.
    case notCached(String)
  }

  /// A loaded module and where it came from.
  public struct Entry: ~Copyable, Sendable {
    /// The module, to be taken out.
    public var module: Module
    /// Where it came from.
    public let origin: Origin

    /// Gives the module away.
    public consuming func take() -> Module { module }
  }

  /// Loads a kernel, compiled unless it is in the cache.
  ///
  /// - Parameters:
  ///   - ptx: The text.
  ///   - context: Where the code will run.
  ///   - options: What to ask the compiler for.
  /// - Throws: ``CUDAError`` as ``Module/init(ptx:in:options:)``; the folder is never a reason.
  public func module(
    ptx: String, in context: Context, options: JITOptions = JITOptions()
  ) throws(CUDAError) -> Entry {
    func compiled(_ origin: Origin) throws(CUDAError) -> Entry {
      try Entry(module: Module(ptx: ptx, in: context, options: options), origin: origin)
    }
    if ptx.contains("setmaxnreg") { return try compiled(.driver) }
    let key = Self.key(ptx: ptx, options: options, device: context.device)
    if let cubin = read(key) {
      do throws(CUDAError) {
        return try Entry(module: Module(cubin: cubin, in: context), origin: .cache)
      } catch {
        // A lost context is no fault of the entry's.
        guard error.code == .invalidCode || error.code == .foreignArchitecture else { throw error }
        remove(key)
      }
    }
    let cubin: Cubin
    let module: Module
    do throws(CUDAError) {
      cubin = try context.compile(ptx, options: options)
      module = try Module(cubin: cubin, in: context)
    } catch {
      // What the linker refuses may still be fine. Where it is not, the compiler says so here too.
      return try compiled(.notCached(error.description))
    }
    do throws(Errno) {
      try write(cubin, key)
      return Entry(module: module, origin: .compiled)
    } catch {
      return Entry(module: module, origin: .notCached("\(directory): \(error.description)"))
    }
  }

  /// Forgets a kernel; the next one to ask for it compiles it.
  ///
  /// - Parameters:
  ///   - ptx: The text.
  ///   - device: What it was compiled for.
  ///   - options: What the compiler was asked for.
  public func discard(ptx: String, for device: Device, options: JITOptions = JITOptions()) {
    remove(Self.key(ptx: ptx, options: options, device: device))
  }

  /// The hash of all that machine code depends on.
  static func key(ptx: String, options: JITOptions, device: Device) -> [UInt8] {
    var hash = SHA256()
    hash.update("blockscale cubin 1".utf8)
    hash.update(UInt64(device.driver.version.number))
    hash.update(UInt64(device.computeCapability.targetNumber))
    hash.update(UInt64(options.maximumRegisters.map { $0 + 1 } ?? 0))
    hash.update(UInt64(options.lineInformation ? 1 : 0))
    // Lengths before texts, so that no two lists of texts read the same.
    for text in [device.name, ptx] {
      hash.update(UInt64(text.utf8.count))
      hash.update(text.utf8)
    }
    return hash.finished()
  }
}

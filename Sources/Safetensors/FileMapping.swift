// SPDX-License-Identifier: Apache-2.0

import SystemPackage

#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A regular file, mapped into memory read-only until this object goes.
// Sendable in spite of its pointer: the memory is never written, and both properties are constant
// from the initialiser to the deinitialiser.
@safe final class FileMapping: @unchecked Sendable {
  /// The mapped bytes; empty for an empty file, which cannot be mapped.
  let bytes: UnsafeRawBufferPointer

  /// Maps a file.
  ///
  /// Non-blocking, so that a named pipe is reported rather than waited for.
  init(path: FilePath) throws(SafetensorsError) {
    let name = path.string
    let descriptor: FileDescriptor
    do {
      descriptor = try FileDescriptor.open(
        path, .readOnly, options: [.closeOnExec, .nonBlocking])
    } catch {
      throw .system(systemErrno(from: error), path: name, "the file cannot be opened")
    }
    // The mapping outlives the descriptor. Closing one that was only read loses nothing.
    defer { try? descriptor.close() }
    let status: Stat
    do {
      status = try descriptor.stat()
    } catch {
      throw .system(error, path: name, "the file's size cannot be read")
    }
    guard status.type == .regular else {
      throw SafetensorsError(.notARegularFile, path: name, "this is no regular file")
    }
    guard status.size > 0 else {
      unsafe bytes = UnsafeRawBufferPointer(start: nil, count: 0)
      return
    }
    // No fixed address is asked for, so no other mapping is touched.
    let address = unsafe mmap(
      nil, Int(status.size), PROT_READ, MAP_PRIVATE, descriptor.rawValue, 0)
    // MAP_FAILED is imported as an optional pointer or a plain one, by platform; both compare.
    guard let address = unsafe address, unsafe address != MAP_FAILED else {
      throw .system(
        Errno(rawValue: errno), path: name, "the file cannot be mapped into memory")
    }
    // The kernel mapped this many bytes from the address on.
    unsafe bytes = UnsafeRawBufferPointer(start: address, count: Int(status.size))
  }

  deinit {
    // No pointer outlives this object: its users hold it while they hold one.
    if let address = unsafe bytes.baseAddress {
      unsafe munmap(UnsafeMutableRawPointer(mutating: address), bytes.count)
    }
  }

  /// What to tell the kernel about a range of the file.
  enum Advice {
    /// The pages are not needed any more.
    case discard
    /// The pages will be needed soon.
    case prefetch
  }

  /// Passes advice about a range of the file to the kernel.
  ///
  /// The kernel advises whole pages: those to discard are those that lie inside of the range,
  /// those to fetch are those that touch it. Advice that the kernel does not take changes nothing
  /// but speed, so failures are ignored.
  func advise(_ advice: Advice, _ range: Range<Int>) {
    let page = Self.pageByteCount
    let lower: Int
    let upper: Int
    switch advice {
    case .discard:
      lower = (range.lowerBound + page - 1) / page * page
      // The file's last page is wholly ours, although the file may end inside of it.
      let end = unsafe bytes.count
      upper = range.upperBound == end ? end : range.upperBound / page * page
    case .prefetch:
      lower = range.lowerBound / page * page
      upper = range.upperBound
    }
    guard lower < upper, let base = unsafe bytes.baseAddress else { return }
    // The range lies inside of the mapping, which is private and never written: the kernel can
    // always read a discarded page from the file again.
    let address = unsafe UnsafeMutableRawPointer(mutating: base + lower)
    let value = advice == .discard ? MADV_DONTNEED : MADV_WILLNEED
    unsafe _ = madvise(address, upper - lower, Int32(value))
  }

  private static let pageByteCount = max(1, Int(sysconf(Int32(_SC_PAGESIZE))))
}

/// The `Errno` that a call of swift-system threw: it throws no other type, but says so only in
/// part of its interface.
func systemErrno(from error: any Error) -> Errno {
  error as? Errno ?? .ioError
}

// SPDX-License-Identifier: Apache-2.0

import OrderedCollections
import Synchronization
public import SystemPackage

#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Writes a safetensors file piece by piece, in any order and from several threads.
///
/// The file has its full size and its header from the beginning. Every piece goes to its final
/// place, so that memory holds no more than the pieces under way. The caller writes under a
/// temporary name and renames the file once ``finish()`` returns.
///
/// A writer that goes without ``finish()`` closes the file and leaves it, to be resumed.
public final class SafetensorsWriter: Sendable {
  /// Where the file is, as its creator named it.
  public let path: FilePath

  /// The header, as written.
  public let header: SafetensorsHeader

  let descriptor: FileDescriptor

  // The header's length as written, which for a header parsed from another file need not be that
  // file's.
  let dataOffset: Int

  struct State {
    var isFinished = false
    var writesUnderWay = 0
    // What is written of each tensor, counted from its beginning; ranges merge as they meet.
    var written: [RangeSet<Int>]
  }

  let state: Mutex<State>

  /// Creates a file with a header and room for its data, or opens one that an earlier writer left.
  ///
  /// - Parameters:
  ///   - path: the file. A symbolic link is not followed.
  ///   - header: what the file will hold.
  ///   - resuming: if true, the file must exist, with the size and the header that a new one would
  ///     get; its data stays. If false, an existing file is overwritten.
  /// - Throws: ``SafetensorsError`` if the file cannot be created, or with the code
  ///   ``SafetensorsError/Code/cannotResume`` if it is not the file that this writer would create.
  public init(
    path: FilePath, header: SafetensorsHeader, resuming: Bool = false
  ) throws(SafetensorsError) {
    let prefix = header.encoded()
    let options: FileDescriptor.OpenOptions =
      resuming ? [.closeOnExec, .noFollow] : [.closeOnExec, .noFollow, .create, .truncate]
    let descriptor: FileDescriptor
    do {
      descriptor = try FileDescriptor.open(
        path, .readWrite, options: options,
        permissions: [.ownerReadWrite, .groupRead, .otherRead])
    } catch {
      throw .system(
        systemErrno(from: error), path: path.string,
        resuming ? "the file cannot be opened to resume it" : "the file cannot be created")
    }
    self.path = path
    self.header = header
    self.descriptor = descriptor
    self.dataOffset = prefix.count
    self.state = Mutex(
      State(written: Array(repeating: RangeSet(), count: header.tensors.count)))
    // From here on the deinitialiser closes the file, also where this throws.
    if resuming {
      try checkResumable(prefix)
    } else {
      try reserve(prefix)
    }
  }

  deinit {
    // Without finish() the file is left to be resumed, whose reader checks what it needs.
    if !state.withLock({ $0.isFinished }) { try? descriptor.close() }
  }

  // MARK: - Writing

  /// Writes part of a tensor's data.
  ///
  /// May be called from several threads at once, for ranges that do not overlap.
  ///
  /// - Parameters:
  ///   - bytes: the data.
  ///   - tensor: a tensor of this writer's ``header``.
  ///   - offset: where the data goes, in bytes from the tensor's beginning.
  /// - Throws: ``SafetensorsError`` with the code ``SafetensorsError/Code/systemCallFailed`` if the
  ///   disk is full or fails, ``SafetensorsError/Code/tensorNotFound`` if the header has no such
  ///   tensor, or ``SafetensorsError/Code/writeOutOfRange`` if the data does not fit into it.
  public func write(
    _ bytes: RawSpan, of tensor: TensorInfo, at offset: Int = 0
  ) throws(SafetensorsError) {
    // The pointer stays inside of the closure, which the span outlives.
    try unsafe bytes.withUnsafeBytes { (buffer) throws(SafetensorsError) in
      try unsafe write(buffer, of: tensor, at: offset)
    }
  }

  /// Writes part of a tensor's data from a pointer; see ``write(_:of:at:)-(RawSpan,_,_)``.
  package func write(
    _ bytes: UnsafeRawBufferPointer, of tensor: TensorInfo, at offset: Int = 0
  ) throws(SafetensorsError) {
    let range = try checkedRange(of: tensor, at: offset, count: bytes.count)
    let index = try index(of: tensor)
    state.withLock {
      precondition(!$0.isFinished, "A finished file cannot be written")
      $0.writesUnderWay += 1
    }
    defer { state.withLock { $0.writesUnderWay -= 1 } }
    // The caller keeps the pointer valid for the length of this call.
    try unsafe writeAll(
      bytes, at: dataOffset + tensor.byteRange.lowerBound + offset, tensor: tensor.name,
      tensorOffset: tensor.byteRange.lowerBound + offset)
    state.withLock { $0.written[index].insert(contentsOf: range) }
  }

  /// Counts part of a tensor as written, as a resumed file holds it from an earlier writer.
  ///
  /// - Parameter range: counted in bytes from the tensor's beginning; the whole tensor if nil.
  /// - Throws: ``SafetensorsError``; see ``write(_:of:at:)-(RawSpan,_,_)``.
  public func markWritten(
    _ range: Range<Int>? = nil, of tensor: TensorInfo
  ) throws(SafetensorsError) {
    let part = range ?? 0..<tensor.byteCount
    let range = try checkedRange(of: tensor, at: part.lowerBound, count: part.count)
    let index = try index(of: tensor)
    state.withLock { $0.written[index].insert(contentsOf: range) }
  }

  /// Waits until what has been written is on the disk.
  ///
  /// - Throws: ``SafetensorsError`` with the code ``SafetensorsError/Code/systemCallFailed``.
  public func synchronize() throws(SafetensorsError) {
    state.withLock { precondition(!$0.isFinished, "A finished file cannot be synchronized") }
    #if canImport(Darwin)
      let result = fsync(descriptor.rawValue)
    #else
      let result = fdatasync(descriptor.rawValue)
    #endif
    guard result == 0 else {
      throw .system(
        Errno(rawValue: errno), path: path.string, "the file cannot be flushed to the disk")
    }
  }

  /// Checks that every tensor is written, waits until the file is on the disk, and closes it.
  ///
  /// Nothing may be written at the same time or afterwards.
  ///
  /// - Throws: ``SafetensorsError`` with the code ``SafetensorsError/Code/incompleteTensor``, which
  ///   leaves the file open, or ``SafetensorsError/Code/systemCallFailed``.
  public func finish() throws(SafetensorsError) {
    state.withLock {
      precondition(!$0.isFinished, "A file can be finished once only")
      precondition($0.writesUnderWay == 0, "A file cannot be finished while it is written")
    }
    try checkComplete()
    guard fsync(descriptor.rawValue) == 0 else {
      throw .system(
        Errno(rawValue: errno), path: path.string, "the file cannot be flushed to the disk")
    }
    // Closing releases the descriptor even where it fails.
    state.withLock { $0.isFinished = true }
    do {
      try descriptor.close()
    } catch {
      throw .system(systemErrno(from: error), path: path.string, "the file cannot be closed")
    }
  }
}

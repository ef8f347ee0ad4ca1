// SPDX-License-Identifier: Apache-2.0

import OrderedCollections
public import SystemPackage

/// A safetensors file, mapped into memory for reading.
///
/// Opening reads the header only; the data is paged in where it is looked at. All methods may be
/// called from several threads at once.
///
/// The file must keep its size while it is open: the operating system ends a process that looks at
/// a mapped page which another process has cut off.
public final class SafetensorsFile: Sendable {
  /// Where the file is, as its opener named it.
  public let path: FilePath

  /// The file's header.
  public let header: SafetensorsHeader

  private let mapping: FileMapping

  /// Opens a file and checks its header.
  ///
  /// - Throws: ``SafetensorsError`` if the file cannot be opened or mapped, is no regular file, or
  ///   has a header that ``SafetensorsHeader/init(parsing:fileByteCount:path:)-(Span<UInt8>,_,_)``
  ///   rejects.
  public init(path: FilePath) throws(SafetensorsError) {
    let mapping = try FileMapping(path: path)
    // The mapping lives to the end of this initialiser at least, and bytes have no alignment.
    let bytes = unsafe mapping.bytes.assumingMemoryBound(to: UInt8.self)
    self.header = try unsafe SafetensorsHeader(
      parsing: bytes.span, fileByteCount: bytes.count, path: path.string)
    self.path = path
    self.mapping = mapping
  }

  /// The tensor of a name.
  ///
  /// - Throws: ``SafetensorsError`` with the code ``SafetensorsError/Code/tensorNotFound``.
  public func tensor(named name: String) throws(SafetensorsError) -> TensorInfo {
    guard let info = header.tensors[name] else {
      throw SafetensorsError(
        .tensorNotFound, path: path.string, tensor: name,
        "there is no tensor \(quoted(name))")
    }
    return info
  }
}

// MARK: - Reading

extension SafetensorsFile {
  /// Calls a closure with a tensor's bytes.
  ///
  /// - Parameters:
  ///   - tensor: a tensor of this file's ``header``; another one is a programmer's error and traps
  ///     where its range lies outside of the data.
  ///   - body: receives the bytes in place, without a copy. They have no particular alignment.
  public func withBytes<Result: ~Copyable, Failure: Error>(
    of tensor: TensorInfo, _ body: (RawSpan) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    // This object, and so the mapping, lives until the call ends.
    defer { extendLifetime(self) }
    return try unsafe body(bytes(of: tensor).bytes)
  }

  /// A tensor's bytes in place, for loops that want pointers.
  ///
  /// The pointer is valid while this object lives: keep it alive with `extendLifetime(_:)`.
  ///
  /// - Parameter range: counted in bytes from the tensor's beginning; the whole tensor if nil. A range
  ///   outside of the tensor traps, in release builds too.
  package func bytes(
    of tensor: TensorInfo, in range: Range<Int>? = nil
  ) -> UnsafeRawBufferPointer {
    // `fileRange` checks the bounds.
    unsafe UnsafeRawBufferPointer(rebasing: mapping.bytes[fileRange(of: tensor, part: range)])
  }

  /// Tells the operating system that part of a tensor is not needed any more, so that the
  /// process's resident memory does not grow with the file.
  ///
  /// Whole pages inside of the range are given back; looking at them again reads them from the
  /// file. To give back every page, discard ranges that end where the next ones begin at
  /// multiples of the page size, or whole tensors.
  ///
  /// - Parameter range: counted in bytes from the tensor's beginning; the whole tensor if nil.
  public func discard(_ range: Range<Int>? = nil, of tensor: TensorInfo) {
    mapping.advise(.discard, fileRange(of: tensor, part: range))
  }

  /// Asks the operating system to read part of a tensor ahead of its use.
  ///
  /// - Parameter range: counted in bytes from the tensor's beginning; the whole tensor if nil.
  public func prefetch(_ range: Range<Int>? = nil, of tensor: TensorInfo) {
    mapping.advise(.prefetch, fileRange(of: tensor, part: range))
  }

  private func fileRange(of tensor: TensorInfo, part: Range<Int>?) -> Range<Int> {
    let part = part ?? 0..<tensor.byteCount
    precondition(
      tensor.byteRange.upperBound <= header.dataByteCount,
      "The tensor's bytes lie outside of the file")
    precondition(
      part.lowerBound >= 0 && part.upperBound <= tensor.byteCount,
      "The range lies outside of the tensor")
    let base = header.dataOffset + tensor.byteRange.lowerBound
    return base + part.lowerBound..<base + part.upperBound
  }
}

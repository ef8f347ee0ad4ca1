// SPDX-License-Identifier: Apache-2.0

import OrderedCollections
import Synchronization
import SystemPackage

extension SafetensorsWriter {
  func checkComplete() throws(SafetensorsError) {
    let written = state.withLock { $0.written }
    for (info, ranges) in zip(header.tensors.values, written) {
      let count = ranges.ranges.reduce(0) { $0 + $1.count }
      guard count == info.byteCount else {
        throw SafetensorsError(
          .incompleteTensor, path: path.string, tensor: info.name,
          offset: info.byteRange.lowerBound,
          "tensor \(quoted(info.name)) is incomplete: \(count) of its "
            + "\(counted(info.byteCount, "byte")) are written")
      }
    }
  }

  func checkedRange(
    of tensor: TensorInfo, at offset: Int, count: Int
  ) throws(SafetensorsError) -> Range<Int> {
    guard offset >= 0, offset <= tensor.byteCount, count <= tensor.byteCount - offset else {
      throw SafetensorsError(
        .writeOutOfRange, path: path.string, tensor: tensor.name,
        "\(counted(count, "byte")) at byte \(offset) of tensor \(quoted(tensor.name)) do not fit "
          + "into its \(counted(tensor.byteCount, "byte"))")
    }
    return offset..<offset + count
  }

  func index(of tensor: TensorInfo) throws(SafetensorsError) -> Int {
    guard let index = header.tensors.index(forKey: tensor.name),
      header.tensors.values[index] == tensor
    else {
      throw SafetensorsError(
        .tensorNotFound, path: path.string, tensor: tensor.name,
        "the header has no tensor \(quoted(tensor.name)) like the one to write")
    }
    return index
  }

}

extension SafetensorsWriter {
  /// Gives a new file its size, then its header: a file with a header has its size, too.
  func reserve(_ prefix: [UInt8]) throws(SafetensorsError) {
    do {
      try descriptor.resize(to: Int64(prefix.count + header.dataByteCount))
    } catch {
      throw .system(
        systemErrno(from: error), path: path.string,
        "the file cannot get its size of \(prefix.count + header.dataByteCount) bytes")
    }
    // The pointer stays inside of the closure, which the array outlives.
    try unsafe prefix.span.bytes.withUnsafeBytes { (buffer) throws(SafetensorsError) in
      try unsafe writeAll(buffer, at: 0, tensor: nil, tensorOffset: 0)
    }
  }

  func checkResumable(_ prefix: [UInt8]) throws(SafetensorsError) {
    let status: Stat
    do {
      status = try descriptor.stat()
    } catch {
      throw .system(error, path: path.string, "the file's size cannot be read")
    }
    let byteCount = prefix.count + header.dataByteCount
    guard status.type == .regular, status.size == Int64(byteCount) else {
      throw SafetensorsError(
        .cannotResume, path: path.string,
        "the file cannot be resumed, since it has \(status.size) bytes, not \(byteCount)")
    }
    var existing: [UInt8] = Array(repeating: 0, count: prefix.count)
    var count = 0
    while count < existing.count {
      let done = count
      do {
        // The slice is as long as the bytes that are still missing.
        count += try unsafe existing.withUnsafeMutableBytes { buffer in
          try unsafe descriptor.read(
            fromAbsoluteOffset: Int64(done),
            into: UnsafeMutableRawBufferPointer(rebasing: buffer[done...]))
        }
      } catch {
        throw .system(
          systemErrno(from: error), path: path.string, "the file's header cannot be read")
      }
      if count == done { break }
    }
    guard count == prefix.count, existing == prefix else {
      throw SafetensorsError(
        .cannotResume, path: path.string, offset: 0,
        "the file cannot be resumed, since its header differs from the one to write")
    }
  }

  /// Writes all bytes at an offset in the file, however many calls that takes.
  func writeAll(
    _ bytes: UnsafeRawBufferPointer, at fileOffset: Int, tensor: String?, tensorOffset: Int
  ) throws(SafetensorsError) {
    var done = 0
    while done < bytes.count {
      do {
        // The slice is what is still to write; an interrupted call is repeated.
        let count = try unsafe descriptor.write(
          toAbsoluteOffset: Int64(fileOffset + done),
          UnsafeRawBufferPointer(rebasing: bytes[done...]))
        // A disk that takes nothing and reports nothing would otherwise keep this loop forever.
        guard count > 0 else { throw Errno.ioError }
        done += count
      } catch {
        throw .system(
          systemErrno(from: error), path: path.string, tensor: tensor,
          offset: tensorOffset + done,
          (tensor.map { "tensor \(quoted($0)) cannot be written at data offset" }
            ?? "the header cannot be written at byte") + " \(tensorOffset + done)")
      }
    }
  }
}

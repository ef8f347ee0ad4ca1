// SPDX-License-Identifier: Apache-2.0

import Safetensors
package import SystemPackage

#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What a path leads to.
package enum FileKind: Sendable {
  case folder
  case file
  case missing

  /// Follows symbolic links.
  package init(of path: FilePath) throws(CheckpointError) {
    do throws(Errno) {
      self = try Stat(path).type == .directory ? .folder : .file
    } catch {
      guard error == .noSuchFileOrDirectory || error == .notDirectory else {
        throw CheckpointError(.systemCall, "\(path): cannot be looked at: \(error.description).")
      }
      self = .missing
    }
  }
}

extension FileKind {
  /// The size of a file in bytes and when it was last modified, which together tell whether it is
  /// still the file that it was.
  static func identity(
    of path: FilePath
  ) throws(CheckpointError) -> (bytes: Int, modified: String) {
    do throws(Errno) {
      let status = try Stat(path)
      let time = status.st_mtim
      return (Int(status.size), "\(time.tv_sec).\(time.tv_nsec)")
    } catch {
      throw CheckpointError(.systemCall, "\(path): cannot be looked at: \(error.description).")
    }
  }
}

/// Runs a system call that returns −1 on failure.
///
/// The calls below take paths as C strings, which Swift bridges for the length of the call.
func check(_ path: FilePath, _ action: String, _ call: () -> Int32) throws(CheckpointError) {
  if call() != 0 {
    let error = Errno(rawValue: errno)
    throw CheckpointError(.systemCall, "\(path): \(action): \(error.description).")
  }
}

/// The contents of a small file, or nil if there is none.
package func readFile(at path: FilePath) throws(CheckpointError) -> [UInt8]? {
  guard try FileKind(of: path) == .file else { return nil }
  do {
    let descriptor = try FileDescriptor.open(path, .readOnly, options: .closeOnExec)
    return try descriptor.closeAfter {
      var bytes: [UInt8] = []
      var buffer = [UInt8](repeating: 0, count: 1 << 16)
      while true {
        // The buffer outlives the call.
        let count = try unsafe buffer.withUnsafeMutableBytes {
          try unsafe descriptor.read(into: $0)
        }
        if count == 0 { return bytes }
        bytes += buffer[..<count]
      }
    }
  } catch {
    let reason = (error as? Errno)?.description ?? "\(error)"
    throw CheckpointError(.systemCall, "\(path): cannot be read: \(reason).")
  }
}

/// A JSON file as a value, or nil if there is none.
func readJSON(at path: FilePath) throws(CheckpointError) -> JSONValue? {
  guard let bytes = try readFile(at: path) else { return nil }
  do throws(JSONError) {
    return try JSONValue.parse(bytes)
  } catch {
    throw CheckpointError(
      .malformedConfiguration,
      "\(path): no valid JSON at byte \(error.offset): \(error.message).")
  }
}

/// Writes a file anew and waits until it is on the disk.
func writeFile(_ bytes: [UInt8], to path: FilePath) throws(CheckpointError) {
  do {
    let descriptor = try FileDescriptor.open(
      path, .writeOnly, options: [.create, .truncate, .closeOnExec],
      permissions: [.ownerReadWrite, .groupRead, .otherRead])
    try descriptor.closeAfter {
      _ = try descriptor.writeAll(bytes)
      if fsync(descriptor.rawValue) != 0 { throw Errno(rawValue: errno) }
    }
  } catch {
    let reason = (error as? Errno)?.description ?? "\(error)"
    throw CheckpointError(.systemCall, "\(path): cannot be written: \(reason).")
  }
}

/// Writes a file under a temporary name and gives it its own when it is complete.
package func writeFileAtomically(_ bytes: [UInt8], to path: FilePath) throws(CheckpointError) {
  let temporary = FilePath("\(path).partial")
  do throws(CheckpointError) {
    try writeFile(bytes, to: temporary)
    try renameItem(temporary, to: path)
  } catch {
    try? removeItem(temporary)
    throw error
  }
}

/// Copies a file's contents, a piece at a time.
func copyFile(_ source: FilePath, to target: FilePath) throws(CheckpointError) {
  do {
    let input = try FileDescriptor.open(source, .readOnly, options: .closeOnExec)
    try input.closeAfter {
      let output = try FileDescriptor.open(
        target, .writeOnly, options: [.create, .truncate, .closeOnExec],
        permissions: [.ownerReadWrite, .groupRead, .otherRead])
      try output.closeAfter {
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        while true {
          // The buffer outlives the call.
          let count = try unsafe buffer.withUnsafeMutableBytes { try unsafe input.read(into: $0) }
          if count == 0 { break }
          _ = try output.writeAll(buffer[..<count])
        }
        if fsync(output.rawValue) != 0 { throw Errno(rawValue: errno) }
      }
    }
  } catch {
    let reason = (error as? Errno)?.description ?? "\(error)"
    throw CheckpointError(.systemCall, "\(source): cannot be copied to \(target): \(reason).")
  }
}

package func makeFolder(_ path: FilePath) throws(CheckpointError) {
  try check(path, "cannot be created") { unsafe mkdir(path.string, 0o777) }
}

package func renameItem(_ old: FilePath, to new: FilePath) throws(CheckpointError) {
  try check(old, "cannot be renamed to \(new)") { unsafe rename(old.string, new.string) }
}

/// Makes a rename in a folder survive a power cut.
package func synchronizeFolder(_ path: FilePath) throws(CheckpointError) {
  let folder = path.isEmpty ? FilePath(".") : path
  let descriptor = unsafe open(folder.string, O_RDONLY)
  guard descriptor >= 0 else { return }
  defer { _ = close(descriptor) }
  // Some file systems cannot flush a folder; the rename itself has been done.
  _ = fsync(descriptor)
}

/// Removes a file, or a folder with everything in it.
///
/// A symbolic link is removed itself.
package func removeItem(_ path: FilePath) throws(CheckpointError) {
  let isFolder =
    ((try? Stat(path, followTargetSymlink: false))?.type ?? .regular) == .directory
  guard isFolder else {
    return try check(path, "cannot be removed") { unsafe unlink(path.string) }
  }
  let names: [String]
  do throws(SafetensorsError) {
    names = try fileNames(in: path)
  } catch {
    throw CheckpointError(.systemCall, error.description)
  }
  for name in names { try removeItem(path.appending(name)) }
  try check(path, "cannot be removed") { unsafe rmdir(path.string) }
}

/// The absolute path without symbolic links, or nil if there is nothing at the path.
func realPath(_ path: FilePath) -> FilePath? {
  // realpath allocates the string, which is freed after the copy.
  guard let resolved = unsafe realpath(path.string, nil) else { return nil }
  defer { unsafe free(resolved) }
  return unsafe FilePath(platformString: resolved)
}

// SPDX-License-Identifier: Apache-2.0

import SystemPackage

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// A folder that goes with its content when this object goes.
final class TemporaryFolder {
  let path: FilePath

  init() throws {
    var template = Array("/tmp/cuda-driver-tests-XXXXXX".utf8CString)
    // The array holds a C string, which mkdtemp changes in place.
    guard unsafe mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
    path = FilePath(String(decoding: template.dropLast().map(UInt8.init), as: UTF8.self))
  }

  deinit {
    Self.removeAll(path)
  }

  private static func removeAll(_ folder: FilePath) {
    for name in (try? names(in: folder)) ?? [] {
      let path = folder.appending(name)
      if !remove(path) { removeAll(path) }
    }
    // The path is a C string for the duration of the call.
    unsafe _ = folder.withPlatformString { unsafe rmdir($0) }
  }
}

/// Removes a file.
@discardableResult
func remove(_ path: FilePath) -> Bool {
  // The path is a C string for the duration of the call.
  unsafe path.withPlatformString { unsafe unlink($0) } == 0
}

/// The names of a folder's files, without "." and "..".
func names(in folder: FilePath) throws -> [String] {
  // The path is a C string for the duration of the call.
  guard let stream = unsafe folder.withPlatformString({ unsafe opendir($0) }) else {
    throw Errno(rawValue: errno)
  }
  defer { unsafe _ = closedir(stream) }
  var names: [String] = []
  while let entry = unsafe readdir(stream) {
    // The name ends with a zero within the entry, which is valid until the next one is read.
    let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { buffer in
      unsafe String(decoding: buffer.prefix { $0 != 0 }, as: UTF8.self)
    }
    if name != ".", name != ".." { names.append(name) }
  }
  return names.sorted()
}

/// Writes a file anew.
func write(_ bytes: [UInt8], to path: FilePath) throws {
  let descriptor = try FileDescriptor.open(
    path, .writeOnly, options: [.create, .truncate], permissions: [.ownerReadWrite])
  try descriptor.closeAfter { _ = try descriptor.writeAll(bytes) }
}

/// A file's bytes.
func contents(of path: FilePath) throws -> [UInt8] {
  let descriptor = try FileDescriptor.open(path, .readOnly)
  return try descriptor.closeAfter {
    let size = Int(try descriptor.seek(offset: 0, from: .end))
    // The buffer is filled as far as the count says.
    return try unsafe [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      count = try unsafe descriptor.read(
        fromAbsoluteOffset: 0, into: UnsafeMutableRawBufferPointer(buffer))
    }
  }
}

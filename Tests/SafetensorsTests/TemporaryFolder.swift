// SPDX-License-Identifier: Apache-2.0

import Safetensors
import SystemPackage

#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A folder that goes with its content when this object goes.
final class TemporaryFolder {
  let path: FilePath

  init() throws {
    var template = Array("/tmp/safetensors-tests-XXXXXX".utf8CString)
    // The array holds a C string, which mkdtemp changes in place.
    guard unsafe mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
    path = FilePath(String(decoding: template.dropLast().map(UInt8.init), as: UTF8.self))
  }

  deinit {
    Self.remove(path)
  }

  private static func remove(_ folder: FilePath) {
    for name in (try? fileNames(in: folder)) ?? [] {
      let path = folder.appending(name)
      // The path's C string lives for the call.
      if unsafe path.withPlatformString({ unsafe unlink($0) }) != 0 { remove(path) }
    }
    unsafe _ = folder.withPlatformString { unsafe rmdir($0) }
  }

  func file(_ name: String) -> FilePath {
    path.appending(name)
  }

  func makeFolder(_ name: String) throws {
    // The path's C string lives for the call.
    guard unsafe file(name).withPlatformString({ unsafe mkdir($0, 0o755) }) == 0 else {
      throw Errno(rawValue: errno)
    }
  }

  @discardableResult
  func write(_ bytes: some Sequence<UInt8>, to name: String) throws -> FilePath {
    let path = file(name)
    let descriptor = try FileDescriptor.open(
      path, .writeOnly, options: [.create, .truncate], permissions: [.ownerReadWrite])
    try descriptor.closeAfter { _ = try descriptor.writeAll(bytes) }
    return path
  }

  func read(_ name: String) throws -> [UInt8] {
    try contents(of: file(name))
  }
}

/// A file's bytes.
func contents(of path: FilePath) throws -> [UInt8] {
  let descriptor = try FileDescriptor.open(path, .readOnly)
  return try descriptor.closeAfter {
    let size = Int(try descriptor.stat().size)
    return try unsafe [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      count = try unsafe descriptor.read(
        fromAbsoluteOffset: 0, into: UnsafeMutableRawBufferPointer(buffer))
    }
  }
}

/// The folder Tests/Vectors of this package.
let vectors = FilePath(#filePath).removingLastComponent().removingLastComponent()
  .appending("Vectors")

/// A tensor's bytes, copied.
func bytes(of name: String, in file: SafetensorsFile) throws -> [UInt8] {
  file.withBytes(of: try file.tensor(named: name)) { span in
    // The pointer stays inside of the closure.
    unsafe span.withUnsafeBytes { unsafe Array($0) }
  }
}

/// A safetensors file's bytes: the header's length, the header as given, and data.
func fileBytes(_ header: String, dataByteCount: Int = 0) -> [UInt8] {
  fileBytes(Array(header.utf8), dataByteCount: dataByteCount)
}

/// A safetensors file's bytes from a header that need not be text.
func fileBytes(_ header: [UInt8], dataByteCount: Int = 0) -> [UInt8] {
  let length = UInt64(header.count)
  let prefix = (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) }
  return prefix + header + Array(repeating: 0xAB, count: dataByteCount)
}

// SPDX-License-Identifier: Apache-2.0

import SystemPackage

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

// A file: eight bytes of magic, the key (32), the lengths of image and log (8 each, little-endian), the
// hash of image and log (32), image, log.
extension ModuleCache {
  static let magic = Array("BSCUBIN1".utf8)
  static let headerByteCount = 8 + 32 + 8 + 8 + 32

  /// The file of a key.
  func path(of key: [UInt8]) -> FilePath {
    let digits = key.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
    return directory.appending(digits.joined() + ".cubin")
  }

  /// What is kept under a key, or nil where there is nothing or nothing whole.
  func read(_ key: [UInt8]) -> Cubin? {
    let path = path(of: key)
    guard let bytes = try? readFile(path) else { return nil }
    if let cubin = Self.decode(bytes, key: key) { return cubin }
    remove(key)
    return nil
  }

  /// Keeps machine code under a key.
  ///
  /// Written under a name of its own and then renamed, so that a reader sees all of it or nothing. It is
  /// not forced to the disk: after a power cut the hash shows what is missing.
  func write(_ cubin: Cubin, _ key: [UInt8]) throws(Errno) {
    try makeFolders(directory)
    let path = path(of: key)
    let temporary = FilePath("\(path).\(getpid()).\(UInt64.random(in: 0 ... .max)).partial")
    do {
      let descriptor = try FileDescriptor.open(
        temporary, .writeOnly, options: [.create, .exclusiveCreate, .closeOnExec],
        permissions: [.ownerReadWrite])
      try descriptor.closeAfter { _ = try descriptor.writeAll(Self.encode(cubin, key: key)) }
      try rename(temporary, to: path)
    } catch {
      unlink(temporary)
      throw error as? Errno ?? .ioError
    }
  }

  func remove(_ key: [UInt8]) {
    unlink(path(of: key))
  }

  static func encode(_ cubin: Cubin, key: [UInt8]) -> [UInt8] {
    let log = Array(cubin.log.utf8)
    var bytes = magic + key
    for count in [cubin.bytes.count, log.count] {
      bytes += (0..<8).map { UInt8(truncatingIfNeeded: count >> (8 * $0)) }
    }
    bytes += SHA256.hash(cubin.bytes + log)
    return bytes + cubin.bytes + log
  }

  /// The content of a file, or nil where anything about it is not as it was written.
  static func decode(_ bytes: [UInt8], key: [UInt8]) -> Cubin? {
    guard bytes.count >= headerByteCount, bytes.starts(with: magic + key) else { return nil }
    func number(at offset: Int) -> UInt64 {
      (0..<8).reduce(0) { $0 | UInt64(bytes[offset + $1]) << (8 * UInt64($1)) }
    }
    let body = bytes[headerByteCount...]
    let imageCount = number(at: 40)
    let logCount = number(at: 48)
    let (sum, overflow) = imageCount.addingReportingOverflow(logCount)
    guard !overflow, sum == UInt64(body.count) else { return nil }
    guard SHA256.hash(body) == Array(bytes[56..<headerByteCount]) else { return nil }
    let log = body.dropFirst(Int(imageCount))
    return Cubin(
      bytes: Array(body.prefix(Int(imageCount))), log: String(decoding: log, as: UTF8.self))
  }
}

private func readFile(_ path: FilePath) throws -> [UInt8] {
  let descriptor = try FileDescriptor.open(path, .readOnly, options: .closeOnExec)
  return try descriptor.closeAfter {
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      // The array is written within its bounds, for the duration of the call.
      let count = try unsafe piece.withUnsafeMutableBytes { try unsafe descriptor.read(into: $0) }
      guard count > 0 else { return bytes }
      bytes += piece.prefix(count)
    }
  }
}

/// Makes a folder and those above it that are missing, for the user alone.
private func makeFolders(_ path: FilePath) throws(Errno) {
  // The path is a C string for the duration of the call.
  guard unsafe path.withPlatformString({ unsafe mkdir($0, 0o700) }) != 0 else { return }
  switch errno {
  case EEXIST: return
  case ENOENT where path.removingLastComponent() != path && !path.removingLastComponent().isEmpty:
    try makeFolders(path.removingLastComponent())
    // The path is a C string for the duration of the call.
    guard unsafe path.withPlatformString({ unsafe mkdir($0, 0o700) }) != 0 else { return }
    // Another process may have been faster.
    if errno != EEXIST { throw Errno(rawValue: errno) }
  default: throw Errno(rawValue: errno)
  }
}

private func rename(_ path: FilePath, to target: FilePath) throws(Errno) {
  // Both paths are C strings for the duration of the call.
  let result = unsafe path.withPlatformString { from in
    unsafe target.withPlatformString { unsafe rename(from, $0) }
  }
  if result != 0 { throw Errno(rawValue: errno) }
}

private func unlink(_ path: FilePath) {
  // The path is a C string for the duration of the call. A file that is gone already is no failure.
  unsafe _ = path.withPlatformString { unsafe unlink($0) }
}

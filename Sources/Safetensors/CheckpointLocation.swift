// SPDX-License-Identifier: Apache-2.0

package import SystemPackage

#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Where a path leads: to a single safetensors file, or to an index of several.
enum CheckpointLocation: Hashable {
  case file(FilePath, folder: FilePath, name: String)
  case index(FilePath, folder: FilePath, name: String)

  init(path: FilePath) throws(SafetensorsError) {
    let status: Stat
    do {
      status = try path.stat()
    } catch {
      throw .system(error, path: path.string, "the checkpoint cannot be opened")
    }
    if status.type == .directory {
      self = try Self.find(in: path)
    } else if let name = path.lastComponent?.string {
      let folder = path.removingLastComponent()
      // Without a folder the name is relative to the working directory.
      let parent = folder.isEmpty ? "." : folder
      self =
        name.hasSuffix(".index.json")
        ? .index(path, folder: parent, name: name)
        : .file(path, folder: parent, name: name)
    } else {
      throw SafetensorsError(.notARegularFile, path: path.string, "this is no regular file")
    }
  }

  private static func find(in folder: FilePath) throws(SafetensorsError) -> Self {
    // Names with a dot in front are leftovers of tools, such as "._model.safetensors".
    let names = try fileNames(in: folder).filter { !$0.hasPrefix(".") }
    let files = names.filter { $0.hasSuffix(".safetensors") }
    let indexes = names.filter { $0.hasSuffix(".safetensors.index.json") }
    if files.contains("model.safetensors") {
      return .file(folder.appending("model.safetensors"), folder: folder, name: "model.safetensors")
    }
    if indexes.contains("model.safetensors.index.json") {
      return .index(
        folder.appending("model.safetensors.index.json"), folder: folder,
        name: "model.safetensors.index.json")
    }
    if let index = indexes.first {
      guard indexes.count == 1 else {
        throw SafetensorsError(
          .noCheckpoint, path: folder.string,
          "the folder holds \(indexes.count) indexes, \(listed(indexes)), and none of them is "
            + "'model.safetensors.index.json'")
      }
      return .index(folder.appending(index), folder: folder, name: index)
    }
    guard let file = files.first else {
      throw SafetensorsError(
        .noCheckpoint, path: folder.string, "the folder holds no safetensors file")
    }
    guard files.count == 1 else {
      throw SafetensorsError(
        .noCheckpoint, path: folder.string,
        "the folder holds \(files.count) safetensors files and no index: \(listed(files))")
    }
    return .file(folder.appending(file), folder: folder, name: file)
  }
}

/// The names of a folder's entries but `.` and `..`, sorted by their bytes.
package func fileNames(in folder: FilePath) throws(SafetensorsError) -> [String] {
  // The stream is closed before this function returns; the path's C string lives for the call.
  guard let stream = unsafe folder.withPlatformString({ unsafe opendir($0) }) else {
    throw .system(Errno(rawValue: errno), path: folder.string, "the folder cannot be read")
  }
  defer { unsafe _ = closedir(stream) }
  var names: [String] = []
  while true {
    errno = 0
    // The entry is valid until the next call, and its name ends with a NUL.
    guard let entry = unsafe readdir(stream) else { break }
    let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { buffer in
      unsafe String(decoding: buffer.prefix { $0 != 0 }, as: UTF8.self)
    }
    if name != ".", name != ".." { names.append(name) }
  }
  guard errno == 0 else {
    throw .system(Errno(rawValue: errno), path: folder.string, "the folder cannot be read")
  }
  return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
}

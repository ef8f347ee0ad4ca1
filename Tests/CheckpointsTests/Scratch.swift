// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Checkpoints
import Foundation
import OrderedCollections
import Safetensors
import SystemPackage
import _BlockScaleTestSupport

/// A folder that goes with its content when this object goes.
final class Scratch {
  let path: FilePath

  init() throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("checkpoints-tests-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    path = FilePath(folder.path)
  }

  deinit { try? FileManager.default.removeItem(atPath: path.string) }

  /// A path inside the folder.
  func callAsFunction(_ name: String) -> FilePath { path.appending(name) }

  func write(_ text: String, to name: String) throws {
    try text.write(toFile: self(name).string, atomically: false, encoding: .utf8)
  }

  func makeFolder(_ name: String) throws {
    try FileManager.default.createDirectory(
      atPath: self(name).string, withIntermediateDirectories: true)
  }

  /// The names of everything in the folder, sorted.
  var names: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: path.string)) ?? []).sorted()
  }
}

/// A file's text; empty if there is none.
func text(of path: FilePath) -> String {
  (try? String(contentsOfFile: path.string, encoding: .utf8)) ?? ""
}

/// What a file stores under one name.
struct Stored: Hashable, CustomStringConvertible {
  var dtype: DType
  var shape: [Int]
  var bytes: [UInt8]

  // Short, since failures print it.
  var description: String { "\(dtype.rawValue) \(shape) #\(bytes.hashValue & 0xFFFF)" }

  /// A scalar.
  var float: Float {
    Float(bitPattern: bytes.prefix(4).reversed().reduce(0) { $0 << 8 | UInt32($1) })
  }
}

/// All tensors of a checkpoint, as they are stored.
func stored(_ path: FilePath) throws -> [String: Stored] {
  let collection = try TensorCollection(path: path)
  return Dictionary(
    uniqueKeysWithValues: collection.tensors.map { name, entry in
      let bytes = collection.file(of: entry).withBytes(of: entry.info) { span in
        // The pointer stays inside of the closure.
        unsafe span.withUnsafeBytes { unsafe Array($0) }
      }
      return (name, Stored(dtype: entry.info.dtype, shape: entry.info.shape, bytes: bytes))
    })
}

/// The metadata of a checkpoint's first file.
func metadata(_ path: FilePath) throws -> OrderedDictionary<String, String> {
  try TensorCollection(path: path).files[0].header.metadata
}

/// Where a checkpoint of another tool lies, cut down by `Tools/checkpoint_vectors.py`.
func vector(_ name: String) -> FilePath {
  FilePath(#filePath).removingLastComponent().removingLastComponent()
    .appending("Vectors").appending("checkpoints").appending(name)
}

let converter = Converter(jobs: 2)

/// Little-endian bytes.
func bytes(_ value: some FixedWidthInteger) -> [UInt8] {
  (0..<value.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
}

func bytes(_ value: Float) -> [UInt8] { bytes(value.bitPattern) }

/// Runs something that must fail and returns its sentence; nil if it did not fail.
func failure(_ body: () throws -> Void) -> (code: CheckpointError.Code?, text: String)? {
  do {
    try body()
    return nil
  } catch let error as CheckpointError {
    return (error.code, error.description)
  } catch {
    return (nil, "\(error)")
  }
}

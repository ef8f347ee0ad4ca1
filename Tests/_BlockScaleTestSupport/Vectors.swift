// SPDX-License-Identifier: Apache-2.0

package import Minifloat
package import Safetensors
import Foundation
import OrderedCollections
import SystemPackage

/// Golden vectors in `Tests/Vectors`, made by the scripts in `Tools`.
package struct Vectors: Sendable {
  package let file: SafetensorsFile

  private static let folder =
    FilePath(#filePath).removingLastComponent().removingLastComponent().appending("Vectors")

  /// The names of the files in `Tests/Vectors` that begin with `prefix`, sorted; what the scripts
  /// make beyond the files of the repository is found when it is put there.
  package static func names(prefix: String) -> [String] {
    let names = try? FileManager.default.contentsOfDirectory(atPath: folder.string)
    return (names ?? []).filter { $0.hasPrefix(prefix) }.sorted()
  }

  package init(_ name: String) throws {
    file = try SafetensorsFile(path: Self.folder.appending(name))
  }

  /// The names of all tensors.
  package var tensorNames: [String] { Array(file.header.tensors.keys) }

  package subscript(_ name: String) -> TensorInfo? { file.header.tensors[name] }

  /// The bytes of a tensor.
  package func bytes(_ name: String) throws -> [UInt8] {
    let tensor = try file.tensor(named: name)
    // The file stays mapped as long as `self` lives.
    return unsafe Array(file.bytes(of: tensor))
  }

  /// The elements of a tensor as fixed-width integers, little-endian.
  package func integers<Value: FixedWidthInteger>(_ name: String, as: Value.Type) throws -> [Value]
  {
    let bytes = try bytes(name)
    let width = Value.bitWidth / 8
    return stride(from: 0, to: bytes.count, by: width).map { start in
      var value: Value = 0
      for index in (0..<width).reversed() {
        value = value &<< 8 | Value(truncatingIfNeeded: bytes[start + index])
      }
      return value
    }
  }

  /// The elements of an F32 tensor.
  package func floats(_ name: String) throws -> [Float] {
    try integers(name, as: UInt32.self).map(Float.init(bitPattern:))
  }

  /// The elements of an F64 tensor.
  package func doubles(_ name: String) throws -> [Double] {
    try integers(name, as: UInt64.self).map(Double.init(bitPattern:))
  }

  /// The elements of a BF16 tensor.
  package func bfloats(_ name: String) throws -> [BFloat16] {
    try integers(name, as: UInt16.self).map(BFloat16.init(bitPattern:))
  }

  /// The elements of an F16 tensor.
  package func halves(_ name: String) throws -> [Float16] {
    try integers(name, as: UInt16.self).map(Float16.init(bitPattern:))
  }
}

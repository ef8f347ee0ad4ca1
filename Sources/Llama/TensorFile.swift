// SPDX-License-Identifier: Apache-2.0

import Checkpoints
import Minifloat
import OrderedCollections
import Safetensors
import SystemPackage

/// Writes a safetensors file under another name, tensor by tensor, and renames it when it is on the
/// disk: whoever is killed leaves the file that was there.
func writeSafetensors(
  to path: FilePath, _ tensors: [(name: String, dtype: DType, shape: [Int])],
  metadata: OrderedDictionary<String, String>,
  _ contents: (_ name: String, _ write: ([UInt8]) throws -> Void) throws -> Void
) throws {
  let header = try SafetensorsHeader(
    tensors: tensors.map { tensor in
      SafetensorsHeader.Item(name: tensor.name, dtype: tensor.dtype, shape: tensor.shape)
    }, metadata: metadata)
  let temporary = FilePath("\(path).partial")
  do {
    let writer = try SafetensorsWriter(path: temporary, header: header)
    for (name, info) in header.tensors {
      // The bytes of an array that is alive during the call.
      try contents(name) { try unsafe writer.write($0.span.bytes, of: info) }
    }
    try writer.finish()
    try renameItem(temporary, to: path)
  } catch {
    try? removeItem(temporary)
    throw error
  }
  // A rename survives a power cut once its folder is on the disk too.
  try synchronizeFolder(path.removingLastComponent())
}

/// The bytes of values in the order of files.
func littleEndian(_ values: [Float]) -> [UInt8] {
  // Plain bits, in the order of all processors that kernels exist for.
  precondition(1.littleEndian == 1, "Files are little-endian, and this processor is not")
  return unsafe values.withUnsafeBytes { unsafe [UInt8]($0) }
}

/// The bytes of values in the order of files.
func littleEndian(_ values: [BFloat16]) -> [UInt8] {
  precondition(1.littleEndian == 1, "Files are little-endian, and this processor is not")
  // Plain bits.
  return unsafe values.withUnsafeBytes { unsafe [UInt8]($0) }
}

/// Makes a folder, or takes the one that is there.
func makeFolderUnlessPresent(_ path: FilePath) throws {
  if try FileKind(of: path) == .missing { try makeFolder(path) }
}

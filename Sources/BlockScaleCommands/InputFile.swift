// SPDX-License-Identifier: Apache-2.0

import Checkpoints
import SystemPackage

/// The contents of a file that the user has named.
///
/// - Throws: ``CommandError`` if there is none, `CheckpointError` if it cannot be read.
func readInput(_ path: FilePath) throws -> [UInt8] {
  if try FileKind(of: path) == .folder {
    throw CommandError("\(path): is a folder, not a file.")
  }
  guard let bytes = try readFile(at: path) else {
    throw CommandError("\(path): there is no such file.")
  }
  return bytes
}

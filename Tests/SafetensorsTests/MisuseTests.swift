// SPDX-License-Identifier: Apache-2.0

import OrderedCollections
import Safetensors
import SystemPackage
import Testing

/// Programmer's errors trap.
@Suite struct MisuseTests {
  @Test func readingATensorOfAnotherFile() async {
    await #expect(processExitsWith: .failure) {
      let folder = try TemporaryFolder()
      try SafetensorsFile.write([("a", .u8, [1], [1])], to: folder.file("x"))
      let file = try SafetensorsFile(path: folder.file("x"))
      let stranger = try TensorInfo(name: "a", dtype: .u8, shape: [2], byteOffset: 0)
      file.withBytes(of: stranger) { _ in }
    }
  }

  @Test func discardingBeyondATensor() async {
    await #expect(processExitsWith: .failure) {
      let folder = try TemporaryFolder()
      try SafetensorsFile.write([("a", .u8, [1], [1])], to: folder.file("x"))
      let file = try SafetensorsFile(path: folder.file("x"))
      file.discard(0..<2, of: try file.tensor(named: "a"))
    }
  }

  @Test func finishingTwice() async {
    await #expect(processExitsWith: .failure) {
      let folder = try TemporaryFolder()
      let writer = try SafetensorsWriter(
        path: folder.file("x"), header: SafetensorsHeader(tensors: []))
      try writer.finish()
      try writer.finish()
    }
  }
}

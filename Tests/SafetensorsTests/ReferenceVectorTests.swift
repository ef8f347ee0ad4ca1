// SPDX-License-Identifier: Apache-2.0

import OrderedCollections
import Safetensors
import SystemPackage
import Testing

/// Compares with a file that the Python package wrote; see Tools/make-safetensors-vectors.py.
@Suite struct ReferenceVectorTests {
  private static let path = vectors.appending("reference.safetensors")

  /// The script's data.
  private static func expectedBytes(of info: TensorInfo) -> [UInt8] {
    let modulus = info.dtype == .bool ? 2 : 256
    return (0..<info.byteCount).map { UInt8((7 * $0 + info.name.unicodeScalars.count) % modulus) }
  }

  @Test func readsTheFile() throws {
    let file = try SafetensorsFile(path: Self.path)
    #expect(file.header.metadata == ["format": "pt é"])
    #expect(file.header.tensors.count == 26)
    // The package has no name for the two 6-bit floats.
    #expect(
      Set(file.header.tensors.values.map(\.dtype))
        == Set(DType.allCases).subtracting([.f6E2M3, .f6E3M2]))
    #expect(try file.tensor(named: "scalar").shape == [])
    #expect(try file.tensor(named: "empty").shape == [3, 0, 2])
    #expect(try file.tensor(named: "Größe \"quoted\" \\ / \n tab\t").byteCount == 5)
    for info in file.header.tensors.values {
      #expect(try bytes(of: info.name, in: file) == Self.expectedBytes(of: info))
    }
  }

  @Test func writesTheSameFile() throws {
    let file = try SafetensorsFile(path: Self.path)
    let items: [SafetensorsHeader.Item] = file.header.tensors.values.map {
      ($0.name, $0.dtype, $0.shape)
    }
    var shuffled = items
    var generator = SystemRandomNumberGenerator()
    shuffled.shuffle(using: &generator)
    let header = try SafetensorsHeader(
      tensors: SafetensorsHeader.canonicalOrder(shuffled), metadata: file.header.metadata)
    #expect(header == file.header)

    let folder = try TemporaryFolder()
    try SafetensorsFile.write(
      header.tensors.values.map { ($0.name, $0.dtype, $0.shape, Self.expectedBytes(of: $0)) },
      metadata: header.metadata, to: folder.file("copy.safetensors"))
    #expect(try folder.read("copy.safetensors") == contents(of: Self.path))
  }
}

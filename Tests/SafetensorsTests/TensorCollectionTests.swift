// SPDX-License-Identifier: Apache-2.0

import OrderedCollections
import Safetensors
import SystemPackage
import Testing

@Suite struct TensorCollectionTests {
  let folder: TemporaryFolder

  init() throws {
    folder = try TemporaryFolder()
  }

  /// Writes a file of one-byte tensors.
  private func shard(_ name: String, _ tensors: String...) throws {
    try SafetensorsFile.write(
      tensors.map { ($0, .u8, [1], [UInt8($0.utf8.count)]) }, to: folder.file(name))
  }

  private func index(
    _ map: OrderedDictionary<String, String>, _ name: String = "model.safetensors.index.json"
  ) throws {
    try folder.write(ShardedIndex(weightMap: map, totalSize: map.count).encoded(), to: name)
  }

  private func failure(_ path: FilePath? = nil) -> SafetensorsError? {
    #expect(throws: SafetensorsError.self) { try TensorCollection(path: path ?? folder.path) }
  }

  @Test func opensAFile() throws {
    try shard("x.safetensors", "b", "a")
    let collection = try TensorCollection(path: folder.file("x.safetensors"))
    #expect(Array(collection.tensors.keys) == ["b", "a"])
    #expect(collection.shardNames == ["x.safetensors"])
    #expect(collection.files.map(\.path) == [folder.file("x.safetensors")])
    #expect(collection.folder == folder.path)
    #expect(collection.index == nil)
    #expect(collection.indexName == nil)
    #expect(collection.byteCount == 2)
  }

  @Test(arguments: ["model.safetensors", "diffusion_pytorch_model.safetensors"])
  func opensAFolderWithOneFile(_ name: String) throws {
    try shard(name, "a")
    try shard(".hidden.safetensors", "h")
    try folder.write([1], to: "config.json")
    let collection = try TensorCollection(path: folder.path)
    #expect(collection.shardNames == [name])
    #expect(Array(collection.tensors.keys) == ["a"])
  }

  @Test(arguments: [
    "model.safetensors.index.json", "diffusion_pytorch_model.safetensors.index.json",
  ])
  func opensAFolderWithAnIndex(_ name: String) throws {
    try shard("m-2.safetensors", "d", "c")
    try shard("m-1.safetensors", "b", "a")
    try index(
      [
        "a": "m-1.safetensors", "c": "m-2.safetensors", "b": "m-1.safetensors",
        "d": "m-2.safetensors",
      ], name)
    for path in [folder.path, folder.file(name)] {
      let collection = try TensorCollection(path: path)
      #expect(Array(collection.tensors.keys) == ["b", "a", "d", "c"])
      #expect(collection.tensors.values.map(\.fileIndex) == [0, 0, 1, 1])
      #expect(collection.shardNames == ["m-1.safetensors", "m-2.safetensors"])
      #expect(collection.indexName == name)
      #expect(collection.index?.totalSize == 4)
      #expect(collection.byteCount == 4)
      let entry = try #require(collection.tensors["d"])
      #expect(collection.file(of: entry).path == folder.file("m-2.safetensors"))
      #expect(entry.info.byteRange == 0..<1)
    }
  }

  @Test func opensShardsInASubfolder() throws {
    try folder.makeFolder("sub")
    try shard("sub/x.safetensors", "a")
    try index(["a": "sub/x.safetensors"])
    #expect(try TensorCollection(path: folder.path).shardNames == ["sub/x.safetensors"])
  }

  @Test func prefersTheSingleFile() throws {
    try shard("model.safetensors", "a")
    try shard("other.safetensors", "b")
    try index(["b": "other.safetensors"])
    #expect(try Array(TensorCollection(path: folder.path).tensors.keys) == ["a"])
  }

  @Test func namesAMissingShard() throws {
    try shard("m-1.safetensors", "a")
    try index(["a": "m-1.safetensors", "b": "m-2.safetensors"])
    let error = failure()
    #expect(error?.code == .noCheckpoint)
    #expect(
      error?.description
        == "\(folder.path)/model.safetensors.index.json: the index names the file "
        + "'m-2.safetensors', which is missing.")
  }

  @Test func namesATensorThatItsShardLacks() throws {
    try shard("m-1.safetensors", "a")
    try index(["a": "m-1.safetensors", "b": "m-1.safetensors"])
    #expect(failure()?.code == .indexMismatch)
    #expect(failure()?.tensor == "b")
    #expect(
      failure()?.description.hasSuffix(
        "the index places tensor 'b' in the file 'm-1.safetensors', which does not hold it.")
        == true)
  }

  @Test func namesATensorInTheWrongShard() throws {
    try shard("m-1.safetensors", "a")
    try shard("m-2.safetensors", "b")
    try index(["a": "m-2.safetensors", "b": "m-1.safetensors"])
    #expect(
      failure()?.description.hasSuffix(
        "the index places tensor 'a' in the file 'm-2.safetensors', which does not hold it.")
        == true)
  }

  @Test func namesATensorThatTheIndexLacks() throws {
    try shard("m-1.safetensors", "a", "x")
    try index(["a": "m-1.safetensors"])
    #expect(
      failure()?.description.hasSuffix(
        "the file 'm-1.safetensors' holds tensor 'x', which the index does not list.") == true)
  }

  @Test func namesATensorInTwoShards() throws {
    try shard("m-1.safetensors", "a")
    try shard("m-2.safetensors", "b", "a")
    try index(["a": "m-1.safetensors", "b": "m-2.safetensors"])
    #expect(
      failure()?.description.hasSuffix(
        "tensor 'a' lies in two files, 'm-1.safetensors' and 'm-2.safetensors'.") == true)
  }

  @Test func namesAMalformedShard() throws {
    try folder.write([1, 2, 3], to: "m-1.safetensors")
    try index(["a": "m-1.safetensors"])
    #expect(failure()?.code == .truncatedHeader)
    #expect(failure()?.path == folder.file("m-1.safetensors").string)
  }

  @Test func listsFilesWithoutAnIndex() throws {
    try shard("b.safetensors", "b")
    try shard("a.safetensors", "a")
    #expect(
      failure()?.description
        == "\(folder.path): the folder holds 2 safetensors files and no index: 'a.safetensors' "
        + "and 'b.safetensors'.")
    for number in 0..<9 { try shard("x\(number).safetensors", "a") }
    #expect(
      failure()?.description.hasSuffix("'x4.safetensors', 'x5.safetensors' and 3 more.") == true)
  }

  @Test func listsIndexes() throws {
    try index([:], "a.safetensors.index.json")
    try index([:], "b.safetensors.index.json")
    #expect(failure()?.code == .noCheckpoint)
    #expect(failure()?.description.contains("the folder holds 2 indexes, 'a.safe") == true)
  }

  @Test func rejectsAFolderWithoutFiles() throws {
    #expect(
      failure()?.description == "\(folder.path): the folder holds no safetensors file.")
  }

  @Test func rejectsAMissingPath() {
    let path = folder.file("none")
    #expect(failure(path)?.errno == .noSuchFileOrDirectory)
    #expect(
      failure(path)?.description
        == "\(path): the checkpoint cannot be opened: No such file or directory.")
  }

  @Test func opensAnEmptyIndex() throws {
    try index([:])
    let collection = try TensorCollection(path: folder.path)
    #expect(collection.tensors.isEmpty)
    #expect(collection.files.isEmpty)
  }
}

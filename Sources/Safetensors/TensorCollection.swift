// SPDX-License-Identifier: Apache-2.0

public import OrderedCollections
public import SystemPackage

/// A checkpoint's tensors, whether they lie in one safetensors file or in several with an index.
public struct TensorCollection: Sendable {
  /// A tensor and the file that holds it.
  public struct Entry: Sendable, Hashable {
    /// The tensor.
    public let info: TensorInfo
    /// The position of its file among ``TensorCollection/files``.
    public let fileIndex: Int
  }

  /// The tensors by name: by file, then in the order of the file's data.
  public let tensors: OrderedDictionary<String, Entry>

  /// The files, sorted by name.
  public let files: [SafetensorsFile]

  /// The files' names, relative to ``folder``; one for each of ``files``.
  public let shardNames: [String]

  /// The folder that holds the files.
  public let folder: FilePath

  /// The index, or nil where a single file needs none.
  public let index: ShardedIndex?

  /// The index's file name in ``folder``, or nil where a single file needs none.
  public let indexName: String?

  /// Opens a checkpoint.
  ///
  /// - Parameter path: a `.safetensors` file, an `.index.json` file, or a folder. In a folder this
  ///   looks for, in this order: `model.safetensors`, `model.safetensors.index.json`, the only
  ///   `*.safetensors.index.json`, and the only `*.safetensors`.
  /// - Throws: ``SafetensorsError`` if there is no such file or more than one, if a file cannot be
  ///   opened or is malformed, or if the index and its shards disagree: a tensor that its shard
  ///   lacks, a tensor that the index does not list, or a tensor in two shards.
  public init(path: FilePath) throws(SafetensorsError) {
    switch try CheckpointLocation(path: path) {
    case .file(let filePath, let folder, let name):
      let file = try SafetensorsFile(path: filePath)
      self.init(
        tensors: file.header.tensors.mapValues { Entry(info: $0, fileIndex: 0) }, files: [file],
        shardNames: [name], folder: folder)
    case .index(let indexPath, let folder, let name):
      try self.init(indexPath: indexPath, folder: folder, indexName: name)
    }
  }

  private init(
    tensors: OrderedDictionary<String, Entry>, files: [SafetensorsFile], shardNames: [String],
    folder: FilePath, index: ShardedIndex? = nil, indexName: String? = nil
  ) {
    self.tensors = tensors
    self.files = files
    self.shardNames = shardNames
    self.folder = folder
    self.index = index
    self.indexName = indexName
  }

  private init(
    indexPath: FilePath, folder: FilePath, indexName: String
  ) throws(SafetensorsError) {
    // Mapped as the shards are, since an index of 100,000 tensors has megabytes.
    let mapping = try FileMapping(path: indexPath)
    // The mapping lives to the end of this initialiser, and bytes have no alignment.
    let bytes = unsafe mapping.bytes.assumingMemoryBound(to: UInt8.self)
    let index = try unsafe ShardedIndex(parsing: bytes.span, path: indexPath.string)
    extendLifetime(mapping)

    let shardNames = index.shardNames
    var files: [SafetensorsFile] = []
    var tensors: OrderedDictionary<String, Entry> = [:]
    tensors.reserveCapacity(index.weightMap.count)
    for (fileIndex, shard) in shardNames.enumerated() {
      let file = try Self.openShard(shard, in: folder, indexPath: indexPath)
      files.append(file)
      for info in file.header.tensors.values {
        if let other = tensors[info.name] {
          throw SafetensorsError(
            .indexMismatch, path: indexPath.string, tensor: info.name,
            "tensor \(quoted(info.name)) lies in two files, \(quoted(shardNames[other.fileIndex])) "
              + "and \(quoted(shard))")
        }
        guard index.weightMap[info.name] != nil else {
          throw SafetensorsError(
            .indexMismatch, path: indexPath.string, tensor: info.name,
            "the file \(quoted(shard)) holds tensor \(quoted(info.name)), which the index does "
              + "not list")
        }
        tensors[info.name] = Entry(info: info, fileIndex: fileIndex)
      }
    }
    for (tensor, shard) in index.weightMap {
      guard let entry = tensors[tensor], shardNames[entry.fileIndex] == shard else {
        throw SafetensorsError(
          .indexMismatch, path: indexPath.string, tensor: tensor,
          "the index places tensor \(quoted(tensor)) in the file \(quoted(shard)), which does not "
            + "hold it")
      }
    }
    self.init(
      tensors: tensors, files: files, shardNames: shardNames, folder: folder, index: index,
      indexName: indexName)
  }

  private static func openShard(
    _ shard: String, in folder: FilePath, indexPath: FilePath
  ) throws(SafetensorsError) -> SafetensorsFile {
    do {
      return try SafetensorsFile(path: folder.appending(shard))
    } catch {
      guard error.errno == .noSuchFileOrDirectory else { throw error }
      throw SafetensorsError(
        .noCheckpoint, path: indexPath.string, errno: error.errno,
        "the index names the file \(quoted(shard)), which is missing")
    }
  }
}

// MARK: - Access

extension TensorCollection {
  /// The file that holds a tensor.
  public func file(of entry: Entry) -> SafetensorsFile {
    files[entry.fileIndex]
  }

  /// The size of all tensors in bytes.
  public var byteCount: Int {
    files.reduce(0) { $0 + $1.header.dataByteCount }
  }
}

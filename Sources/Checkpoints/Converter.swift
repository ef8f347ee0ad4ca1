// SPDX-License-Identifier: Apache-2.0

import BlockScale
import OrderedCollections
import Safetensors
import SystemPackage

/// Converts checkpoints: quantizes, dequantizes, and moves them from one layout to another.
///
/// Memory stays constant whatever the size of a model: tensors are mapped, worked on in panels by
/// all threads, and written to their final places in files that get their names only when they are
/// complete. An interrupted conversion can be resumed and gives the same bytes.
public struct Converter: Sendable {
  /// What a conversion tells its caller while it runs, from any thread.
  public enum Progress: Sendable {
    /// The bytes of the source that will be worked on.
    case began(bytes: Int)
    /// More bytes of the source are done.
    case advanced(bytes: Int, tensor: String)
  }

  /// The version that is recorded in the files.
  public static let version = "0.1.0"

  /// The number of threads.
  public var jobs: Int
  /// Whether an interrupted conversion is continued.
  public var resume: Bool
  /// Whether an existing output is replaced.
  public var overwrite: Bool
  /// Called with progress.
  public var onProgress: @Sendable (Progress) -> Void

  /// Creates a converter.
  ///
  /// - Precondition: `jobs` is positive.
  public init(
    jobs: Int, resume: Bool = false, overwrite: Bool = false,
    onProgress: @escaping @Sendable (Progress) -> Void = { _ in }
  ) {
    precondition(jobs > 0, "A conversion needs a thread")
    self.jobs = jobs
    self.resume = resume
    self.overwrite = overwrite
    self.onProgress = onProgress
  }
}

/// Everything that a conversion will do, decided before the first byte is written.
struct ConversionPlan: Sendable {
  var input: Checkpoint
  /// The options, as they identify the conversion when it is resumed.
  var options: OrderedDictionary<String, JSONValue>
  var units: [any ConversionUnit]
  /// The metadata of each output file.
  var metadata: [OrderedDictionary<String, String>]
  /// `config.json` of the output, if the input has one.
  var configuration: JSONValue?
  var furtherFiles: [(name: String, contents: JSONValue)]
}

extension Converter {
  /// Output is flushed and recorded each time that so many source bytes are done.
  private static let recordInterval = 256 << 20

  /// Carries a plan out.
  func run(_ plan: ConversionPlan, to target: FilePath) throws -> [TensorReport] {
    try refuseInputAsOutput(plan.input, target)
    let staging = try Staging(
      target: target, isFolder: plan.input.isFolder, fingerprint: fingerprint(of: plan),
      resume: resume, overwrite: overwrite, subfolders: subfolders(of: plan.input))
    let output = try openOutput(plan, staging)
    let total = plan.units.reduce(0) { $0 + $1.byteCount }
    onProgress(.began(bytes: total))

    let recorder = ProgressRecorder(staging: staging, output: output)
    var reports: [TensorReport] = []
    var unrecorded: [(name: String, reports: [TensorReport])] = []
    var unrecordedBytes = 0
    for unit in plan.units {
      if let finished = staging.finishedUnits[unit.name] {
        for (_, tensor) in unit.outputs { try output.markWritten(tensor) }
        reports += finished
        onProgress(.advanced(bytes: unit.byteCount, tensor: unit.name))
        continue
      }
      let new = try unit.run(
        ConversionContext(output: output, jobs: jobs) { [onProgress] bytes in
          onProgress(.advanced(bytes: bytes, tensor: unit.name))
        })
      reports += new
      unrecorded.append((unit.name, new))
      unrecordedBytes += unit.byteCount
      if unrecordedBytes >= Self.recordInterval {
        recorder.record(unrecorded)
        unrecorded = []
        unrecordedBytes = 0
      }
    }
    try recorder.wait()
    try output.finish()
    if plan.input.isFolder { try writeFolderFiles(plan, staging, output) }
    try staging.commit(overwrite: overwrite)
    return reports
  }

  /// Creates the output files, or opens those of an interrupted run.
  private func openOutput(_ plan: ConversionPlan, _ staging: Staging) throws -> ConversionOutput {
    var items = plan.input.collection.files.map { _ in [SafetensorsHeader.Item]() }
    for unit in plan.units {
      for (file, tensor) in unit.outputs {
        items[file].append((name: tensor.name, dtype: tensor.dtype, shape: tensor.shape))
      }
    }
    var shards: [ConversionOutput.Shard] = []
    for (index, name) in plan.input.collection.shardNames.enumerated() {
      let header = try SafetensorsHeader(
        tensors: SafetensorsHeader.canonicalOrder(items[index]), metadata: plan.metadata[index])
      let path = staging.path(ofShard: name)
      // A run that was killed between two files has not created all of them.
      let exists = try FileKind(of: path) == .file
      shards.append(
        ConversionOutput.Shard(
          name: name,
          writer: try SafetensorsWriter(
            path: path, header: header, resuming: staging.isResumed && exists)))
    }
    return ConversionOutput(shards: shards)
  }

  /// Writes what lies beside the tensors in a folder.
  private func writeFolderFiles(
    _ plan: ConversionPlan, _ staging: Staging, _ output: ConversionOutput
  ) throws {
    let input = plan.input
    var written: Set<String> = Set(input.collection.shardNames)
    if let index = input.collection.index, let indexName = input.collection.indexName {
      var weightMap: OrderedDictionary<String, String> = [:]
      var totalSize = 0
      for shard in output.shards {
        for (name, info) in shard.writer.header.tensors {
          weightMap[name] = shard.name
          totalSize += info.byteCount
        }
      }
      weightMap.sort { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
      var metadata = index.metadata
      metadata["total_size"] = JSONValue(totalSize)
      let newIndex = try ShardedIndex(weightMap: weightMap, metadata: metadata)
      try writeFile(newIndex.encoded(), to: staging.path.appending(indexName))
      written.insert(indexName)
    }
    if let configuration = plan.configuration {
      try writeFile(
        configuration.renderedBytes(.pretty) + [0x0A], to: staging.path.appending("config.json"))
    }
    for file in plan.furtherFiles {
      try writeFile(
        file.contents.renderedBytes(.pretty) + [0x0A], to: staging.path.appending(file.name))
    }
    written.formUnion(["config.json", "hf_quant_config.json"])
    for name in try fileNames(in: input.path)
    where !written.contains(name) && Self.isCarriedAlong(name) {
      try carryAlong(input.path.appending(name), to: staging.path.appending(name))
    }
    try synchronizeFolder(staging.path)
  }

  /// Copies a file, or a folder with what belongs to the model in it (sentence-transformers keeps the
  /// configuration of its modules in folders).
  private func carryAlong(_ source: FilePath, to target: FilePath) throws {
    switch try FileKind(of: source) {
    case .missing: return
    case .file: try copyFile(source, to: target)
    case .folder:
      let names = try fileNames(in: source).filter(Self.isCarriedAlong)
      guard !names.isEmpty else { return }
      if try FileKind(of: target) == .missing { try makeFolder(target) }
      for name in names { try carryAlong(source.appending(name), to: target.appending(name)) }
    }
  }

  /// The folders that an output made of this input may hold.
  private func subfolders(of input: Checkpoint) throws -> Set<String> {
    guard input.isFolder else { return [] }
    return Set(
      try fileNames(in: input.path).filter { try FileKind(of: input.path.appending($0)) == .folder }
    )
  }

  /// Whether a file of a model's folder belongs to the converted model too.
  ///
  /// Weights in other formats do not, and neither do hidden files.
  private static func isCarriedAlong(_ name: String) -> Bool {
    let weights = [
      ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".ot",
      ".partial", ".journal", ".index.json",
    ]
    return !name.hasPrefix(".") && !weights.contains { name.hasSuffix($0) }
  }

  /// What identifies a conversion: its options and its input as it was.
  private func fingerprint(of plan: ConversionPlan) throws -> JSONValue {
    let files = try plan.input.collection.files.map { file -> JSONValue in
      let (bytes, modified) = try FileKind.identity(of: file.path)
      return [
        "name": JSONValue(file.path.lastComponent?.string ?? file.path.string),
        "bytes": JSONValue(bytes), "modified": JSONValue(modified),
      ]
    }
    var members = plan.options
    members["version"] = JSONValue(Self.version)
    members["files"] = .array(files)
    return .object(members)
  }

  private func refuseInputAsOutput(_ input: Checkpoint, _ target: FilePath) throws {
    guard let real = realPath(target) else { return }
    let sources = [input.path] + input.collection.files.map(\.path)
    for source in sources {
      guard let realSource = realPath(source) else { continue }
      // Replacing a folder would also remove an input that lies inside it.
      if realSource == real || realSource.starts(with: real) {
        throw CheckpointError(
          .outputIsInput, "\(target): the output would overwrite its own input \(source).")
      }
    }
  }
}

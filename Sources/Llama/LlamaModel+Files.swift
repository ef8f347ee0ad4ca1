// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import Checkpoints
import Minifloat
import OrderedCollections
import Safetensors
public import SystemPackage

/// The types that a model's weights can be saved in.
public enum WeightFormat: String, Sendable, Hashable, CaseIterable {
  /// Rounded once from the master weights.
  case bfloat16
  /// The master weights.
  case float32

  var dtype: DType { self == .bfloat16 ? .bf16 : .f32 }
}

extension LlamaConfiguration {
  /// Reads the config.json of a folder.
  ///
  /// - Throws: ``LlamaError`` if there is none or it is not one of a Llama 3 model.
  public init(folder: FilePath) throws {
    try self.init(Checkpoint(path: folder))
  }

  init(_ checkpoint: Checkpoint) throws(LlamaError) {
    guard let json = checkpoint.modelConfiguration else {
      throw LlamaError(
        .malformedConfiguration, "\(checkpoint.path): there is no config.json beside the weights.")
    }
    do throws(LlamaError) {
      try self.init(json)
    } catch {
      throw LlamaError(error.code, "\(checkpoint.path)/\(error.description)")
    }
  }
}

extension ParameterStore {
  /// Reads the weights of a Hugging Face folder; quantized ones are decoded.
  ///
  /// - Throws: ``LlamaError`` if a parameter is missing or has another shape, `CheckpointError` and
  ///   `SafetensorsError` for what is wrong with the files.
  public init(folder: FilePath) throws {
    let checkpoint = try Checkpoint(path: folder)
    try self.init(checkpoint, LlamaConfiguration(checkpoint))
  }

  init(_ checkpoint: Checkpoint, _ configuration: LlamaConfiguration) throws {
    self.init(zerosFor: configuration)
    try checkpoint.check(configuration)
    for parameter in parameters {
      self[parameter.name].values = try checkpoint.values(of: parameter.name)
    }
  }

  /// Writes the weights and the configuration as a Hugging Face folder.
  ///
  /// Both files are written under other names and renamed when they are whole.
  ///
  /// - Parameters:
  ///   - folder: Is made if it is not there; its parent must be.
  ///   - format: The type of the weights.
  /// - Throws: `SafetensorsError` or `CheckpointError` if the disk is full or refuses.
  public func save(
    to folder: FilePath, _ configuration: LlamaConfiguration, format: WeightFormat = .bfloat16,
    on backend: some TransformerBackend
  ) throws {
    try makeFolderUnlessPresent(folder)
    var configuration = configuration
    // transformers 5 writes the first, version 4 the second; both read either.
    let key = configuration.members["dtype"] == nil ? "torch_dtype" : "dtype"
    configuration.members[key] = JSONValue(format.rawValue)
    // The weights are as they are here, whatever they were when they were read.
    configuration.members["quantization_config"] = nil
    let tensors = parameters.map { (name: $0.name, dtype: format.dtype, shape: $0.shape) }
    try writeSafetensors(
      to: folder.appending("model.safetensors"), tensors, metadata: ["format": "pt"]
    ) { name, write in
      switch format {
      case .float32: try write(littleEndian(self[name].values))
      case .bfloat16: try write(littleEndian(backend.rounded(self[name]).values))
      }
    }
    try writeFileAtomically(configuration.json, to: folder.appending("config.json"))
    try synchronizeFolder(folder)
  }
}

extension LlamaModel {
  /// Reads a model for inference from a Hugging Face folder.
  ///
  /// Linear layers whose weights are stored in blocks keep them as they are stored, a head that is tied
  /// to the embedding too; the plan has the others. Rows of an embedding in blocks are decoded to BF16.
  ///
  /// - Throws: ``LlamaError`` if the configuration is not supported or a parameter is missing or has
  ///   another shape, `CheckpointError` and `SafetensorsError` for what is wrong with the files.
  public init(
    folder: FilePath, plan: PrecisionPlan = .bfloat16, contextLength: Int? = nil,
    on backend: Compute
  ) throws {
    let checkpoint = try Checkpoint(path: folder)
    let configuration = try LlamaConfiguration(checkpoint)
    try checkpoint.check(configuration)
    let shapes = Dictionary(
      uniqueKeysWithValues: configuration.parameters.map { ($0.name, $0) })
    try self.init(
      configuration, plan: plan, trains: false, contextLength: contextLength, on: backend
    ) { name in
      guard let shape = shapes[name] else {
        preconditionFailure("The model has no parameter '\(name)'")
      }
      return try Matrix(checkpoint.values(of: name), rows: shape.rows, columns: shape.columns)
    } operand: { name in
      checkpoint.isQuantized(name) ? try checkpoint.operand(of: name) : nil
    }
  }
}

extension Checkpoint {
  /// Checks that all parameters of a model are there, in their shapes, and no further layers.
  func check(_ configuration: LlamaConfiguration) throws(LlamaError) {
    for parameter in configuration.parameters {
      guard let shape = shape(of: parameter.name) else {
        throw LlamaError(.wrongParameter, "\(path): there is no parameter '\(parameter.name)'.")
      }
      guard shape == parameter.shape else {
        throw LlamaError(
          .wrongParameter,
          "\(path): parameter '\(parameter.name)' has the shape \(shape), and the configuration "
            + "asks for \(parameter.shape).")
      }
    }
    let next = "\(LayerNames(configuration.layerCount).inputNorm).weight"
    if shape(of: next) != nil {
      throw LlamaError(
        .wrongParameter,
        "\(path): there is a parameter '\(next)', and the configuration ends before that layer.")
    }
  }
}

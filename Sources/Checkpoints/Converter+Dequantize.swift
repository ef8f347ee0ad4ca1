// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import OrderedCollections
import Safetensors
public import SystemPackage

extension Converter {
  /// Decodes the block-scaled tensors of a checkpoint; others are copied.
  ///
  /// - Returns: What was done to each parameter, in the order of the input.
  /// - Throws: ``CheckpointError``, or `SafetensorsError` if the output cannot be written.
  public func dequantize(
    _ input: Checkpoint, to target: FilePath, as format: SourceFormat
  ) throws -> [TensorReport] {
    guard input.layout != nil else {
      throw CheckpointError(.nothingToDo, "\(input.path): holds no block-scaled tensor.")
    }
    let units = input.parameters.values.map { parameter -> any ConversionUnit in
      switch parameter {
      case .plain(let tensor): CopyUnit(source: tensor, reason: nil)
      case .quantized(let tensor): DequantizeUnit(source: tensor, format: format)
      }
    }
    var configuration = input.configuration.map { LayoutConfiguration.withoutQuantization($0) }
    if case .object(var members) = configuration {
      let name = JSONValue(
        format == .float32 ? "float32" : format == .bfloat16 ? "bfloat16" : "float16")
      for key in ["torch_dtype", "dtype"] where members[key] != nil { members[key] = name }
      configuration = .object(members)
    }
    let record = ConversionRecord(
      version: Self.version, scheme: nil, layout: nil, recipe: nil, searchedScales: false)
    let plan = ConversionPlan(
      input: input,
      options: ["command": "dequantize", "dtype": JSONValue(format.rawValue)],
      units: units,
      metadata: input.collection.files.map {
        var metadata = LayoutConfiguration.withoutQuantization($0.header.metadata)
        metadata["format"] = "pt"
        metadata[ConversionRecord.metadataKey] = record.json.rendered(.compact)
        return metadata
      },
      configuration: configuration, furtherFiles: [])
    return inOrder(try run(plan, to: target), of: input)
  }
}

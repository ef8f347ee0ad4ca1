// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import OrderedCollections
import Safetensors

/// What a checkpoint holds.
public struct Inspection: Sendable, Hashable {
  /// One parameter.
  public struct Tensor: Sendable, Hashable {
    /// The parameter.
    public var name: String
    /// Its scheme, or its data type.
    public var format: String
    /// Its shape.
    public var shape: [Int]
    /// The stored bytes, with scales.
    public var bytes: Int
    /// The number of block scales; zero for plain tensors.
    public var scales: Int
    /// The tensor scale as stored, if there is one.
    public var tensorScale: Float?
    /// The file that holds it.
    public var file: String
  }

  /// The layout of the block-scaled tensors, if there are any.
  public var layout: Layout?
  /// The recipe that BlockScale recorded when it wrote the files.
  public var recipe: Recipe?
  /// The names of the files.
  public var files: [String]
  /// The parameters, in order.
  public var tensors: [Tensor]

  /// Describes a checkpoint.
  ///
  /// - Throws: ``CheckpointError`` if a tensor scale is no FP32 number.
  public init(_ checkpoint: Checkpoint) throws {
    layout = checkpoint.layout
    recipe = checkpoint.record?.recipe
    files = checkpoint.collection.shardNames
    tensors = try checkpoint.parameters.values.map { parameter in
      var scales = 0
      var tensorScale: Float?
      if case .quantized(let tensor) = parameter {
        scales = tensor.matrices * tensor.grid.rows * tensor.grid.columns
        tensorScale = try tensor.readTensorScale()?.value
      }
      return Tensor(
        name: parameter.name, format: parameter.formatName, shape: parameter.shape,
        bytes: parameter.byteCount, scales: scales, tensorScale: tensorScale,
        file: checkpoint.collection.shardNames[parameter.fileIndex])
    }
  }
}

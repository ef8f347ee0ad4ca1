// SPDX-License-Identifier: Apache-2.0

import BlockScaleCPU
import Safetensors

/// One step of a conversion: the parameters that must be worked on together.
///
/// A step that has run can be recorded and skipped when the conversion is resumed.
protocol ConversionUnit: Sendable {
  /// The name of the first parameter, which no other unit has.
  var name: String { get }
  /// The tensors to write, each with the number of its file.
  var outputs: [(file: Int, tensor: OutputTensor)] { get }
  /// The bytes of the source, for progress.
  var byteCount: Int { get }

  func run(_ context: ConversionContext) throws -> [TensorReport]
}

/// What a unit works with.
struct ConversionContext: Sendable {
  var output: ConversionOutput
  var jobs: Int
  /// Called with source bytes that are done, from any thread.
  var advance: @Sendable (Int) -> Void
}

/// Copies a tensor as it is.
struct CopyUnit: ConversionUnit {
  let source: StoredTensor
  /// Why the tensor is not converted, if that was a choice.
  let reason: String?

  var name: String { source.info.name }
  var tensor: OutputTensor {
    OutputTensor(name: name, dtype: source.info.dtype, shape: source.info.shape)
  }
  var outputs: [(file: Int, tensor: OutputTensor)] { [(source.fileIndex, tensor)] }
  var byteCount: Int { source.info.byteCount }

  func run(_ context: ConversionContext) throws -> [TensorReport] {
    let chunk = 8 << 20
    let count = source.info.byteCount
    try parallelFor((count + chunk - 1) / chunk, threads: context.jobs) { index in
      let range = index * chunk..<min(count, (index + 1) * chunk)
      defer { extendLifetime(source.file) }
      // The file is alive, and the range is checked.
      try unsafe context.output.write(
        source.file.bytes(of: source.info, in: range),
        to: tensor, at: range.lowerBound)
      source.file.discard(range, of: source.info)
      context.advance(range.count)
    }
    return [
      TensorReport(
        name: name, action: .copied, format: source.info.dtype.rawValue, shape: source.info.shape,
        bytesBefore: count, bytesAfter: count, notes: reason.map { [$0] } ?? [])
    ]
  }
}

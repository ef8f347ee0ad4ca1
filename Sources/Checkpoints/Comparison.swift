// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import BlockScaleCPU
import OrderedCollections
import Safetensors
import Synchronization

/// How far the tensors of one checkpoint lie from those of another.
public struct Comparison: Sendable {
  /// One parameter that both checkpoints have.
  public struct Tensor: Sendable, Hashable {
    /// The parameter.
    public var name: String
    /// Its format in the reference: a scheme, or a data type.
    public var referenceFormat: String
    /// Its format in the candidate.
    public var candidateFormat: String
    /// Its shape in the reference.
    public var shape: [Int]
    /// The distance, with the reference as the signal.
    public var error: ErrorMetrics
  }

  /// The parameters of both, in the order of the reference.
  public var tensors: [Tensor]
  /// Parameters that only the reference has.
  public var missing: [String]
  /// Parameters that only the candidate has.
  public var extra: [String]

  /// Compares two checkpoints value by value, decoding what is block-scaled.
  ///
  /// - Parameters:
  ///   - jobs: The number of threads.
  ///   - onProgress: Called with the bytes of the reference that are done, from any thread.
  /// - Throws: ``CheckpointError`` with the code `shapeMismatch` if a parameter has two shapes.
  public init(
    reference: Checkpoint, candidate: Checkpoint, jobs: Int,
    onProgress: @escaping @Sendable (Converter.Progress) -> Void = { _ in }
  ) throws {
    tensors = []
    missing = []
    onProgress(.began(bytes: reference.parameters.values.reduce(0) { $0 + $1.byteCount }))
    for (name, parameter) in reference.parameters {
      guard let other = candidate.parameters[name] else {
        missing.append(name)
        continue
      }
      if let error = try Self.compare(parameter, other, jobs: jobs) {
        tensors.append(
          Tensor(
            name: name, referenceFormat: parameter.formatName, candidateFormat: other.formatName,
            shape: parameter.shape, error: error))
      }
      onProgress(.advanced(bytes: parameter.byteCount, tensor: name))
    }
    extra = candidate.parameters.keys.filter { reference.parameters[$0] == nil }
  }

  /// The metrics of one parameter; nil if its type has no values of a common kind.
  static func compare(
    _ reference: Parameter, _ candidate: Parameter, jobs: Int
  ) throws -> ErrorMetrics? {
    guard let left = try ValueReader(reference), let right = try ValueReader(candidate) else {
      return nil
    }
    defer {
      left.discard()
      right.discard()
    }
    let sum = Mutex(ErrorMetrics())
    if left.hasRowsAndColumns(of: right) || right.isPadded(left) {
      // Panels of whole blocks for both sides.
      let panels = splitIntoPanels(
        matrices: left.matrices, rows: left.rows, rowBytes: max(left.columns, 1), unit: 128,
        bytes: 1 << 20)
      parallelFor(panels.count, threads: jobs) { index in
        let (matrix, rows) = panels[index]
        let part = ErrorMetrics(
          reference: left.values(matrix: matrix, rows: rows),
          candidate: right.values(matrix: matrix, rows: rows))
        sum.withLock { $0.merge(part) }
      }
    } else if let (stack, plain, stackIsReference) = Self.stackAndPlain(left, right) {
      // Plain fused experts lie as [experts, inputs, outputs], quantized ones transposed.
      parallelFor(stack.matrices, threads: jobs) { matrix in
        let rows = matrix * stack.columns..<(matrix + 1) * stack.columns
        let decoded = transposed(
          stack.values(matrix: matrix, rows: 0..<stack.rows), rows: stack.rows,
          columns: stack.columns)
        let values = plain.values(matrix: 0, rows: rows)
        let part =
          stackIsReference
          ? ErrorMetrics(reference: decoded, candidate: values)
          : ErrorMetrics(reference: values, candidate: decoded)
        sum.withLock { $0.merge(part) }
      }
    } else {
      throw CheckpointError(
        .shapeMismatch,
        "Tensor '\(reference.name)' has the shape \(reference.shape) in the reference and "
          + "\(candidate.shape) in the candidate.")
    }
    return sum.withLock { $0 }
  }

  private static func stackAndPlain(
    _ left: ValueReader, _ right: ValueReader
  ) -> (stack: ValueReader, plain: ValueReader, stackIsReference: Bool)? {
    func fits(_ stack: ValueReader, _ plain: ValueReader) -> Bool {
      stack.matrices > 1 && plain.matrices == 1 && plain.columns == stack.rows
        && plain.rows == stack.matrices * stack.columns
    }
    if fits(left, right) { return (left, right, true) }
    if fits(right, left) { return (right, left, false) }
    return nil
  }
}

extension ValueReader {
  fileprivate func hasRowsAndColumns(of other: ValueReader) -> Bool {
    matrices == other.matrices && rows == other.rows && columns == other.columns
  }

  /// Whether this holds the rows of `other` and padding up to a multiple of 16, as ComfyUI stores.
  fileprivate func isPadded(_ other: ValueReader) -> Bool {
    matrices == other.matrices && columns == other.columns && rows == (other.rows + 15) / 16 * 16
  }
}

extension Parameter {
  /// A scheme, or a data type.
  var formatName: String {
    switch self {
    case .plain(let tensor): tensor.info.dtype.rawValue
    case .quantized(let tensor): tensor.formatName
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import RealModule

/// A value in FP32 for every weight of a model, by the names of its parameters: master weights, or
/// gradients.
public struct ParameterStore: Sendable, Hashable {
  /// The parameters in order.
  public let parameters: [LlamaConfiguration.Parameter]
  private var matrices: [Matrix<Float>]
  private let indices: [String: Int]

  /// Zeros.
  public init(zerosFor configuration: LlamaConfiguration) {
    parameters = configuration.parameters
    matrices = parameters.map { .zeros(rows: $0.rows, columns: $0.columns) }
    indices = Dictionary(
      uniqueKeysWithValues: parameters.enumerated().map { ($1.name, $0) })
  }

  /// Weights to begin training with: normal numbers of the configured deviation, divided by √(2·layers)
  /// for the projections that add to the residual stream, and ones for normalizations.
  public init(for configuration: LlamaConfiguration, seed: UInt64) {
    self.init(zerosFor: configuration)
    let residual = 1 / (2 * Double(configuration.layerCount)).squareRoot()
    for (index, parameter) in parameters.enumerated() {
      let count = parameter.rows * parameter.columns
      guard !parameter.isVector else {
        matrices[index].values = [Float](repeating: 1, count: count)
        continue
      }
      // A stream of its own, so that a parameter does not depend on those before it.
      var generator = RandomStream(seed: seed, stream: UInt64(index))
      let addsToResidual =
        parameter.name.hasSuffix("o_proj.weight") || parameter.name.hasSuffix("down_proj.weight")
      let deviation = configuration.initializerRange * (addsToResidual ? residual : 1)
      matrices[index].values = (0..<count).map { _ in Float(generator.normal() * deviation) }
    }
  }

  /// The values of a parameter.
  ///
  /// - Precondition: There is a parameter of that name.
  public subscript(name: String) -> Matrix<Float> {
    _read { yield matrices[index(name)] }
    _modify { yield &matrices[index(name)] }
  }

  /// The values of the parameter at a place in the order.
  package subscript(index: Int) -> Matrix<Float> {
    _read { yield matrices[index] }
    _modify { yield &matrices[index] }
  }

  private func index(_ name: String) -> Int {
    guard let index = indices[name] else {
      preconditionFailure("The model has no parameter '\(name)'")
    }
    return index
  }

  /// Makes everything zero.
  public mutating func clear() {
    for index in matrices.indices {
      matrices[index].values.withUnsafeMutableBufferPointerZeroed()
    }
  }

  /// The root of the sum of all squares.
  public func norm(on backend: some TransformerBackend) -> Double {
    matrices.reduce(0) { $0 + backend.sumOfSquares($1.values) }.squareRoot()
  }

  /// The first parameter with a value that is not finite.
  public var firstNonFinite: String? {
    zip(parameters, matrices).first { !$1.values.allSatisfy(\.isFinite) }?.0.name
  }
}

extension [Float] {
  fileprivate mutating func withUnsafeMutableBufferPointerZeroed() {
    // The whole of the array's memory.
    unsafe withUnsafeMutableBufferPointer { unsafe $0.update(repeating: 0) }
  }
}

// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import RealModule

/// A value in FP32 for every weight of a model, by the names of its parameters: master weights, or
/// gradients.
public struct ParameterStore: Sendable {
  /// The parameters in order.
  public let parameters: [LlamaConfiguration.Parameter]
  private var matrices: [Matrix<Float>]
  // Zeros that are not written yet: the first gradient of a step overwrites what was there, which
  // spares one pass over the memory to clear it and one to read it.
  private var areZero: [Bool]
  private let indices: [String: Int]

  /// Zeros.
  public init(zerosFor configuration: LlamaConfiguration) {
    parameters = configuration.parameters
    matrices = parameters.map { .zeros(rows: $0.rows, columns: $0.columns) }
    areZero = Array(repeating: false, count: parameters.count)
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
    get { self[index(name)] }
    _modify { yield &self[index(name)] }
  }

  /// The values of the parameter at a place in the order.
  package subscript(index: Int) -> Matrix<Float> {
    get {
      guard areZero[index] else { return matrices[index] }
      return .zeros(rows: parameters[index].rows, columns: parameters[index].columns)
    }
    _modify {
      writeZeros(index)
      yield &matrices[index]
    }
  }

  /// Lets `body` add to a parameter, or overwrite it where it is zero.
  mutating func accumulate<Failure: Error>(
    _ name: String, _ body: (_ sum: inout Matrix<Float>, _ adding: Bool) throws(Failure) -> Void
  ) throws(Failure) {
    let index = index(name)
    let adding = !areZero[index]
    areZero[index] = false
    try body(&matrices[index], adding)
  }

  private mutating func writeZeros(_ index: Int) {
    guard areZero[index] else { return }
    areZero[index] = false
    // The whole of the array's memory.
    unsafe matrices[index].values.withUnsafeMutableBufferPointer {
      unsafe $0.update(repeating: 0)
    }
  }

  private func index(_ name: String) -> Int {
    guard let index = indices[name] else {
      preconditionFailure("The model has no parameter '\(name)'")
    }
    return index
  }

  /// Makes everything zero.
  public mutating func clear() {
    for index in areZero.indices { areZero[index] = true }
  }

  /// The root of the sum of all squares.
  public func norm(on backend: some TransformerBackend) -> Double {
    matrices.indices.reduce(0) {
      areZero[$1] ? $0 : $0 + backend.sumOfSquares(matrices[$1].values)
    }.squareRoot()
  }

  /// The parameter whose values have the largest norm; the first of those that have none.
  func steepest(on backend: some TransformerBackend) -> String {
    let squares = parameters.indices.map { backend.sumOfSquares(self[$0].values) }
    let place =
      squares.firstIndex { !$0.isFinite } ?? squares.indices.max { squares[$0] < squares[$1] }
    return parameters[place ?? 0].name
  }

  /// The first parameter with a value that is not finite.
  public var firstNonFinite: String? {
    parameters.indices.first { !self[$0].values.allSatisfy(\.isFinite) }.map {
      parameters[$0].name
    }
  }
}

extension ParameterStore: Equatable {
  /// Whether all values are equal.
  public static func == (left: Self, right: Self) -> Bool {
    left.parameters == right.parameters
      && left.parameters.indices.allSatisfy { left[$0] == right[$0] }
  }
}

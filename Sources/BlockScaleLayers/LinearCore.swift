// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat

/// What the linear layers have in common: a master weight and what is prepared from it.
struct LinearCore<Compute: Backend>: Sendable {
  private let backend: Compute
  private(set) var parameters: LinearParameters
  private var prepared: PreparedLinear<Compute>

  init(
    _ parameters: LinearParameters, _ prepared: PreparedLinear<Compute>, on backend: Compute
  ) {
    self.backend = backend
    self.parameters = parameters
    self.prepared = prepared
  }

  init(
    _ parameters: LinearParameters, precision: LinearPrecision, on backend: Compute
  ) throws(BlockScaleError) {
    self.init(
      parameters,
      try PreparedLinear(weight: parameters.weight, precision: precision, on: backend),
      on: backend)
  }

  /// Parameters that may take the place of these, after which nothing changes unless `prepare`
  /// succeeds.
  mutating func update(
    weight: Matrix<Float>, bias: [Float]?,
    _ prepare: (Matrix<Float>) throws(BlockScaleError) -> PreparedLinear<Compute>
  ) throws(BlockScaleError) {
    let replaced = try parameters.replaced(weight: weight, bias: bias, on: backend)
    prepared = try prepare(weight)
    parameters = replaced
  }

  func forward(
    _ x: BFloat16Tensor
  ) throws(BlockScaleError) -> (output: BFloat16Tensor, saved: SavedLinearInput) {
    let input = try prepared.prepare(input: x)
    return (try prepared.forward(input, bias: parameters.bias), input.saved)
  }

  func backward(
    _ gradient: BFloat16Tensor, saved: SavedLinearInput, into gradients: inout LinearGradients
  ) throws(BlockScaleError) -> BFloat16Tensor {
    try parameters.check(gradients)
    let result = try prepared.backward(
      prepared.prepare(gradient: gradient, rows: saved.rows), saved: saved,
      into: &gradients.weight)
    if gradients.bias != nil {
      backend.addColumnSums(of: gradient.matrix, to: &gradients.bias!)
    }
    return result
  }
}

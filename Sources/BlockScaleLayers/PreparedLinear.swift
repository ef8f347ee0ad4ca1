// SPDX-License-Identifier: Apache-2.0

package import BlockScale
import Minifloat

/// A weight prepared for the products of a linear layer, without its master.
///
/// Layers that own their master weight and models whose optimizer owns it share this; a model for
/// inference has nothing else.
package struct PreparedLinear<Compute: Backend>: Sendable {
  package let inputs: Int
  package let outputs: Int
  /// How inputs and gradients enter the products.
  package let inputForm: LinearInputForm
  private let backend: Compute
  private let forwardWeight: Compute.PackedOperand
  /// Nil for inference.
  private let backwardWeight: Compute.PackedOperand?
  /// Whether the scales of inputs and gradients do not tell that a value was not finite.
  private let hidesNonFinite: Bool

  /// Prepares a weight for training.
  ///
  /// - Throws: ``BlockScaleError`` if a value is not finite or the precision's recipe does not define
  ///   its format.
  package init(
    weight: Matrix<Float>, precision: LinearPrecision, trains: Bool = true, on backend: Compute
  ) throws(BlockScaleError) {
    var hidesNonFinite = false
    let forward: Compute.PackedOperand
    var backward: Compute.PackedOperand?
    switch precision {
    case .bfloat16:
      let rounded = backend.rounded(weight)
      try backend.checkFinite(rounded, "The weight, rounded to BF16,")
      forward = try backend.pack(Operand(rounded))
      if trains { backward = try backend.packTransposed(rounded) }
    case .float8Blocks(let configuration):
      hidesNonFinite = try configuration.hidesNonFinite()
      if hidesNonFinite { try backend.checkFinite(weight, "The weight") }
      let blocking = Blocking(rows: 128, columns: 128)
      let matrix: Float8Matrix
      if trains {
        let both = try backend.quantizedBothWays(
          weight, as: Float8Matrix.self, recipe: configuration.recipe, blocking: blocking)
        matrix = both.matrix
        backward = try backend.pack(Operand(both.transposed))
      } else {
        matrix = try backend.quantized(
          weight, as: Float8Matrix.self, recipe: configuration.recipe, blocking: blocking)
      }
      try matrix.checkFinite("The weight")
      forward = try backend.pack(Operand(matrix))
    case .float8Tensor(let recipe):
      let quantized = try backend.quantizePerTensor(
        Tensor(weight), as: Float8E4M3.self, groupSize: 16, outputQuantizedTranspose: trains,
        recipe: recipe, rounding: .nearest
      ).quantized
      try quantized.checkFinite("The weight")
      forward = try backend.pack(Operand(quantized.tensor.matrix))
      if let transposed = quantized.transposed {
        backward = try backend.pack(Operand(transposed))
      }
    case .nvfp4(let recipe):
      try backend.checkFinite(weight, "The weight")
      let quantized = try backend.quantized(
        weight, as: NVFP4Matrix.self, recipe: recipe, blocking: nil)
      forward = try backend.pack(Operand(quantized))
      if trains { backward = try backend.pack(Operand(quantized.transposed())) }
    }
    inputs = weight.columns
    outputs = weight.rows
    inputForm = precision.inputForm
    self.backend = backend
    self.hidesNonFinite = hidesNonFinite
    forwardWeight = forward
    backwardWeight = backward
  }

  /// A weight in NVFP4.
  init(_ weight: NVFP4Matrix, on backend: Compute) throws(BlockScaleError) {
    try self.init(
      forward: Operand(weight), backward: Operand(weight.transposed()), on: backend)
  }

  /// A weight for inference in whatever format it is; inputs are BF16.
  package init(weight: Operand, on backend: Compute) throws(BlockScaleError) {
    try self.init(forward: weight, backward: nil, on: backend)
  }

  private init(
    forward: Operand, backward: Operand?, on backend: Compute
  ) throws(BlockScaleError) {
    inputs = forward.columns
    outputs = forward.rows
    inputForm = .bfloat16
    self.backend = backend
    hidesNonFinite = false
    forwardWeight = try backend.pack(forward)
    backwardWeight = try backward.map { operand throws(BlockScaleError) in
      try backend.pack(operand)
    }
  }
}

//MARK: Forward

extension PreparedLinear {
  /// An input in the form that this layer and others of its precision take.
  ///
  /// - Throws: ``BlockScaleError`` if the shape does not fit or a value is not finite.
  package func prepare(input x: BFloat16Tensor) throws(BlockScaleError) -> LinearInput {
    guard x.matrix.columns == inputs else {
      throw BlockScaleError(
        .wrongShape,
        "The input of this layer has \(inputs) columns, not \(x.matrix.columns).")
    }
    switch inputForm {
    case .bfloat16:
      try backend.checkFinite(x.matrix, "The input")
      return LinearInput(x)
    case .float8Blocks(let configuration):
      if hidesNonFinite { try backend.checkFinite(x.matrix, "The input") }
      guard trains else {
        let rows = try backend.quantized(
          x.matrix, as: Float8Matrix.self, recipe: configuration.recipe, blocking: .rowGroups)
        try rows.checkFinite("The input")
        return try LinearInput(x, rows, transposed: nil)
      }
      let (rows, transposed) = try backend.quantizedBothWays(
        x.matrix, as: Float8Matrix.self, recipe: configuration.recipe, blocking: .rowGroups)
      try rows.checkFinite("The input")
      return try LinearInput(x, rows, transposed: transposed)
    case .float8Tensor(let recipe):
      let quantized = try backend.quantizePerTensor(
        x, as: Float8E4M3.self, groupSize: 16, outputQuantizedTranspose: trains, recipe: recipe,
        rounding: .nearest
      ).quantized
      try quantized.checkFinite("The input")
      return try LinearInput(quantized)
    }
  }

  /// The output for an input that was prepared for this layer's precision.
  ///
  /// - Complexity: O(rows × inputs × outputs).
  package func forward(
    _ input: LinearInput, bias: [Float]? = nil
  ) throws(BlockScaleError) -> BFloat16Tensor {
    let matrix = try backend.multiply(
      input.rows, forwardWeight, bias: bias, as: BFloat16.self)
    return try Tensor(matrix, shape: input.shape.dropLast() + [outputs])
  }

  /// The output in FP32, as a loss wants it.
  package func forwardInFloat32(_ input: LinearInput) throws(BlockScaleError) -> Matrix<Float> {
    try backend.multiply(input.rows, forwardWeight, bias: nil, as: Float.self)
  }
}

//MARK: Backward

extension PreparedLinear {
  /// The gradient of the output in the form that this layer takes.
  ///
  /// - Throws: ``BlockScaleError`` if the shape does not fit or a value is not finite.
  package func prepare(
    gradient: BFloat16Tensor, rows: Int
  ) throws(BlockScaleError) -> LinearOutputGradient {
    guard gradient.matrix.columns == outputs, gradient.matrix.rows == rows else {
      throw BlockScaleError(
        .wrongShape,
        "The gradient of this output is \(rows)x\(outputs), not "
          + "\(gradient.matrix.rows)x\(gradient.matrix.columns).")
    }
    switch inputForm {
    case .bfloat16:
      try backend.checkFinite(gradient.matrix, "The gradient")
      return LinearOutputGradient(
        shape: gradient.shape, rows: Operand(gradient.matrix),
        transposed: Operand(backend.transpose(gradient.matrix)))
    case .float8Blocks(let configuration):
      if hidesNonFinite { try backend.checkFinite(gradient.matrix, "The gradient") }
      switch configuration.gradientFormat {
      case .e4m3: return try blocks(gradient, as: Float8E4M3.self, configuration.recipe)
      case .e5m2: return try blocks(gradient, as: Float8E5M2.self, configuration.recipe)
      }
    case .float8Tensor(let recipe):
      let quantized = try backend.quantizePerTensor(
        gradient, as: Float8E5M2.self, groupSize: 16, outputQuantizedTranspose: true,
        recipe: recipe, rounding: .nearest
      ).quantized
      try quantized.checkFinite("The gradient")
      return try LinearOutputGradient(quantized)
    }
  }

  private func blocks<Element: BlockElement>(
    _ gradient: BFloat16Tensor, as element: Element.Type, _ recipe: Recipe
  ) throws(BlockScaleError) -> LinearOutputGradient {
    let (rows, transposed) = try backend.quantizedBothWays(
      gradient.matrix, as: BlockScaledMatrix<Element, Float>.self, recipe: recipe,
      blocking: .rowGroups)
    try rows.checkFinite("The gradient")
    return LinearOutputGradient(
      shape: gradient.shape, rows: try Operand(rows), transposed: try Operand(transposed))
  }

  /// Whether the weight is prepared for gradients, which want inputs along their columns too.
  private var trains: Bool { backwardWeight != nil }

  private var weightForGradients: Compute.PackedOperand {
    guard let backwardWeight else {
      preconditionFailure("A weight that was prepared for inference has no gradients")
    }
    return backwardWeight
  }

  /// The gradient of the input.
  package func inputGradient(
    _ gradient: LinearOutputGradient
  ) throws(BlockScaleError) -> BFloat16Tensor {
    let matrix = try backend.multiply(
      gradient.rows, weightForGradients, bias: nil, as: BFloat16.self)
    return try Tensor(matrix, shape: gradient.shape.dropLast() + [inputs])
  }

  /// Adds the gradient of an input that other layers share; nil stands for zero.
  package func addInputGradient(
    _ gradient: LinearOutputGradient, to sum: inout Matrix<Float>?
  ) throws(BlockScaleError) {
    guard sum != nil else {
      sum = try backend.multiply(gradient.rows, weightForGradients, bias: nil, as: Float.self)
      return
    }
    try backend.multiply(
      gradient.rows, weightForGradients, bias: nil, into: &sum!, adding: true)
  }

  /// Adds the gradient of the weight, in FP32, or overwrites what is there with it.
  ///
  /// - Parameter input: What ``SavedLinearInput/packed(on:)`` gives, once for all layers that share it.
  package func addWeightGradient(
    _ gradient: LinearOutputGradient, input: Compute.PackedOperand, to sum: inout Matrix<Float>,
    adding: Bool
  ) throws(BlockScaleError) {
    try backend.multiply(gradient.transposed, input, bias: nil, into: &sum, adding: adding)
  }

  /// Both gradients of a layer that shares its input with no other.
  package func backward(
    _ gradient: LinearOutputGradient, saved: SavedLinearInput, into weight: inout Matrix<Float>
  ) throws(BlockScaleError) -> BFloat16Tensor {
    let result = try inputGradient(gradient)
    try addWeightGradient(
      gradient, input: saved.packed(on: backend), to: &weight, adding: true)
    return result
  }
}

extension Blocking {
  /// The blocks of inputs and gradients.
  fileprivate static var rowGroups: Blocking { Blocking(rows: 1, columns: 128) }
}

extension PerTensorActivation {
  /// Refuses a tensor that held values that are not finite.
  package func checkFinite(_ name: String) throws(BlockScaleError) {
    if !scale.isFinite {
      throw BlockScaleError(.nonFinite, "\(name) holds a NaN or an infinity.")
    }
  }
}

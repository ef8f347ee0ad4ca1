// SPDX-License-Identifier: Apache-2.0

public import Minifloat
import RealModule

extension ReferenceBackend: TransformerBackend {
  /// The sum of two tensors, rounded once.
  public func add(
    _ first: BFloat16Tensor, _ second: BFloat16Tensor
  ) throws(BlockScaleError) -> BFloat16Tensor {
    try second.check("second summand", hasShapeOf: first, "first")
    return combined(first, second) { $0 + $1 }
  }

  private func combined(
    _ first: BFloat16Tensor, _ second: BFloat16Tensor, _ operation: (Float, Float) -> Float
  ) -> BFloat16Tensor {
    Tensor(
      Matrix(
        unchecked: zip(first.matrix.values, second.matrix.values).map {
          BFloat16(rounding: operation(Float($0), Float($1)))
        }, rows: first.matrix.rows, columns: first.matrix.columns), like: first)
  }

  //MARK: RMSNorm

  /// `x · 1/√(mean(x²) + ε) · weight` of each row.
  public func rmsNormForward(
    _ input: BFloat16Tensor, weight: [Float], epsilon: Float
  ) throws(BlockScaleError) -> BFloat16Tensor {
    try input.check(parameter: weight, "weight")
    let columns = input.matrix.columns
    var values: [BFloat16] = []
    for row in 0..<input.matrix.rows {
      let x = input.matrix.values[row * columns..<(row + 1) * columns].map { Float($0) }
      let inverse = inverseRootMeanSquare(x[...], epsilon)
      values += zip(x, weight).map { BFloat16(rounding: $0 * inverse * $1) }
    }
    return Tensor(
      Matrix(unchecked: values, rows: input.matrix.rows, columns: columns), like: input)
  }

  /// The gradients of RMSNorm, and of a residual around it.
  public func rmsNormBackward(
    _ input: BFloat16Tensor, weight: [Float], gradient: BFloat16Tensor,
    residual: BFloat16Tensor?, epsilon: Float, weightGradient: inout [Float]
  ) throws(BlockScaleError) -> BFloat16Tensor {
    try checkNorm(
      input, weight: weight, gradient: gradient, residual: residual, weightGradient)
    let (rows, columns) = (input.matrix.rows, input.matrix.columns)
    var values: [BFloat16] = []
    for row in 0..<rows {
      let range = row * columns..<(row + 1) * columns
      let x = input.matrix.values[range].map { Float($0) }
      let incoming = gradient.matrix.values[range].map { Float($0) }
      let inverse = inverseRootMeanSquare(x[...], epsilon)
      let mean =
        rowSum(columns) { x[$0] * inverse * incoming[$0] * weight[$0] } / Float(columns)
      for column in 0..<columns {
        let normalized = x[column] * inverse
        weightGradient[column] += incoming[column] * normalized
        let other = residual.map { Float($0.matrix.values[range.lowerBound + column]) } ?? 0
        values.append(
          BFloat16(
            rounding: inverse * (incoming[column] * weight[column] - normalized * mean) + other))
      }
    }
    return Tensor(Matrix(unchecked: values, rows: rows, columns: columns), like: input)
  }

  //MARK: Rotation

  /// Turns the pairs of each head by the angles of their positions.
  public func rotate(
    _ tensor: BFloat16Tensor, by table: RotaryTable, offset: Int, inverse: Bool
  ) throws(BlockScaleError) -> BFloat16Tensor {
    try table.check(tensor, offset: offset)
    var matrix = tensor.matrix
    let half = table.dimension / 2
    for row in 0..<matrix.rows {
      let position = offset + row % tensor.shape[1]
      for head in 0..<matrix.columns / table.dimension {
        for pair in 0..<half {
          let first = row * matrix.columns + head * table.dimension + pair
          let (a, b) = (Float(matrix.values[first]), Float(matrix.values[first + half]))
          let cosine = table.cosines[position * half + pair]
          let sine = table.sines[position * half + pair] * (inverse ? -1 : 1)
          matrix.values[first] = BFloat16(rounding: a * cosine - b * sine)
          matrix.values[first + half] = BFloat16(rounding: b * cosine + a * sine)
        }
      }
    }
    return Tensor(matrix, like: tensor)
  }

  //MARK: SwiGLU

  /// `silu(gate) · up`.
  public func swiGLUForward(
    gate: BFloat16Tensor, up: BFloat16Tensor
  ) throws(BlockScaleError) -> BFloat16Tensor {
    try up.check("up projection", hasShapeOf: gate, "gate")
    return combined(gate, up) { silu($0) * $1 }
  }

  /// The gradients of both factors of SwiGLU.
  public func swiGLUBackward(
    gate: BFloat16Tensor, up: BFloat16Tensor, gradient: BFloat16Tensor
  ) throws(BlockScaleError) -> (gate: BFloat16Tensor, up: BFloat16Tensor) {
    try up.check("up projection", hasShapeOf: gate, "gate")
    try gradient.check("gradient", hasShapeOf: gate, "gate")
    let gates = gate.matrix.values.indices.map { index in
      BFloat16(
        rounding: Float(gradient.matrix.values[index]) * Float(up.matrix.values[index])
          * siluDerivative(Float(gate.matrix.values[index])))
    }
    return (
      Tensor(
        Matrix(unchecked: gates, rows: gate.matrix.rows, columns: gate.matrix.columns),
        like: gate), combined(gate, gradient) { silu($0) * $1 }
    )
  }

  //MARK: Tokens

  /// The rows of a table that tokens name.
  public func embeddingForward(
    _ tokens: [Int32], table: Matrix<BFloat16>
  ) throws(BlockScaleError) -> Matrix<BFloat16> {
    try TokenChecks.check(tokens, table: table)
    return Matrix(
      unchecked: tokens.flatMap {
        table.values[Int($0) * table.columns..<(Int($0) + 1) * table.columns]
      }, rows: tokens.count, columns: table.columns)
  }

  /// Adds the gradient of each token's row to that of the table.
  public func embeddingBackward(
    _ tokens: [Int32], gradient: Matrix<BFloat16>, into table: inout Matrix<Float>
  ) throws(BlockScaleError) {
    try TokenChecks.check(tokens, gradient: gradient, into: table)
    for (row, token) in tokens.enumerated() {
      for column in 0..<table.columns {
        table.values[Int(token) * table.columns + column] += Float(gradient[row, column])
      }
    }
  }

  /// The cross-entropy of each row of logits with its target.
  public func crossEntropy(
    _ logits: consuming Matrix<Float>, targets: [Int32], gradientFactor: Float?
  ) throws(BlockScaleError) -> CrossEntropyOutput {
    let (rows, columns) = (logits.rows, logits.columns)
    try TokenChecks.check(targets, logits: rows, columns)
    var losses: [Float] = []
    var gradient: [BFloat16] = []
    for (row, target) in targets.enumerated() {
      let values = logits.values[row * columns..<(row + 1) * columns]
      let largest = values.reduce(-.infinity) { $1 > $0 || $1.isNaN ? $1 : $0 }
      let powers = values.map { Float.exp($0 - largest) }
      let sum = rowSum(columns) { powers[$0] }
      losses.append(Float.log(sum) + (largest - values[row * columns + Int(target)]))
      guard let gradientFactor else { continue }
      for (column, power) in powers.enumerated() {
        let wanted: Float = column == Int(target) ? 1 : 0
        gradient.append(BFloat16(rounding: (power / sum - wanted) * gradientFactor))
      }
    }
    return CrossEntropyOutput(
      losses: losses,
      gradient: gradientFactor.map { _ in
        Matrix(unchecked: gradient, rows: rows, columns: columns)
      })
  }

  /// The sum of the squares of values.
  public func sumOfSquares(_ values: [Float]) -> Double {
    values.reduce(0) { $0 + Double($1) * Double($1) }
  }
}

/// Checks the operands of RMSNorm's gradient.
package func checkNorm(
  _ input: BFloat16Tensor, weight: [Float], gradient: BFloat16Tensor, residual: BFloat16Tensor?,
  _ weightGradient: [Float]
) throws(BlockScaleError) {
  try input.check(parameter: weight, "weight")
  try input.check(parameter: weightGradient, "weight's gradient")
  try gradient.check("gradient", hasShapeOf: input, "input")
  if let residual { try residual.check("residual's gradient", hasShapeOf: input, "input") }
}

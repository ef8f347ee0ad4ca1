// SPDX-License-Identifier: Apache-2.0

import Minifloat
import RealModule

extension ReferenceBackend {
  /// Causal attention: softmax(q·kᵀ/√d)·v.
  public func attentionForward(
    query: BFloat16Tensor, key: BFloat16Tensor, value: BFloat16Tensor, heads: AttentionHeads
  ) throws(BlockScaleError) -> AttentionOutput {
    let extents = try AttentionExtents(query: query, key: key, value: value, heads: heads)
    var output = Matrix<BFloat16>.zeros(rows: query.matrix.rows, columns: query.matrix.columns)
    var logSums: [Float] = []
    for sequence in 0..<extents.batch {
      for head in 0..<heads.count {
        for place in 0..<extents.queries {
          let scores = AttentionScores(
            query.matrix, key.matrix, extents, heads, sequence: sequence, head: head, query: place)
          logSums.append(scores.logSum)
          for column in 0..<heads.dimension {
            var sum: Float = 0
            var total: Float = 0
            for (index, score) in scores.values.enumerated() {
              let probability = Float(BFloat16(Float.exp(score - scores.largest)))
              sum += probability * scores.value(value.matrix, index, column)
              total += probability
            }
            output.values[scores.row * output.columns + head * heads.dimension + column] =
              BFloat16(rounding: sum / total)
          }
        }
      }
    }
    return AttentionOutput(output: Tensor(output, like: query), logSums: logSums)
  }

  /// The gradients of attention.
  ///
  /// With P = exp(scores − logSum) and δ = Σ gradient · output: dV = Pᵀ·dO,
  /// dS = P · (dO·vᵀ − δ)/√d, dQ = dS·k, dK = dSᵀ·q, where P and dS are rounded to BF16.
  public func attentionBackward(
    query: BFloat16Tensor, key: BFloat16Tensor, value: BFloat16Tensor, heads: AttentionHeads,
    forward: AttentionOutput, gradient: BFloat16Tensor
  ) throws(BlockScaleError) -> AttentionGradients {
    let extents = try AttentionExtents(query: query, key: key, value: value, heads: heads)
    try extents.check(gradient: gradient, forward: forward, query: query, heads: heads)
    var queries = [Float](repeating: 0, count: query.matrix.values.count)
    var keys = [Float](repeating: 0, count: key.matrix.values.count)
    var values = keys
    var index = 0
    for sequence in 0..<extents.batch {
      for head in 0..<heads.count {
        for place in 0..<extents.queries {
          let scores = AttentionScores(
            query.matrix, key.matrix, extents, heads, sequence: sequence, head: head, query: place)
          let own = scores.row * query.matrix.columns + head * heads.dimension
          func incoming(_ column: Int) -> Float { Float(gradient.matrix.values[own + column]) }
          let mean = (0..<heads.dimension).reduce(Float(0)) {
            $0 + incoming($1) * Float(forward.output.matrix.values[own + $1])
          }
          for (place, score) in scores.values.enumerated() {
            let probability = Float.exp(score - forward.logSums[index])
            let product = (0..<heads.dimension).reduce(Float(0)) {
              $0 + incoming($1) * scores.value(value.matrix, place, $1)
            }
            let change = Float(
              BFloat16(rounding: probability * (product - mean) * heads.scale))
            let other = scores.offset(key.matrix, place)
            for column in 0..<heads.dimension {
              values[other + column] +=
                Float(BFloat16(rounding: probability)) * incoming(column)
              queries[own + column] += change * Float(key.matrix.values[other + column])
              keys[other + column] += change * Float(query.matrix.values[own + column])
            }
          }
          index += 1
        }
      }
    }
    func tensor(_ values: [Float], like other: BFloat16Tensor) -> BFloat16Tensor {
      Tensor(
        Matrix(
          unchecked: values.map { BFloat16(rounding: $0) }, rows: other.matrix.rows,
          columns: other.matrix.columns), like: other)
    }
    return AttentionGradients(
      query: tensor(queries, like: query), key: tensor(keys, like: key),
      value: tensor(values, like: value))
  }
}

/// The scores of one query of one head.
private struct AttentionScores {
  let extents: AttentionExtents
  let heads: AttentionHeads
  let sequence: Int
  let head: Int
  /// The query's row.
  let row: Int
  let values: [Float]
  let largest: Float

  init(
    _ query: Matrix<BFloat16>, _ key: Matrix<BFloat16>, _ extents: AttentionExtents,
    _ heads: AttentionHeads, sequence: Int, head: Int, query place: Int
  ) {
    self.extents = extents
    self.heads = heads
    self.sequence = sequence
    self.head = head
    let row = sequence * extents.queries + place
    self.row = row
    let own = row * query.columns + head * heads.dimension
    values = (0..<extents.visible(place)).map { index in
      let other =
        (sequence * extents.keys + index) * key.columns
        + head / heads.groupSize * heads.dimension
      let product = (0..<heads.dimension).reduce(Float(0)) {
        $0 + Float(query.values[own + $1]) * Float(key.values[other + $1])
      }
      return product * heads.scale
    }
    largest = values.reduce(-.infinity) { $1 > $0 || $1.isNaN ? $1 : $0 }
  }

  var logSum: Float {
    largest + Float.log(values.reduce(0) { $0 + Float.exp($1 - largest) })
  }

  /// Where a key, or a value, begins.
  func offset(_ matrix: Matrix<BFloat16>, _ index: Int) -> Int {
    (sequence * extents.keys + index) * matrix.columns + head / heads.groupSize * heads.dimension
  }

  func value(_ matrix: Matrix<BFloat16>, _ index: Int, _ column: Int) -> Float {
    Float(matrix.values[offset(matrix, index) + column])
  }
}

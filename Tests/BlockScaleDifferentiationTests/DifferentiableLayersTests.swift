// SPDX-License-Identifier: Apache-2.0

#if Differentiation && canImport(_Differentiation)
  import BlockScale
  import BlockScaleCPU
  import BlockScaleDifferentiation
  import BlockScaleLayers
  import Minifloat
  import RealModule
  import Testing
  import _BlockScaleTestSupport
  import _Differentiation

  @Suite struct DifferentiableLayersTests {
    static let backend = CPUBackend(threads: 1)

    static func tensor(_ shape: [Int], seed: UInt64, scale: Float = 1) throws
      -> DifferentiableTensor
    {
      let count = shape.reduce(1, *)
      let columns = shape[shape.count - 1]
      return DifferentiableTensor(
        try Tensor(
          Matrix(
            DifferentiableLinearTests.values(count, seed: seed).map {
              BFloat16(rounding: $0 * scale)
            }, rows: count / columns, columns: columns), shape: shape))
    }

    /// Gradients of a loss, as the weights of a sum, that BF16 holds exactly.
    static func weights(like shape: [Int], seed: UInt64) throws -> ([Float], BFloat16Tensor) {
      let tensor = try tensor(shape, seed: seed).tensor
      return (floats(tensor), tensor)
    }

    static func floats(_ tensor: BFloat16Tensor) -> [Float] {
      tensor.matrix.values.map { Float($0) }
    }

    static func doubles(_ tensor: DifferentiableTensor) -> [Double] {
      tensor.tensor.matrix.values.map { Double(Float($0)) }
    }

    /// Finite differences of a function in FP64.
    static func slopes(at values: [Double], _ function: ([Double]) -> Double) -> [Double] {
      let step = 1e-5
      return values.indices.map { index in
        var (above, below) = (values, values)
        above[index] += step
        below[index] -= step
        return (function(above) - function(below)) / (2 * step)
      }
    }

    /// A derivative against one in FP64, from which it differs by rounding to BF16 only.
    static func isClose(_ derivative: TensorTangent, _ expected: [Double]) -> Bool {
      derivative.values.count == expected.count
        && decibels(derivative.values.map { Double($0) }, against: expected) > 38
    }

    static func sum(_ values: [Double], _ weights: [Float]) -> Double {
      zip(values, weights).reduce(0) { $0 + $1.0 * Double($1.1) }
    }

    @Test func normalization() throws {
      let (x, scale) = try (
        Self.tensor([3, 16], seed: 1), DifferentiableLinearTests.values(16, seed: 2)
      )
      let norm = DifferentiableRMSNorm(weight: scale, on: Self.backend)
      let (weights, dy) = try Self.weights(like: [3, 16], seed: 3)
      let (weight, input) = gradient(at: norm, x) { $0($1).weightedSum(weights) }

      var expected = [Float](repeating: 0, count: 16)
      let dx = try Self.backend.rmsNormBackward(
        x.tensor, weight: scale, gradient: dy, residual: nil, epsilon: 1e-5,
        weightGradient: &expected)
      #expect(weight.values == expected && input.values == Self.floats(dx))

      func loss(_ x: [Double], _ scale: [Double]) -> Double {
        var y: [Double] = []
        for index in x.indices {
          let row = x[index / 16 * 16..<(index / 16 + 1) * 16]
          let mean = row.map { $0 * $0 }.reduce(0, +) / 16
          y.append(x[index] / (mean + 1e-5).squareRoot() * scale[index % 16])
        }
        return Self.sum(y, weights)
      }
      let (values, scales) = (Self.doubles(x), scale.map { Double($0) })
      #expect(Self.isClose(input, Self.slopes(at: values) { loss($0, scales) }))
      #expect(Self.isClose(weight, Self.slopes(at: scales) { loss(values, $0) }))
      var moved = norm
      moved.move(by: TensorTangent([Float](repeating: 1, count: 16)))
      #expect(moved.weight == scale.map { $0 + 1 })
    }

    @Test func swiGLU() throws {
      let (gate, up) = try (Self.tensor([4, 8], seed: 1), Self.tensor([4, 8], seed: 2))
      let (weights, dy) = try Self.weights(like: [4, 8], seed: 3)
      let operation = DifferentiableSwiGLU(on: Self.backend)
      let (first, second) = gradient(at: gate, up) {
        operation(gate: $0, up: $1).weightedSum(weights)
      }
      let expected = try Self.backend.swiGLUBackward(
        gate: gate.tensor, up: up.tensor, gradient: dy)
      #expect(first.values == Self.floats(expected.gate))
      #expect(second.values == Self.floats(expected.up))
      func loss(_ gate: [Double], _ up: [Double]) -> Double {
        Self.sum(zip(gate, up).map { $0 / (1 + Double.exp(-$0)) * $1 }, weights)
      }
      let (gates, ups) = (Self.doubles(gate), Self.doubles(up))
      #expect(Self.isClose(first, Self.slopes(at: gates) { loss($0, ups) }))
      #expect(Self.isClose(second, Self.slopes(at: ups) { loss(gates, $0) }))
    }

    @Test func swiGLUInFloat8() throws {
      // Rows of a whole group and a part of one.
      let shape = [3, 2, 24]
      let (gate, up) = try (Self.tensor(shape, seed: 1), Self.tensor(shape, seed: 2))
      let (weights, dy) = try Self.weights(like: shape, seed: 3)
      let operation = DifferentiableFloat8SwiGLU(on: Self.backend)
      let (first, second) = gradient(at: gate, up) {
        operation(gate: $0, up: $1).weightedSum(weights)
      }
      let groups = try [gate, up].map {
        try Self.backend.quantizeGroups(
          $0.tensor, as: Float8E4M3.self, groupSize: 16, recipe: .storedScale)
      }
      let expected = try Self.backend.swiGLUBackward(
        gate: groups[0], up: groups[1], gradient: dy, as: Float8E5M2.self,
        outputQuantizedTranspose: false, recipe: .storedScale)
      #expect(first.values == expected.gate.tensor.matrix.dequantized())
      #expect(second.values == expected.up.tensor.matrix.dequantized())
      func product(_ gate: [Double], _ up: [Double]) -> [Double] {
        zip(gate, up).map { $0 / (1 + Double.exp(-$0)) * $1 }
      }
      let (gates, ups) = (Self.doubles(gate), Self.doubles(up))
      let output = operation(gate: gate, up: up)
      #expect(output.tensor.shape == shape)
      #expect(decibels(Self.doubles(output), against: product(gates, ups)) > 25)
      // E5M2 has two bits behind its point.
      for (derivative, slopes) in [
        (first, Self.slopes(at: gates) { Self.sum(product($0, ups), weights) }),
        (second, Self.slopes(at: ups) { Self.sum(product(gates, $0), weights) }),
      ] {
        #expect(decibels(derivative.values.map { Double($0) }, against: slopes) > 20)
      }
    }

    @Test func rotation() throws {
      let table = try RotaryTable(dimension: 8, base: 100, positions: 5)
      let rotation = DifferentiableRotation(table, on: Self.backend)
      let x = try Self.tensor([2, 5, 16], seed: 1)
      let (weights, dy) = try Self.weights(like: [2, 5, 16], seed: 2)
      let derivative = gradient(at: x) { rotation($0).weightedSum(weights) }
      let expected = try Self.backend.rotate(dy, by: table, offset: 0, inverse: true)
      #expect(derivative.values == Self.floats(expected))
      func loss(_ x: [Double]) -> Double {
        var y: [Double] = []
        for index in x.indices {
          let (place, position) = (index % 8, index / 16 % 5)
          let frequency = Double.pow(100, -Double(place % 4) / 4)
          let angle = Double(position) * frequency
          let (cosine, sine) = (Double.cos(angle), Double.sin(angle))
          let partner = place < 4 ? -x[index + 4] : x[index - 4]
          y.append(x[index] * cosine + partner * sine)
        }
        return Self.sum(y, weights)
      }
      #expect(Self.isClose(derivative, Self.slopes(at: Self.doubles(x), loss)))
    }

    @Test func attention() throws {
      let heads = try AttentionHeads(count: 4, keyValueCount: 2, dimension: 8)
      let attention = DifferentiableAttention(heads, on: Self.backend)
      let query = try Self.tensor([1, 6, 32], seed: 1)
      let (key, value) = try (Self.tensor([1, 6, 16], seed: 2), Self.tensor([1, 6, 16], seed: 3))
      let (weights, dy) = try Self.weights(like: [1, 6, 32], seed: 4)
      let (dq, dk, dv) = gradient(at: query, key, value) {
        attention(query: $0, key: $1, value: $2).weightedSum(weights)
      }
      let forward = try Self.backend.attentionForward(
        query: query.tensor, key: key.tensor, value: value.tensor, heads: heads)
      let expected = try Self.backend.attentionBackward(
        query: query.tensor, key: key.tensor, value: value.tensor, heads: heads,
        forward: forward, gradient: dy)
      #expect(dq.values == Self.floats(expected.query))
      #expect(dk.values == Self.floats(expected.key))
      #expect(dv.values == Self.floats(expected.value))
      func loss(_ q: [Double], _ k: [Double], _ v: [Double]) -> Double {
        var y: [Double] = []
        for row in 0..<6 {
          for head in 0..<4 {
            let (own, shared) = (row * 32 + head * 8, head / 2 * 8)
            var powers: [Double] = []
            for other in 0...row {
              var score = 0.0
              for column in 0..<8 { score += q[own + column] * k[other * 16 + shared + column] }
              powers.append(Double.exp(score / 8.0.squareRoot()))
            }
            let total = powers.reduce(0, +)
            for column in 0..<8 {
              var mean = 0.0
              for other in 0...row { mean += powers[other] * v[other * 16 + shared + column] }
              y.append(mean / total)
            }
          }
        }
        return Self.sum(y, weights)
      }
      let (q, k, v) = (Self.doubles(query), Self.doubles(key), Self.doubles(value))
      #expect(Self.isClose(dq, Self.slopes(at: q) { loss($0, k, v) }))
      #expect(Self.isClose(dk, Self.slopes(at: k) { loss(q, $0, v) }))
      #expect(Self.isClose(dv, Self.slopes(at: v) { loss(q, k, $0) }))
    }

    @Test func embedding() throws {
      let table = try Matrix(DifferentiableLinearTests.values(40, seed: 1), rows: 10, columns: 4)
      let layer = DifferentiableEmbedding(table: table, on: Self.backend)
      let tokens: [[Int32]] = [[3, 9, 3], [0, 3, 1]]
      let (weights, _) = try Self.weights(like: [2, 3, 4], seed: 2)
      let (loss, derivative) = valueWithGradient(at: layer) { $0(tokens).weightedSum(weights) }
      var expected = [Float](repeating: 0, count: 40)
      for (place, token) in tokens.joined().enumerated() {
        for column in 0..<4 { expected[Int(token) * 4 + column] += weights[place * 4 + column] }
      }
      #expect(derivative.values == expected)
      let output = layer(tokens).tensor
      #expect(output.shape == [2, 3, 4])
      #expect(output.matrix[1, 2] == BFloat16(rounding: table[9, 2]))
      // The loss is linear in the table.
      var moved = layer
      moved.move(by: TensorTangent(expected))
      let slope = expected.reduce(0) { $0 + $1 * $1 }
      #expect(abs(moved(tokens).weightedSum(weights) - loss - slope) < 0.02 * slope)
    }

    @Test func crossEntropy() throws {
      let criterion = DifferentiableCrossEntropy(on: Self.backend)
      let logits = try Self.tensor([4, 12], seed: 1, scale: 2)
      let targets: [Int32] = [3, 0, 11, 3]
      let (loss, derivative) = valueWithGradient(at: logits) { criterion($0, targets: targets) }
      let expected = try Self.backend.crossEntropy(
        Matrix(Self.floats(logits.tensor), rows: 4, columns: 12), targets: targets,
        gradientFactor: 0.25)
      let gradient = expected.gradient.map { $0.values.map { Float($0) } }
      #expect(derivative.values == gradient)
      func mean(_ x: [Double]) -> Double {
        var sum = 0.0
        for row in 0..<4 {
          let scores = x[row * 12..<(row + 1) * 12]
          let total = scores.map { Double.exp($0) }.reduce(0, +)
          sum += Double.log(total) - scores[row * 12 + Int(targets[row])]
        }
        return sum / 4
      }
      #expect(abs(Double(loss) - mean(Self.doubles(logits))) < 1e-5)
      #expect(Self.isClose(derivative, Self.slopes(at: Self.doubles(logits), mean)))
      let twice = DifferentiableLayersTests.twice(criterion, logits, targets)
      #expect(twice.values == derivative.values.map { $0 * 2 })
    }

    private static func twice(
      _ criterion: DifferentiableCrossEntropy<CPUBackend>, _ logits: DifferentiableTensor,
      _ targets: [Int32]
    ) -> TensorTangent {
      _Differentiation.gradient(at: logits) { 2 * criterion($0, targets: targets) }
    }

    @Test func aWholeLayerChains() throws {
      let backend = Self.backend
      func linear(_ outputs: Int, _ inputs: Int, _ seed: UInt64) throws
        -> DifferentiableLinear<BFloat16Linear<CPUBackend>>
      {
        DifferentiableLinear(
          try BFloat16Linear(
            weight: Matrix(
              DifferentiableLinearTests.values(outputs * inputs, seed: seed).map { $0 / 4 },
              rows: outputs, columns: inputs), on: backend))
      }
      let embedding = DifferentiableEmbedding(
        table: try Matrix(DifferentiableLinearTests.values(320, seed: 1), rows: 20, columns: 16),
        on: backend)
      let norm = DifferentiableRMSNorm(weight: [Float](repeating: 1, count: 16), on: backend)
      let (q, k, v, o) = try (
        linear(16, 16, 2), linear(8, 16, 3), linear(8, 16, 4), linear(16, 16, 5)
      )
      let (gate, up, down) = try (linear(32, 16, 6), linear(32, 16, 7), linear(16, 32, 8))
      let head = try linear(20, 16, 9)
      let rotation = DifferentiableRotation(
        try RotaryTable(dimension: 8, base: 100, positions: 4), on: backend)
      let attention = DifferentiableAttention(
        try AttentionHeads(count: 2, keyValueCount: 1, dimension: 8), on: backend)
      let (add, swiGLU) = (DifferentiableSum(on: backend), DifferentiableSwiGLU(on: backend))
      let criterion = DifferentiableCrossEntropy(on: backend)
      let tokens: [[Int32]] = [[1, 2, 3, 4], [5, 6, 7, 8]]
      let targets: [Int32] = [2, 3, 4, 5, 6, 7, 8, 9]

      @differentiable(reverse)
      func loss(
        _ embedding: DifferentiableEmbedding<CPUBackend>,
        _ up: DifferentiableLinear<BFloat16Linear<CPUBackend>>
      ) -> Float {
        let x = embedding(tokens)
        let n = norm(x)
        let mixed = attention(query: rotation(q(n)), key: rotation(k(n)), value: v(n))
        let y = add(x, o(mixed))
        let m = norm(y)
        let z = add(y, down(swiGLU(gate: gate(m), up: up(m))))
        return criterion(head(norm(z)), targets: targets)
      }

      let (value, (table, weight)) = valueWithGradient(at: embedding, up, of: loss)
      #expect(value > 0.5 && table.values.count == 320 && weight.weight.values.count == 512)
      // A step down the gradient lowers the loss by what the gradient says.
      let square: Float = (table.values + weight.weight.values).map { $0 * $0 }.reduce(0, +)
      let rate = 0.2 / square
      var (moved, other) = (embedding, up)
      moved.move(by: TensorTangent(table.values.map { -rate * $0 }))
      other.move(
        by: .init(weight: TensorTangent(weight.weight.values.map { -rate * $0 }), bias: .zero))
      let fall = value - loss(moved, other)
      #expect(abs(fall - 0.2) < 0.06, "\(fall)")
    }

    @Test func whatIsNotFiniteIsNotHidden() throws {
      let x = try Self.tensor([2, 4], seed: 1)
      var values = x.tensor.matrix.values
      values[2] = BFloat16(rounding: .nan)
      let broken = DifferentiableTensor(
        BFloat16Tensor(try Matrix(values, rows: 2, columns: 4)))
      let norm = DifferentiableRMSNorm(weight: [1, 1, 1, 1], on: Self.backend)
      let criterion = DifferentiableCrossEntropy(on: Self.backend)
      let (loss, derivative) = valueWithGradient(at: broken) {
        criterion(norm($0), targets: [0, 1])
      }
      #expect(loss.isNaN && derivative.values[0].isNaN)
      let operation = DifferentiableSwiGLU(on: Self.backend)
      let gates = gradient(at: broken) {
        operation(gate: $0, up: x).weightedSum([Float](repeating: 1, count: 8))
      }
      #expect(gates.values[2].isNaN && !gates.values[1].isNaN)
    }
  }
#endif

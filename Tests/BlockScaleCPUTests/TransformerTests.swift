// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import Minifloat
import RealModule
import Testing
import _BlockScaleTestSupport

/// What lies between products, on every tier and in the reference, against FP64.
@Suite struct TransformerTests {
  static let backends: [any TransformerBackend] =
    [ReferenceBackend()]
    + CPUTier.available.map {
      // Available, since it says so.
      try! CPUBackend(tier: $0, threads: 2)
    }

  static func tensor(_ shape: [Int], seed: UInt64, deviation: Float = 1) throws -> BFloat16Tensor {
    var generator = SplitMix(seed: seed)
    let rows = shape.dropLast().reduce(1, *)
    return try Tensor(
      Matrix(
        (0..<rows * shape.last!).map { _ in BFloat16(generator.normal() * deviation) }, rows: rows,
        columns: shape.last!), shape: shape)
  }

  func doubles(_ tensor: BFloat16Tensor) -> [Double] { tensor.matrix.values.map { Double($0) } }

  //MARK: Attention

  struct AttentionCase: Sendable, CustomStringConvertible {
    var batch = 1
    var queries: Int
    var keys: Int
    var heads: Int
    var keyValueHeads: Int
    var dimension: Int
    var description: String {
      "\(batch)x\(queries)/\(keys), \(heads)/\(keyValueHeads) heads of \(dimension)"
    }
  }

  static let attentionCases = [
    AttentionCase(queries: 1, keys: 1, heads: 1, keyValueHeads: 1, dimension: 1),
    AttentionCase(queries: 5, keys: 5, heads: 3, keyValueHeads: 1, dimension: 7),
    AttentionCase(queries: 2, keys: 40, heads: 4, keyValueHeads: 2, dimension: 24),
    AttentionCase(batch: 2, queries: 70, keys: 70, heads: 6, keyValueHeads: 2, dimension: 33),
    AttentionCase(queries: 33, keys: 50, heads: 2, keyValueHeads: 2, dimension: 64),
    AttentionCase(batch: 2, queries: 200, keys: 200, heads: 3, keyValueHeads: 1, dimension: 48),
  ]

  @Test(arguments: attentionCases)
  func attention(_ shape: AttentionCase) throws {
    let heads = try AttentionHeads(
      count: shape.heads, keyValueCount: shape.keyValueHeads, dimension: shape.dimension)
    let width = shape.heads * shape.dimension
    let keyWidth = shape.keyValueHeads * shape.dimension
    let q = try Self.tensor([shape.batch, shape.queries, width], seed: 1)
    let k = try Self.tensor([shape.batch, shape.keys, keyWidth], seed: 2)
    let v = try Self.tensor([shape.batch, shape.keys, keyWidth], seed: 3)
    let dy = try Self.tensor([shape.batch, shape.queries, width], seed: 4)
    let reference = AttentionReference(
      queries: shape.queries, keys: shape.keys, heads: shape.heads,
      keyValueHeads: shape.keyValueHeads, dimension: shape.dimension)
    func part(_ tensor: BFloat16Tensor, _ sequence: Int) -> [Double] {
      let count = tensor.matrix.values.count / shape.batch
      return Array(doubles(tensor)[sequence * count..<(sequence + 1) * count])
    }
    var expected: (y: [Double], q: [Double], k: [Double], v: [Double]) = ([], [], [], [])
    for sequence in 0..<shape.batch {
      let parts = (part(q, sequence), part(k, sequence), part(v, sequence), part(dy, sequence))
      expected.y += reference.output(parts.0, parts.1, parts.2)
      let gradients = reference.gradients(parts.0, parts.1, parts.2, parts.3)
      expected.q += gradients.q
      expected.k += gradients.k
      expected.v += gradients.v
    }
    for backend in Self.backends {
      let forward = try backend.attentionForward(query: q, key: k, value: v, heads: heads)
      let gradients = try backend.attentionBackward(
        query: q, key: k, value: v, heads: heads, forward: forward, gradient: dy)
      #expect(forward.output.shape == q.shape && gradients.key.shape == k.shape)
      // Values, probabilities and results have eight bits each.
      #expect(decibels(doubles(forward.output), against: expected.y) > 44, "\(backend)")
      #expect(decibels(doubles(gradients.value), against: expected.v) > 44, "\(backend)")
      guard shape.keys > 1 else {
        // One key has all the probability, and its score no gradient but what rounding leaves.
        #expect(doubles(gradients.query).allSatisfy { abs($0) < 0.05 })
        continue
      }
      #expect(decibels(doubles(gradients.query), against: expected.q) > 38, "\(backend)")
      #expect(decibels(doubles(gradients.key), against: expected.k) > 38, "\(backend)")
    }
  }

  @Test func theFormulasOfAttentionAreDerivatives() {
    let reference = AttentionReference(
      queries: 4, keys: 6, heads: 4, keyValueHeads: 2, dimension: 3)
    var generator = SplitMix(seed: 5)
    func values(_ count: Int) -> [Double] { (0..<count).map { _ in Double(generator.normal()) } }
    let operands = [values(48), values(36), values(36)]
    let dy = values(48)
    let gradients = reference.gradients(operands[0], operands[1], operands[2], dy)
    func loss(_ o: [[Double]]) -> Double {
      zip(reference.output(o[0], o[1], o[2]), dy).reduce(0) { $0 + $1.0 * $1.1 }
    }
    for (operand, gradient) in [gradients.q, gradients.k, gradients.v].enumerated() {
      for index in gradient.indices {
        var (up, down) = (operands, operands)
        up[operand][index] += 1e-5
        down[operand][index] -= 1e-5
        #expect(abs((loss(up) - loss(down)) / 2e-5 - gradient[index]) < 1e-6)
      }
    }
  }

  @Test func threadsDoNotChangeAttention() throws {
    let heads = try AttentionHeads(count: 4, keyValueCount: 2, dimension: 40)
    let q = try Self.tensor([2, 90, 160], seed: 1)
    let k = try Self.tensor([2, 90, 80], seed: 2)
    let results = try [1, 2, 5].map { threads in
      let cpu = CPUBackend(threads: threads)
      let forward = try cpu.attentionForward(query: q, key: k, value: k, heads: heads)
      let gradients = try cpu.attentionBackward(
        query: q, key: k, value: k, heads: heads, forward: forward, gradient: q)
      return [forward.output, gradients.query, gradients.key, gradients.value]
    }
    #expect(results[0] == results[1] && results[0] == results[2])
  }

  @Test func attentionKeepsNaN() throws {
    let heads = try AttentionHeads(count: 1, keyValueCount: 1, dimension: 8)
    var values = try Self.tensor([1, 40, 8], seed: 1).matrix.values
    values[20 * 8] = .nan
    let q = try BFloat16Tensor(Matrix(values, rows: 40, columns: 8), shape: [1, 40, 8])
    let other = try Self.tensor([1, 40, 8], seed: 2)
    for backend in Self.backends {
      let y = try backend.attentionForward(query: other, key: q, value: other, heads: heads).output
      #expect(y.matrix[19, 0].isFinite && y.matrix[20, 0].isNaN && y.matrix[39, 7].isNaN)
    }
  }

  //MARK: Rows

  @Test(arguments: [[1, 1], [3, 17], [2, 5, 48], [130, 33]])
  func rmsNorm(_ shape: [Int]) throws {
    let x = try Self.tensor(shape, seed: 1)
    let dy = try Self.tensor(shape, seed: 2)
    let residual = try Self.tensor(shape, seed: 3)
    var generator = SplitMix(seed: 4)
    let columns = shape.last!
    let weight = (0..<columns).map { _ in 1 + generator.normal() / 4 }
    let rows = x.matrix.rows
    func forward(_ x: [Double]) -> [Double] {
      (0..<rows).flatMap { row in
        let values = x[row * columns..<(row + 1) * columns]
        let root = (values.reduce(0) { $0 + $1 * $1 } / Double(columns) + 1e-5).squareRoot()
        return zip(values, weight).map { $0 / root * Double($1) }
      }
    }
    let gradients = dy.matrix.values.map { Double($0) }
    func loss(_ x: [Double]) -> Double {
      zip(forward(x), gradients).reduce(0) { $0 + $1.0 * $1.1 }
    }
    let values = doubles(x)
    let slopes = values.indices.map { index in
      var (up, down) = (values, values)
      up[index] += 1e-4
      down[index] -= 1e-4
      // Only the row of the value changes.
      return (loss(up) - loss(down)) / 2e-4 + Double(residual.matrix.values[index])
    }
    var weightSlopes = [Double](repeating: 0, count: columns)
    for (index, y) in forward(values).enumerated() {
      weightSlopes[index % columns] += y / Double(weight[index % columns]) * gradients[index]
    }
    for backend in Self.backends {
      let y = try backend.rmsNormForward(x, weight: weight, epsilon: 1e-5)
      var weightGradient = [Float](repeating: 1, count: columns)
      let dx = try backend.rmsNormBackward(
        x, weight: weight, gradient: dy, residual: residual, epsilon: 1e-5,
        weightGradient: &weightGradient)
      #expect(y.shape == shape && dx.shape == shape)
      #expect(decibels(doubles(y), against: forward(values)) > 46)
      #expect(decibels(doubles(dx), against: slopes) > 46)
      #expect(decibels(weightGradient.map { Double($0) - 1 }, against: weightSlopes) > 100)
    }
  }

  @Test func rotation() throws {
    let scaling = RotaryScaling(
      factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalPositions: 64)
    for dimension in [2, 22, 64] {
      let table = try RotaryTable(
        dimension: dimension, base: 500, scaling: scaling, positions: 90)
      let x = try Self.tensor([2, 7, 3 * dimension], seed: 1)
      let half = dimension / 2
      let expected = doubles(x).indices.map { index in
        let place = index % dimension
        let position = Double(80 + index / (3 * dimension) % 7)
        var frequency = Double.pow(500, -2 * Double(place % half) / Double(dimension))
        // transformers' formula, with wavelengths.
        let wavelength = 2 * Double.pi / frequency
        if wavelength > 64 {
          frequency /= 8
        } else if wavelength > 16 {
          let smooth = (64 / wavelength - 1) / 3
          frequency = (1 - smooth) * frequency / 8 + smooth * frequency
        }
        let angle = position * frequency
        let other = doubles(x)[place < half ? index + half : index - half]
        return doubles(x)[index] * Double.cos(angle)
          + (place < half ? -1 : 1) * other * Double.sin(angle)
      }
      for backend in Self.backends {
        let y = try backend.rotate(x, by: table, offset: 80, inverse: false)
        #expect(decibels(doubles(y), against: expected) > 46)
        // Turning back is the transpose, and the inverse.
        let back = try backend.rotate(y, by: table, offset: 80, inverse: true)
        #expect(decibels(doubles(back), against: doubles(x)) > 44)
      }
    }
  }

  @Test(arguments: [[1, 1], [3, 17], [200, 130]])
  func swiGLUAndSums(_ shape: [Int]) throws {
    let gate = try Self.tensor(shape, seed: 1, deviation: 3)
    let up = try Self.tensor(shape, seed: 2)
    let dy = try Self.tensor(shape, seed: 3)
    func silu(_ x: Double) -> Double { x / (1 + Double.exp(-x)) }
    let (g, u, d) = (doubles(gate), doubles(up), doubles(dy))
    let forward = zip(g, u).map { silu($0) * $1 }
    let gateSlopes = g.indices.map {
      d[$0] * u[$0] * (silu(g[$0] + 1e-5) - silu(g[$0] - 1e-5)) / 2e-5
    }
    let upSlopes = zip(g, d).map { silu($0) * $1 }
    for backend in Self.backends {
      let y = try backend.swiGLUForward(gate: gate, up: up)
      let gradients = try backend.swiGLUBackward(gate: gate, up: up, gradient: dy)
      #expect(decibels(doubles(y), against: forward) > 46)
      #expect(decibels(doubles(gradients.gate), against: gateSlopes) > 46)
      #expect(decibels(doubles(gradients.up), against: upSlopes) > 46)
      let sum = try backend.add(gate, up)
      #expect(sum == (try ReferenceBackend().add(gate, up)))
      let wide = Matrix(
        unchecked: g.map { Float($0) * 1.01 }, rows: gate.matrix.rows, columns: shape.last!)
      #expect(backend.rounded(wide) == ReferenceBackend().rounded(wide))
    }
  }

  //MARK: Tokens

  @Test(arguments: [(1, 1), (7, 5), (90, 300)])
  func crossEntropy(_ rows: Int, _ columns: Int) throws {
    var generator = SplitMix(seed: 1)
    let logits = (0..<rows * columns).map { _ in generator.normal() * 4 }
    let targets = (0..<rows).map { Int32(($0 * 7) % columns) }
    var losses: [Double] = []
    var slopes: [Double] = []
    for row in 0..<rows {
      let values = logits[row * columns..<(row + 1) * columns].map { Double($0) }
      let sum = values.reduce(0) { $0 + Double.exp($1) }
      losses.append(Double.log(sum) - values[Int(targets[row])])
      slopes += values.indices.map {
        (Double.exp(values[$0]) / sum - ($0 == Int(targets[row]) ? 1 : 0)) / 8
      }
    }
    for backend in Self.backends {
      let result = try backend.crossEntropy(
        Matrix(logits, rows: rows, columns: columns), targets: targets, gradientFactor: 0.125)
      let gradient = try #require(result.gradient)
      for (loss, expected) in zip(result.losses, losses) {
        #expect(abs(Double(loss) - expected) < 1e-5 * (1 + expected))
      }
      if columns > 1 {
        #expect(decibels(gradient.values.map { Double($0) }, against: slopes) > 46)
      }
      let plain = try backend.crossEntropy(
        Matrix(logits, rows: rows, columns: columns), targets: targets, gradientFactor: nil)
      #expect(plain.gradient == nil && plain.losses == result.losses)
      #expect(throws: BlockScaleError.self) {
        try backend.crossEntropy(
          Matrix(logits, rows: rows, columns: columns), targets: targets.map { $0 + 300 },
          gradientFactor: nil)
      }
    }
  }

  @Test func extremeLogits() throws {
    for backend in Self.backends {
      let large = try backend.crossEntropy(
        Matrix([3e38, -3e38, 0], rows: 1, columns: 3), targets: [0], gradientFactor: 1)
      #expect(large.losses == [0] && large.gradient?.values.allSatisfy { Float($0) == 0 } == true)
      let poisoned = try backend.crossEntropy(
        Matrix([0, .nan, 0], rows: 1, columns: 3), targets: [0], gradientFactor: 1)
      #expect(poisoned.losses[0].isNaN)
    }
  }

  @Test func embedding() throws {
    let table = try Self.tensor([11, 70], seed: 1).matrix
    let tokens: [Int32] = [3, 0, 3, 10, 3, 5, 5]
    let gradient = try Self.tensor([7, 70], seed: 2).matrix
    var expected = [Float](repeating: 0.5, count: 770)
    for (row, token) in tokens.enumerated() {
      for column in 0..<70 { expected[Int(token) * 70 + column] += Float(gradient[row, column]) }
    }
    for backend in Self.backends {
      let rows = try backend.embeddingForward(tokens, table: table)
      #expect(rows.rows == 7 && rows[2, 69] == table[3, 69] && rows[3, 0] == table[10, 0])
      var sums = try Matrix([Float](repeating: 0.5, count: 770), rows: 11, columns: 70)
      try backend.embeddingBackward(tokens, gradient: gradient, into: &sums)
      #expect(sums.values == expected)
      #expect(throws: BlockScaleError.self) { try backend.embeddingForward([11], table: table) }
    }
  }

  //MARK: The optimizer

  @Test func sumsOfSquares() throws {
    var generator = SplitMix(seed: 1)
    let values = (0..<200_003).map { _ in generator.normal() }
    let expected = values.reduce(0.0) { $0 + Double($1) * Double($1) }
    for backend in Self.backends {
      #expect(abs(backend.sumOfSquares(values) - expected) < 1e-5 * expected)
      #expect(backend.sumOfSquares([]) == 0)
    }
  }

  @Test func adamWHasTheBytesOfTheReference() throws {
    var generator = SplitMix(seed: 1)
    let start = (0..<40_001).map { _ in generator.normal() }
    func steps<First: Equatable, Second: Equatable>(
      _ backend: some TransformerBackend, _ state: AdamWState<First, Second>
    ) throws -> ([Float], AdamWState<First, Second>) {
      var (parameters, state) = (start, state)
      var generator = SplitMix(seed: 2)
      for _ in 0..<3 {
        let gradients = start.map { _ in generator.normal() / 100 }
        try backend.adamWStep(
          parameters: &parameters, gradients: gradients, state: &state, AdamW(),
          gradientFactor: 0.37)
      }
      return (parameters, state)
    }
    for backend in Self.backends {
      let halves = try steps(backend, BFloat16AdamWState(count: start.count))
      let expected = try steps(ReferenceBackend(), BFloat16AdamWState(count: start.count))
      #expect(halves.0 == expected.0 && halves.1 == expected.1, "\(backend)")
      let wide = try steps(backend, Float32AdamWState(count: start.count))
      let wideExpected = try steps(ReferenceBackend(), Float32AdamWState(count: start.count))
      #expect(wide.0 == wideExpected.0 && wide.1 == wideExpected.1, "\(backend)")
      let expanded = try steps(backend, Float8AdamWState(count: start.count))
      let expandedExpected = try steps(ReferenceBackend(), Float8AdamWState(count: start.count))
      #expect(
        expanded.0 == expandedExpected.0 && expanded.1 == expandedExpected.1, "\(backend)")
    }
  }
}

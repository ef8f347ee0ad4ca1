// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import BlockScaleLayers
import Minifloat
import Testing
import RealModule
import _BlockScaleTestSupport

/// Layers against the same formulas in Float64.
@Suite struct LinearLayerTests {
  /// Rows, inputs, outputs.
  static let shapes = [(1, 1, 1), (5, 33, 17), (96, 256, 160), (200, 300, 130)]

  static let configurations: [Float8BlockwiseLinear<CPUBackend>.Configuration] = [
    .init(), .init(recipe: .deepseekUE8M0), .init(recipe: .torchao, gradientFormat: .e5m2),
    .init(recipe: .transformerEnginePowerOfTwo, gradientFormat: .e5m2),
  ]

  @Test(arguments: CPUTier.available)
  func float8ReachesTheFloors(_ tier: CPUTier) throws {
    for configuration in Self.configurations {
      for (rows, inputs, outputs) in Self.shapes {
        let problem = try Problem(rows: rows, inputs: inputs, outputs: outputs, seed: 1)
        let layer = try Float8BlockwiseLinear(
          weight: problem.weight, bias: problem.bias, configuration: configuration,
          on: CPUBackend(tier: tier))
        let sqnr = try problem.sqnr(layer)
        // A few values say little about a mean.
        guard rows * outputs > 1000 else { continue }
        // Rounding random values to E4M3 leaves 32.5 dB (a step of 1/8 in significands of 1 to 2),
        // two such operands 29.5; E5M2 has one bit less.
        let isE5M2 = configuration.gradientFormat == .e5m2
        #expect(sqnr.output >= 28, "\(tier) \(configuration): \(sqnr)")
        #expect(sqnr.inputGradient >= (isE5M2 ? 24 : 28), "\(tier) \(configuration): \(sqnr)")
        #expect(sqnr.weightGradient >= (isE5M2 ? 24 : 28), "\(tier) \(configuration): \(sqnr)")
        #expect(sqnr.biasGradient >= 100)
      }
    }
  }

  @Test(arguments: CPUTier.available)
  func heavyTailedGradientsLeaveThirtyDecibels(_ tier: CPUTier) throws {
    // A normal number over the square of a uniform one, of which the mean does not even exist: as in
    // training, few values hold most of a block's energy, and the largest is exact.
    for seed: UInt64 in 1...4 {
      for (rows, inputs, outputs) in [(200, 300, 130), (384, 129, 257)] {
        var generator = SplitMix(seed: seed)
        func normal(_ count: Int) -> [Float] { (0..<count).map { _ in generator.normal() } }
        func heavy() -> Float {
          let uniform = Float.random(in: 0x1p-8..<1, using: &generator)
          return 1e-4 * generator.normal() / (uniform * uniform)
        }
        let weight = try Matrix(normal(outputs * inputs), rows: outputs, columns: inputs)
        let x = try Matrix(
          normal(rows * inputs).map { BFloat16($0) }, rows: rows, columns: inputs)
        let gradient = (0..<rows * outputs).map { index -> BFloat16 in
          // With blocks of zeros.
          index / 128 % 7 == 3 ? BFloat16(0 as Float) : BFloat16(heavy())
        }
        let dy = try Matrix(gradient, rows: rows, columns: outputs)
        let problem = Problem(weight: weight, bias: normal(outputs), x: x, dy: dy)
        let sqnr = try problem.sqnr(
          Float8BlockwiseLinear(
            weight: problem.weight, bias: problem.bias, on: CPUBackend(tier: tier)))
        #expect(
          sqnr.output >= 28 && sqnr.inputGradient >= 30 && sqnr.weightGradient >= 30,
          "\(tier) \(seed) \(rows)x\(inputs)x\(outputs): \(sqnr)")
      }
    }
  }

  @Test(arguments: CPUTier.available)
  func oneRoundedOperandLeavesThirtyDecibels(_ tier: CPUTier) throws {
    // What the gradient alone loses: the other operand is one that E4M3 holds exactly.
    let problem = try Problem(rows: 200, inputs: 300, outputs: 130, seed: 8)
    let exact = Problem(
      problem,
      weight: try Matrix(
        problem.weight.values.map { $0 < 0 ? -0.5 : 0.5 }, rows: 130, columns: 300),
      x: try Matrix(
        problem.x.values.map { BFloat16(Float($0) < 0 ? -2.0 as Float : 2.0 as Float) }, rows: 200,
        columns: 300))
    let layer = try Float8BlockwiseLinear(
      weight: exact.weight, bias: exact.bias, on: CPUBackend(tier: tier))
    let sqnr = try exact.sqnr(layer)
    #expect(sqnr.inputGradient >= 30 && sqnr.weightGradient >= 30, "\(sqnr)")
    // And torchao's own test: a gradient of ones.
    let ones = Problem(
      problem, weight: problem.weight, x: problem.x,
      dy: try Matrix(
        [BFloat16](repeating: BFloat16(1 as Float), count: 200 * 130), rows: 200, columns: 130))
    let other = try ones.sqnr(
      Float8BlockwiseLinear(weight: ones.weight, bias: ones.bias, on: CPUBackend(tier: tier)))
    #expect(other.inputGradient >= 30 && other.weightGradient >= 30, "\(other)")
  }

  @Test(arguments: CPUTier.available)
  func bfloat16AndNVFP4(_ tier: CPUTier) throws {
    let cpu = try CPUBackend(tier: tier)
    for (rows, inputs, outputs) in Self.shapes {
      let problem = try Problem(rows: rows, inputs: inputs, outputs: outputs, seed: 2)
      let plain = try BFloat16Linear(weight: problem.weight, bias: problem.bias, on: cpu)
      let sqnr = try problem.sqnr(plain)
      #expect(sqnr.output >= 45 && sqnr.inputGradient >= 45 && sqnr.weightGradient >= 90, "\(sqnr)")
      // Against its own weight an NVFP4 layer is as exact as a BF16 one.
      let nvfp4 = try NVFP4Linear(weight: problem.weight, bias: problem.bias, on: cpu)
      let rounded = try NVFP4Linear(
        quantizedWeight: nvfp4.quantizedWeight, bias: problem.bias, on: cpu)
      let own = Problem(problem, weight: rounded.weight)
      let ownSQNR = try own.sqnr(nvfp4)
      #expect(
        ownSQNR.output >= 45 && ownSQNR.inputGradient >= 45 && ownSQNR.weightGradient >= 90,
        "\(ownSQNR)")
    }
  }

  @Test func theReferenceAgrees() throws {
    let problem = try Problem(rows: 40, inputs: 130, outputs: 50, seed: 3)
    let x = try BFloat16Tensor(problem.x, shape: [2, 20, 130])
    let dy = try BFloat16Tensor(problem.dy, shape: [2, 20, 50])
    func run(_ layer: some LinearLayer) throws -> (BFloat16Tensor, BFloat16Tensor, LinearGradients)
    {
      var gradients = LinearGradients(for: layer)
      let (y, dx) = try step(layer, x, dy, &gradients)
      return (y, dx, gradients)
    }
    for tier in CPUTier.available {
      let cpu = try run(
        Float8BlockwiseLinear(
          weight: problem.weight, bias: problem.bias, on: CPUBackend(tier: tier)))
      let reference = try run(
        Float8BlockwiseLinear(weight: problem.weight, bias: problem.bias, on: ReferenceBackend()))
      #expect(cpu.0.shape == [2, 20, 50])
      #expect(cpu.1.shape == [2, 20, 130])
      // One rounding to BF16 apart at most.
      #expect(
        relativeError(
          cpu.0.matrix.values.map(Double.init), reference.0.matrix.values.map(Double.init)) < 1e-3)
      #expect(
        relativeError(
          cpu.1.matrix.values.map(Double.init), reference.1.matrix.values.map(Double.init)) < 1e-3)
      #expect(
        relativeError(
          cpu.2.weight.values.map(Double.init), reference.2.weight.values.map(Double.init)) < 1e-5)
    }
  }

  @Test func gradientsAreThoseOfFiniteDifferences() throws {
    // The loss Σ y·dy is linear in x and in the weight, so differences need not be small; in FP8 the
    // derivative is that of the layer without rounding.
    let problem = try Problem(rows: 12, inputs: 20, outputs: 9, seed: 4)
    let layer = try BFloat16Linear(
      weight: problem.weight, bias: problem.bias, on: ReferenceBackend())
    var gradients = LinearGradients(for: layer)
    let (_, dx) = try step(layer, BFloat16Tensor(problem.x), BFloat16Tensor(problem.dy), &gradients)
    func loss(_ layer: BFloat16Linear<ReferenceBackend>, _ x: Matrix<BFloat16>) -> Double {
      // Exact in Float64, from the values that the layer multiplies.
      var total = 0.0
      for row in 0..<12 {
        for output in 0..<9 {
          var y = Double(layer.bias![output])
          for input in 0..<20 {
            y += Double(x[row, input]) * Double(BFloat16(layer.weight[output, input]))
          }
          total += y * Double(problem.dy[row, output])
        }
      }
      return total
    }
    for (row, column) in [(0, 0), (3, 7), (11, 19)] {
      var values = problem.x.values
      values[row * 20 + column] = BFloat16(Float(values[row * 20 + column]) + 1)
      let other = try Matrix(values, rows: 12, columns: 20)
      let step = Double(other[row, column]) - Double(problem.x[row, column])
      let slope = (loss(layer, other) - loss(layer, problem.x)) / step
      #expect(abs(slope - Double(dx.matrix[row, column])) <= abs(slope) * 0.01 + 0.01)
    }
    for (output, input) in [(0, 0), (8, 19)] {
      var values = problem.weight.values
      values[output * 20 + input] += 1
      let other = try Matrix(values, rows: 9, columns: 20)
      var moved = layer
      try moved.update(weight: other, bias: layer.bias)
      let step =
        Double(BFloat16(other[output, input])) - Double(BFloat16(problem.weight[output, input]))
      let slope = (loss(moved, problem.x) - loss(layer, problem.x)) / step
      #expect(abs(slope - Double(gradients.weight[output, input])) <= abs(slope) * 1e-4 + 1e-4)
    }
  }

  @Test func theReadmesExample() throws {
    let problem = try Problem(rows: 20, inputs: 64, outputs: 48, seed: 9)
    let (weight, x) = (problem.weight, problem.x)
    let outputGradient = BFloat16Tensor(problem.dy)

    let cpu = CPUBackend()
    let w = try cpu.quantized(weight, as: NVFP4Matrix.self, recipe: .modelopt)
    let y = try cpu.multiply(Operand(x), cpu.pack(Operand(w)), as: BFloat16.self)

    let layer = try Float8BlockwiseLinear(weight: weight, on: cpu)
    var gradients = LinearGradients(for: layer)
    let (output, saved) = try layer.forward(BFloat16Tensor(x))
    let inputGradient = try layer.backward(outputGradient, saved: saved, into: &gradients)

    #expect(y.rows == 20 && y.columns == 48)
    #expect(output.shape == [20, 48] && inputGradient.shape == [20, 64])
    #expect(gradients.weight.values.contains { $0 != 0 })
  }

  @Test func gradientsAccumulateInFP32() throws {
    let problem = try Problem(rows: 70, inputs: 64, outputs: 48, seed: 5)
    let layer = try Float8BlockwiseLinear(
      weight: problem.weight, bias: problem.bias, on: CPUBackend())
    var once = LinearGradients(for: layer)
    var twice = LinearGradients(for: layer)
    _ = try step(layer, BFloat16Tensor(problem.x), BFloat16Tensor(problem.dy), &once)
    for _ in 0..<2 {
      _ = try step(layer, BFloat16Tensor(problem.x), BFloat16Tensor(problem.dy), &twice)
    }
    for index in once.weight.values.indices {
      #expect(
        abs(twice.weight.values[index] - 2 * once.weight.values[index]) <= 1e-5
          * abs(once.weight.values[index]) + 1e-6)
    }
  }

  @Test func theInputIsKeptInFP8Alone() throws {
    let problem = try Problem(rows: 256, inputs: 512, outputs: 128, seed: 6)
    let layer = try Float8BlockwiseLinear(weight: problem.weight, on: CPUBackend())
    let saved = try layer.forward(BFloat16Tensor(problem.x)).saved
    // A byte for each value and a scale for each 128.
    #expect(saved.byteCount == 256 * 512 + 4 * 2 * 512)
  }

  @Test func zerosGiveZeros() throws {
    let layer = try Float8BlockwiseLinear(
      weight: Matrix<Float>.zeros(rows: 40, columns: 130), on: CPUBackend())
    var gradients = LinearGradients(for: layer)
    let x = BFloat16Tensor(Matrix<BFloat16>.zeros(rows: 33, columns: 130))
    let dy = BFloat16Tensor(Matrix<BFloat16>.zeros(rows: 33, columns: 40))
    let (y, dx) = try step(layer, x, dy, &gradients)
    #expect(y.matrix.values.allSatisfy { Float($0) == 0 })
    #expect(dx.matrix.values.allSatisfy { Float($0) == 0 })
    #expect(gradients.weight.values.allSatisfy { $0 == 0 })
  }

  @Test func whatDoesNotFitIsNamed() throws {
    let problem = try Problem(rows: 8, inputs: 40, outputs: 24, seed: 7)
    let layer = try Float8BlockwiseLinear(
      weight: problem.weight, bias: problem.bias, on: CPUBackend())
    func expectError(_ text: String, _ body: () throws -> Void) {
      #expect {
        try body()
      } throws: {
        "\($0)".contains(text)
      }
    }
    var gradients = LinearGradients(for: layer)
    let x = BFloat16Tensor(problem.x)
    let saved = try layer.forward(x).saved
    expectError("input of this layer has 40 columns, not 24") {
      _ = try layer.forward(BFloat16Tensor(problem.dy))
    }
    expectError("gradient of this output is 8x24, not 8x40") {
      _ = try layer.backward(x, saved: saved, into: &gradients)
    }
    var values = problem.x.values
    values[3 * 40 + 2] = .nan
    let broken = try BFloat16Tensor(Matrix(values, rows: 8, columns: 40))
    expectError("The input holds a NaN or an infinity in row 3") { _ = try layer.forward(broken) }
    let plain = try BFloat16Linear(weight: problem.weight, bias: problem.bias, on: CPUBackend())
    expectError("The input holds a NaN or an infinity") { _ = try plain.forward(broken) }
    expectError("The weight holds a NaN") {
      _ = try NVFP4Linear(
        weight: Matrix([Float](repeating: .infinity, count: 4), rows: 2, columns: 2),
        on: CPUBackend())
    }
    expectError("bias has 3 values for 24 outputs") {
      _ = try BFloat16Linear(weight: problem.weight, bias: [1, 2, 3], on: CPUBackend())
    }
    var other = layer
    expectError("weight of this layer is 24x40, not 8x40") {
      try other.update(weight: Matrix<Float>.zeros(rows: 8, columns: 40), bias: problem.bias)
    }
    expectError("This layer has a bias, and none is given") {
      try other.update(weight: problem.weight, bias: nil)
    }
    expectError("does not define") {
      _ = try Float8BlockwiseLinear(
        weight: problem.weight, configuration: .init(recipe: .coat), on: CPUBackend())
    }
    // Its scales have the precision of what is quantized.
    expectError("does not define FP8 blocks of BF16 values with FP32 scales") {
      _ = try Float8BlockwiseLinear(
        weight: problem.weight, configuration: .init(recipe: .compressedTensors), on: CPUBackend())
    }
  }

  @Test(arguments: [Recipe.torchao, .deepseek, .transformerEngine, .transformerEnginePowerOfTwo])
  func valuesThatAreNotFiniteAreRefused(_ recipe: Recipe) throws {
    let problem = try Problem(rows: 8, inputs: 40, outputs: 24, seed: 7)
    for gradientFormat in Float8BlockwiseLinear<CPUBackend>.GradientFormat.allCases {
      let layer = try Float8BlockwiseLinear(
        weight: problem.weight, bias: problem.bias,
        configuration: .init(recipe: recipe, gradientFormat: gradientFormat), on: CPUBackend())
      let saved = try layer.forward(BFloat16Tensor(problem.x)).saved
      for value in [BFloat16(Float.nan), BFloat16(Float.infinity), BFloat16(-Float.infinity)] {
        var x = problem.x.values
        x[3 * 40 + 2] = value
        let input = try BFloat16Tensor(Matrix(x, rows: 8, columns: 40))
        #expect {
          try layer.forward(input)
        } throws: {
          ($0 as? BlockScaleError)?.code == .nonFinite
        }
        var dy = problem.dy.values
        dy[24] = value
        let gradient = try BFloat16Tensor(Matrix(dy, rows: 8, columns: 24))
        var gradients = LinearGradients(for: layer)
        #expect {
          try layer.backward(gradient, saved: saved, into: &gradients)
        } throws: {
          ($0 as? BlockScaleError)?.code == .nonFinite
        }
      }
    }
  }
}

@Suite struct PreparedLinearTests {
  @Test(arguments: [
    LinearPrecision.bfloat16, .float8Blocks, .float8Tensor, .nvfp4,
    .float8Blocks(Float8BlockwiseConfiguration(recipe: .deepseek)),
    .float8Blocks(Float8BlockwiseConfiguration(recipe: .transformerEngine)),
  ])
  func weightsThatAreNotFiniteAreRefused(_ precision: LinearPrecision) throws {
    let problem = try Problem(rows: 8, inputs: 48, outputs: 32, seed: 7)
    for value in [Float.nan, .infinity, -.infinity] {
      var weight = problem.weight
      weight.values[5 * 48 + 7] = value
      for trains in [false, true] {
        #expect {
          try PreparedLinear(
            weight: weight, precision: precision, trains: trains, on: CPUBackend())
        } throws: {
          ($0 as? BlockScaleError)?.code == .nonFinite
        }
      }
    }
  }
}

/// One forward and backward step.
func step<Layer: LinearLayer>(
  _ layer: Layer, _ x: BFloat16Tensor, _ dy: BFloat16Tensor, _ gradients: inout LinearGradients
) throws -> (y: BFloat16Tensor, dx: BFloat16Tensor) {
  let (y, saved) = try layer.forward(x)
  return (y, try layer.backward(dy, saved: saved, into: &gradients))
}

/// ‖a − b‖ / ‖b‖.
func relativeError(_ a: [Double], _ b: [Double]) -> Double {
  let error = zip(a, b).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
  let signal = b.reduce(0) { $0 + $1 * $1 }
  return signal == 0 ? error : (error / signal).squareRoot()
}

/// Data of one layer, with heavy tails and blocks of zeros.
struct Problem {
  let weight: Matrix<Float>
  let bias: [Float]
  let x: Matrix<BFloat16>
  let dy: Matrix<BFloat16>

  init(weight: Matrix<Float>, bias: [Float], x: Matrix<BFloat16>, dy: Matrix<BFloat16>) {
    (self.weight, self.bias, self.x, self.dy) = (weight, bias, x, dy)
  }

  init(rows: Int, inputs: Int, outputs: Int, seed: UInt64) throws {
    var generator = SplitMix(seed: seed)
    func heavy() -> Float {
      // A normal number over a uniform one: rare values are many times the usual.
      generator.normal() / (0.1 + Float.random(in: 0..<1, using: &generator))
    }
    func values(_ count: Int, zeroesRows columns: Int = 0) -> [Float] {
      (0..<count).map { columns > 0 && $0 / columns == 2 ? 0 : heavy() }
    }
    weight = try Matrix(
      values(outputs * inputs).map { $0 * 0.05 }, rows: outputs, columns: inputs)
    bias = values(outputs)
    x = try Matrix(
      values(rows * inputs, zeroesRows: inputs).map { BFloat16($0) }, rows: rows, columns: inputs)
    dy = try Matrix(
      values(rows * outputs, zeroesRows: outputs).map { BFloat16($0 * 1e-3) }, rows: rows,
      columns: outputs)
  }

  init(
    _ other: Problem, weight: Matrix<Float>, x: Matrix<BFloat16>? = nil,
    dy: Matrix<BFloat16>? = nil
  ) {
    self.init(weight: weight, bias: other.bias, x: x ?? other.x, dy: dy ?? other.dy)
  }

  /// How far a layer's results lie from Float64's, in decibels.
  func sqnr(
    _ layer: some LinearLayer
  ) throws -> (output: Double, inputGradient: Double, weightGradient: Double, biasGradient: Double)
  {
    var gradients = LinearGradients(for: layer)
    let (y, dx) = try step(layer, BFloat16Tensor(x), BFloat16Tensor(dy), &gradients)
    let (rows, inputs, outputs) = (x.rows, weight.columns, weight.rows)
    let w = weight.values.map(Double.init)
    let xs = x.values.map(Double.init)
    let dys = dy.values.map(Double.init)
    var output = [Double](repeating: 0, count: rows * outputs)
    var inputGradient = [Double](repeating: 0, count: rows * inputs)
    var weightGradient = [Double](repeating: 0, count: outputs * inputs)
    var biasGradient = [Double](repeating: 0, count: outputs)
    for row in 0..<rows {
      for n in 0..<outputs {
        var sum = Double(bias[n])
        let gradient = dys[row * outputs + n]
        for k in 0..<inputs {
          sum += xs[row * inputs + k] * w[n * inputs + k]
          inputGradient[row * inputs + k] += gradient * w[n * inputs + k]
          weightGradient[n * inputs + k] += gradient * xs[row * inputs + k]
        }
        output[row * outputs + n] = sum
        biasGradient[n] += gradient
      }
    }
    func decibels(_ a: [Double], _ b: [Double]) -> Double {
      let error = relativeError(a, b)
      return error == 0 ? .infinity : -20 * Double.log10(error)
    }
    return (
      decibels(y.matrix.values.map(Double.init), output),
      decibels(dx.matrix.values.map(Double.init), inputGradient),
      decibels(gradients.weight.values.map(Double.init), weightGradient),
      decibels(gradients.bias!.map(Double.init), biasGradient)
    )
  }
}

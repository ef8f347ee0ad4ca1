// SPDX-License-Identifier: Apache-2.0

@testable import BlockScale
import Minifloat
import RealModule
import Testing
import _BlockScaleTestSupport

/// The operations of the activation flow against their formulas in Float64, and their backward forms
/// against difference quotients of the forward formulas.
@Suite struct ActivationFormulaTests {
  private let reference = ReferenceBackend()

  /// Half a unit of BF16, and the rounding of a few FP32 operations.
  static let bfloatError = 0x1.01p-8

  /// Checks BF16 values.
  private func expect(
    _ tensor: BFloat16Tensor, near exact: [Double], noise: Double = 1e-6,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let scale = exact.map(\.magnitude).max()!
    for (value, exact) in zip(tensor.matrix.values, exact) {
      let error = (Double(value) - exact).magnitude
      #expect(
        error <= exact.magnitude * Self.bfloatError + scale * noise, sourceLocation: sourceLocation)
    }
  }

  /// Checks codes under one scale, and their transpose.
  private func expect<Element>(
    _ result: PerTensorActivation<Element>, near exact: [Double],
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let matrix = result.tensor.matrix
    let relative = Element.elementFormat == .e4m3 ? 0x1p-4 : 0x1p-3
    let least = Double(Element.leastNonzeroMagnitude) * Double(result.scale)
    for (value, exact) in zip(matrix.dequantized(), exact) {
      let error = (Double(value) - exact).magnitude
      #expect(
        error <= exact.magnitude * (relative + 0x1.2p-8) + least,
        sourceLocation: sourceLocation)
    }
    // The largest value uses the format's range.
    let largest = Double(matrix.dequantized().map(\.magnitude).max()!)
    #expect(
      largest >= exact.map(\.magnitude).max()! * (1 - relative), sourceLocation: sourceLocation)
    #expect(result.transposed?.codes == matrix.transposed().codes, sourceLocation: sourceLocation)
    #expect(matrix.blocking == .tensor, sourceLocation: sourceLocation)
  }

  private func doubles<Element>(_ tensor: Float8Tensor<Element>) -> [Double] {
    tensor.matrix.dequantized().map { Double($0) }
  }

  private func doubles(_ tensor: BFloat16Tensor) -> [Double] {
    tensor.matrix.values.map { Double($0) }
  }

  @Test(arguments: ActivationSamples.shapes)
  func additions(shape: [Int]) throws {
    let samples = ActivationSamples(shape)
    let (first, second) = (try samples.bfloats(1), try samples.bfloats(2, deviation: 3))
    let exact = zip(doubles(first), doubles(second)).map { $0 + $1 }
    let forward = try reference.addForward(first, second)
    expect(forward.sum, near: exact)
    #expect(forward.sum.shape == shape && forward.quantized.shape == shape)
    #expect(forward.quantized.matrix.blocking == Blocking(rows: 1, columns: 16))
    // Codes are rounded from FP32, once.
    let single: Float8Tensor<Float8E4M3> = try reference.quantizeGroups(
      Tensor(
        Matrix(
          zip(first.matrix.values, second.matrix.values).map { Float($0) + Float($1) },
          rows: samples.rows, columns: samples.columns), shape: shape))
    #expect(forward.quantized == single)

    let residual: Float8Tensor<Float8E4M3> = try samples.codes(3, groupSize: 32)
    let stream = try reference.addForward(residual: residual, second, as: Float8E4M3.self)
    expect(stream.sum, near: zip(doubles(residual), doubles(second)).map { $0 + $1 })
    #expect(stream.quantized.matrix.blocking.columns == 32)

    let backward = try reference.addBackward(first, second, outputQuantizedTranspose: true)
    expect(backward.sum, near: exact)
    try expect(backward.quantized, near: exact)
    #expect(backward.quantized.scale == largestScale(backward.groupScales.matrix.values))
  }

  @Test(arguments: ActivationSamples.shapes)
  func multiplications(shape: [Int]) throws {
    let samples = ActivationSamples(shape)
    let first = try samples.codes(1, as: Float8E4M3.self)
    let second = try samples.codes(2, as: Float8E5M2.self)
    let gradient = try samples.bfloats(3, deviation: 0.01)
    try expect(
      reference.multiplyForward(first, second, as: Float8E5M2.self),
      near: zip(doubles(first), doubles(second)).map { $0 * $1 })
    let exactFirst = zip(doubles(gradient), doubles(second)).map { $0 * $1 }
    let exactSecond = zip(doubles(gradient), doubles(first)).map { $0 * $1 }
    let wide = try reference.multiplyBackward(
      first, second, gradient: gradient, as: Float8E4M3.self)
    expect(wide.first, near: exactFirst)
    expect(wide.second.values, near: exactSecond)
    let narrow = try reference.multiplyBackward(
      first, second, gradient: gradient, as: Float8E5M2.self, outputQuantizedTranspose: true)
    #expect(narrow.first == wide.first)
    try expect(narrow.second, near: exactSecond)
    #expect(
      try reference.multiplyBackward(
        first, second, gradient: gradient, as: Float8E4M3.self, outputQuantizedTranspose: false
      ).second.transposed == nil)
  }

  /// Accuracy of the scalar functions, and their ends.
  @Test func functions() {
    for index in -4000...4000 {
      let x = Float(index) / 40
      let exact = Double(x)
      let sigma = 1 / (1 + Double.exp(-exact))
      // Zero where σ would be subnormal.
      #expect((Double(sigmoid(x)) - sigma).magnitude <= sigma * 0x1p-22 + 0x1p-126)
      #expect(
        (Double(silu(x)) - exact * sigma).magnitude
          <= (exact * sigma).magnitude * 0x1p-22 + 88 * 0x1p-126)
      #expect((Double(siluDerivative(x)) - Self.slope(Self.exactSiLU, exact)).magnitude < 1e-6)
      #expect((Double(gelu(x)) - Self.exactGELU(exact)).magnitude < 1e-7 * max(1, exact.magnitude))
      #expect((Double(geluDerivative(x)) - Self.slope(Self.exactGELU, exact)).magnitude < 2e-6)
    }
    for x in [Float(1e4), 1e30, .greatestFiniteMagnitude] {
      #expect(silu(x) == x && silu(-x) == 0 && gelu(x) == x && gelu(-x) == 0)
      #expect(siluDerivative(x) == 1 && siluDerivative(-x) == 0)
      #expect(geluDerivative(x) == 1 && geluDerivative(-x).magnitude < 1e-21)
    }
  }

  /// No sum lies so close to 2^126 that a reciprocal off by a unit could end on the other side.
  ///
  /// Kernels leave it to the instruction which σ is zero.
  @Test func sigmaIsZeroWhereItWouldBeSubnormal() {
    let limit: Float = 0x1p126
    let wrong = (Float(86).bitPattern...Float(88.7).bitPattern).filter { bits in
      let x = Float(bitPattern: bits)
      let sum = 1 + exponential(x)
      let distance = Int(sum.bitPattern) - Int(limit.bitPattern)
      return distance.magnitude <= 4 || (sigmoid(-x) == 0) != (sum > limit)
    }
    #expect(wrong.isEmpty)
    #expect(sigmoid(-.infinity) == 0 && sigmoid(.infinity) == 1 && sigmoid(.nan).isNaN)
  }

  /// Over its range, in units in the last place.
  @Test func exponentialIsWithinAUnit() {
    for index in -87_300...88_700 {
      let x = Float(index) / 1000
      let exact = Double.exp(Double(x))
      let unit = Double(Float(exact).ulp)
      #expect((Double(exponential(x)) - exact).magnitude <= unit, "e^\(x)")
    }
  }

  /// Against the C library's in FP64, over all binades, and both sides against each other.
  @Test func normalDistributionIsWithinItsError() {
    for bits in stride(from: UInt32(0), through: Float(8).bitPattern, by: 4099) {
      let x = Float(bitPattern: bits)
      let exact = Double.erfc(-Double(x) * 0.5.squareRoot()) / 2
      let density = Double.exp(-Double(x) * Double(x) / 2) / (2 * Double.pi).squareRoot()
      let slope = exact + Double(x) * density
      #expect((Double(normalDistribution(x)) - exact).magnitude <= 1e-7, "Φ(\(x))")
      #expect((Double(normalDistribution(-x)) - (1 - exact)).magnitude <= 1e-7, "Φ(−\(x))")
      #expect((Double(geluDerivative(x)) - slope).magnitude <= 1.2e-7, "slope at \(x)")
      #expect((Double(geluDerivative(-x)) - (1 - slope)).magnitude <= 1.2e-7, "slope at −\(x)")
    }
    let limit = NormalTailSeries.limit
    for x in [limit, limit.nextDown, .infinity] {
      #expect(normalDistribution(x) == 1 && normalDistribution(-x) == 0)
      #expect(geluDerivative(x) == 1 && geluDerivative(-x).magnitude < 1e-21)
    }
    #expect(normalDistribution(.nan).isNaN && gelu(.nan).isNaN && geluDerivative(.nan).isNaN)
    #expect(gelu(.infinity) == .infinity && gelu(-.infinity).isNaN)
  }

  private static func exactSiLU(_ x: Double) -> Double { x / (1 + Double.exp(-x)) }
  private static func exactGELU(_ x: Double) -> Double {
    x * (1 + Double.erf(x / 2.0.squareRoot())) / 2
  }

  /// The difference quotient of a function.
  private static func slope(_ function: (Double) -> Double, _ x: Double) -> Double {
    let step = 1e-5
    return (function(x + step) - function(x - step)) / (2 * step)
  }

  @Test(arguments: ActivationSamples.shapes)
  func activations(shape: [Int]) throws {
    let samples = ActivationSamples(shape)
    let input = try samples.codes(1, as: Float8E4M3.self)
    let gradient = try samples.bfloats(2)
    let x = doubles(input)
    let silu: Float8Tensor<Float8E4M3> = try reference.siluForward(input)
    let single: Float8Tensor<Float8E4M3> = try reference.quantizeGroups(
      Tensor(
        Matrix(
          x.map { Float(Self.exactSiLU($0)) }, rows: samples.rows, columns: samples.columns),
        shape: shape))
    // The exact function rounds to another code only next to a tie.
    let different = zip(silu.matrix.codes, single.matrix.codes).count { $0 != $1 }
    #expect(different <= silu.matrix.codes.count / 500)

    let siluGradient = zip(x, doubles(gradient)).map { $1 * Self.slope(Self.exactSiLU, $0) }
    expect(
      try reference.siluBackward(input, gradient: gradient, as: Float8E5M2.self).values,
      near: siluGradient)
    try expect(
      reference.siluBackward(
        input, gradient: gradient, as: Float8E5M2.self, outputQuantizedTranspose: true),
      near: siluGradient)

    try expect(
      reference.geluForward(input, as: Float8E4M3.self), near: x.map { Self.exactGELU($0) })
    try expect(
      reference.geluBackward(
        input, gradient: gradient, as: Float8E5M2.self, outputQuantizedTranspose: true),
      near: zip(x, doubles(gradient)).map { $1 * Self.slope(Self.exactGELU, $0) })
  }

  @Test(arguments: ActivationSamples.shapes)
  func swiGLU(shape: [Int]) throws {
    let samples = ActivationSamples(shape)
    let gate = try samples.codes(1, as: Float8E4M3.self)
    let up = try samples.codes(2, as: Float8E4M3.self)
    let gradient = try samples.bfloats(3)
    // The product sees the SiLU after its rounding to FP8.
    let silu: Float8Tensor<Float8E4M3> = try reference.siluForward(gate)
    try expect(
      reference.swiGLUForward(gate: gate, up: up, as: Float8E4M3.self),
      near: zip(doubles(silu), doubles(up)).map { $0 * $1 })
    let result = try reference.swiGLUBackward(
      gate: gate, up: up, gradient: gradient, as: Float8E5M2.self)
    try expect(result.up, near: zip(doubles(silu), doubles(gradient)).map { $0 * $1 })
    try expect(
      result.gate,
      near: doubles(gate).indices.map {
        doubles(gradient)[$0] * doubles(up)[$0] * Self.slope(Self.exactSiLU, doubles(gate)[$0])
      })
  }

  /// The gradient of a row function by difference quotients of `Σ gradient · f(x)`.
  private func gradient(
    _ row: [Double], _ incoming: [Double], _ function: ([Double]) -> [Double]
  ) -> [Double] {
    row.indices.map { index in
      let step = 1e-5
      var (above, below) = (row, row)
      above[index] += step
      below[index] -= step
      let difference = zip(function(above), function(below)).map { $0 - $1 }
      return zip(difference, incoming).reduce(0) { $0 + $1.0 * $1.1 } / (2 * step)
    }
  }

  private func rows(_ values: [Double], _ samples: ActivationSamples) -> [[Double]] {
    stride(from: 0, to: values.count, by: samples.columns).map {
      Array(values[$0..<$0 + samples.columns])
    }
  }

  @Test(arguments: ActivationSamples.shapes)
  func rmsNorm(shape: [Int]) throws {
    let samples = ActivationSamples(shape)
    let input = try samples.codes(1, as: Float8E4M3.self)
    let incoming = try samples.bfloats(2)
    let weight = samples.parameter(3, around: 1)
    func normalized(_ row: [Double]) -> [Double] {
      let square = row.reduce(0) { $0 + $1 * $1 } / Double(row.count)
      return row.map { $0 / (square + 1e-2).squareRoot() }
    }
    func norm(_ row: [Double]) -> [Double] {
      zip(normalized(row), weight).map { $0 * Double($1) }
    }
    let inputRows = rows(doubles(input), samples)
    try expect(
      reference.rmsNormForward(input, weight: weight, epsilon: 1e-2, as: Float8E4M3.self),
      near: inputRows.flatMap(norm))
    let result = try reference.rmsNormBackward(
      input, weight: weight, gradient: incoming, epsilon: 1e-2)
    let incomingRows = rows(doubles(incoming), samples)
    expect(
      result.input,
      near: zip(inputRows, incomingRows).flatMap { gradient($0, $1, norm) }, noise: 1e-4)
    let exactWeight = (0..<samples.columns).map { column in
      zip(inputRows, incomingRows).reduce(0) { $0 + normalized($1.0)[column] * $1.1[column] }
    }
    for (value, exact) in zip(try #require(result.weight), exactWeight) {
      #expect((Double(value) - exact).magnitude < 1e-4)
    }
    #expect(result.bias == nil)
  }

  @Test(arguments: ActivationSamples.shapes, [false, true])
  func layerNorm(shape: [Int], hasParameters: Bool) throws {
    let samples = ActivationSamples(shape)
    let input = try samples.codes(1, as: Float8E4M3.self)
    let incoming = try samples.bfloats(2)
    let weight = hasParameters ? samples.parameter(3, around: 1) : nil
    let bias = hasParameters ? samples.parameter(4, around: 0.5) : nil
    func normalized(_ row: [Double]) -> [Double] {
      let mean = row.reduce(0, +) / Double(row.count)
      let variance = row.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(row.count)
      return row.map { ($0 - mean) / (variance + 1e-2).squareRoot() }
    }
    func norm(_ row: [Double]) -> [Double] {
      normalized(row).enumerated().map { column, value in
        value * Double(weight?[column] ?? 1) + Double(bias?[column] ?? 0)
      }
    }
    let inputRows = rows(doubles(input), samples)
    try expect(
      reference.layerNormForward(
        input, weight: weight, bias: bias, epsilon: 1e-2, as: Float8E4M3.self),
      near: inputRows.flatMap(norm))
    let result = try reference.layerNormBackward(
      input, weight: weight, gradient: incoming, epsilon: 1e-2)
    let incomingRows = rows(doubles(incoming), samples)
    let exact = zip(inputRows, incomingRows).flatMap { gradient($0, $1, norm) }
    // One column has no deviation and no gradient; both sides are zero.
    if samples.columns > 1 { expect(result.input, near: exact, noise: 1e-4) }
    guard hasParameters else {
      #expect(result.weight == nil && result.bias == nil)
      return
    }
    let (weights, biases) = (try #require(result.weight), try #require(result.bias))
    for column in 0..<samples.columns {
      let exactWeight = zip(inputRows, incomingRows).reduce(0) {
        $0 + normalized($1.0)[column] * $1.1[column]
      }
      let exactBias = incomingRows.reduce(0) { $0 + $1[column] }
      #expect((Double(weights[column]) - exactWeight).magnitude < 1e-4)
      #expect((Double(biases[column]) - exactBias).magnitude < 1e-4)
    }
  }
}

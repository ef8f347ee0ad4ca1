// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import Testing
import _BlockScaleTestSupport

/// What holds for quantization whatever the numerics.
@Suite struct RecipeLawTests {
  /// The larger of two values of a block never decodes to less.
  @Test(arguments: Recipe.allCases, TestData.allCases)
  func monotonic(_ recipe: Recipe, _ data: TestData) throws {
    let values = data.values(4 * 128, seed: 31, as: .float32)
    func check<E: BlockElement, S: BlockScaleValue>(_ type: BlockScaledMatrix<E, S>.Type) throws {
      let blocking = Blocking(rows: 1, columns: 32)
      guard
        recipe.rule(
          element: E.elementFormat, scale: S.scaleFormat, source: .float32, tensorMaximum: 1,
          perTensor: false) != nil
      else { return }
      let (matrix, _) = try type.quantized(
        values, rows: 4, columns: 128, recipe: recipe, blocking: blocking)
      let decoded = matrix.dequantized()
      for block in stride(from: 0, to: values.count, by: 32) {
        let order = (block..<block + 32).sorted { values[$0] < values[$1] }
        for (lower, upper) in zip(order, order.dropFirst()) {
          #expect(decoded[lower] <= decoded[upper], "\(type) \(values[lower]) \(values[upper])")
        }
      }
    }
    try check(NVFP4Matrix.self)
    try check(MXFP4Matrix.self)
    try check(MXFP8Matrix.self)
    try check(Float8Matrix.self)
    try check(BlockScaledMatrix<Float8E5M2, BFloat16>.self)
  }

  /// What has been rounded once is not rounded again.
  ///
  /// The MXFP8 of compressed-tensors is left out.
  ///
  /// It doubles the scale of a maximum of 448, which it also rounds to, and drops a bit of
  /// subnormals.
  @Test(arguments: [
    Recipe.ocp, .rceil, .ceil, .even, .torchao, .modelopt, .mlx, .ggml, .compressedTensors,
    .deepseekUE8M0, .mlxMetal,
  ])
  func quantizingAgainKeepsMX(_ recipe: Recipe) throws {
    let values = TestData.heavyTailed.values(16 * 128, seed: 32, as: .float32)
    func check<E: BlockElement>(_ type: BlockScaledMatrix<E, Float8E8M0>.Type) throws {
      let (first, error) = try type.quantized(values, rows: 16, columns: 128, recipe: recipe)
      let (second, again) = try type.quantized(
        first.dequantized(), rows: 16, columns: 128, recipe: recipe)
      #expect(error.errorPower > 0)
      #expect(again.errorPower == 0 && second.dequantized() == first.dequantized())
    }
    try check(MXFP4Matrix.self)
    if recipe.supports(.mxfp8), recipe != .compressedTensors { try check(MXFP8Matrix.self) }
  }

  @Test func quantizingAgainKeepsNVFP4() throws {
    let values = TestData.normal.values(16 * 128, seed: 33, as: .float32)
    let maximum = values.map(\.magnitude).max()!
    let (first, _) = try NVFP4Matrix.quantized(values, rows: 16, columns: 128, recipe: .modelopt)
    // The same tensor scale, as the maximum itself may have been rounded.
    let (second, again) = try NVFP4Matrix.quantized(
      first.dequantized(), rows: 16, columns: 128, recipe: .modelopt, sharedMaximum: maximum)
    #expect(second.scales == first.scales && second.tensorScale == first.tensorScale)
    // The codes may lose the sign of a zero.
    #expect(second.dequantized() == first.dequantized())
    #expect(again.errorPower == 0)
  }

  //MARK: Scale search

  static let searchable: [Recipe] = Recipe.allCases.filter {
    $0.rule(for: .nvfp4, source: .float32, tensorMaximum: 1)?.factor != nil
  }

  private func squaredErrors(_ values: [Float], _ matrix: NVFP4Matrix) -> [Double] {
    let decoded = matrix.dequantized()
    return stride(from: 0, to: values.count, by: 16).map { block in
      (block..<block + 16).reduce(0) {
        let difference = Double(values[$1]) - Double(decoded[$1])
        return $0 + difference * difference
      }
    }
  }

  @Test(arguments: searchable, TestData.allCases)
  func searchNeverLoses(_ recipe: Recipe, _ data: TestData) throws {
    let values = data.values(64 * 128, seed: 34, as: .float32)
    let (plain, _) = try NVFP4Matrix.quantized(values, rows: 64, columns: 128, recipe: recipe)
    let (searched, error) = try NVFP4Matrix.quantized(
      values, rows: 64, columns: 128, recipe: recipe, searchesScales: true)
    #expect(plain.tensorScale == searched.tensorScale)
    let before = squaredErrors(values, plain)
    let after = squaredErrors(values, searched)
    // Errors are compared in FP32 while searching, so ties may fall either way.
    let worse = zip(before, after).count { $1 > $0 * (1 + 1e-5) }
    #expect(worse == 0)
    #expect(error.nonFiniteCount == 0)
  }

  @Test(arguments: [Recipe.modelopt, .torchao, .transformerEngine, .compressedTensors])
  func searchLowersTheErrorOfNormalValues(_ recipe: Recipe) throws {
    var generator = SplitMix(seed: 35)
    let values = (0..<256 * 256).map { _ in generator.normal() * 0.02 }
    let (_, plain) = try NVFP4Matrix.quantized(values, rows: 256, columns: 256, recipe: recipe)
    let (_, searched) = try NVFP4Matrix.quantized(
      values, rows: 256, columns: 256, recipe: recipe, searchesScales: true)
    let share = 1 - searched.errorPower / plain.errorPower
    print("\(recipe): a search of scales lowers the squared error by \(share)")
    #expect(share > 0.2)
    #expect(searched.sqnr > plain.sqnr + 1)
  }

  //MARK: 4/6

  /// The alternative lowers what it is chosen by, in every block; the paper's gain is of this order.
  @Test(arguments: [Recipe.fourOverSix, .transformerEngineFourOverSix], TestData.allCases)
  func alternativesNeverLose(_ recipe: Recipe, _ data: TestData) throws {
    let values = data.values(64 * 128, seed: 37, as: .float32)
    let maximum = values.map(\.magnitude).max()!
    var rule = try #require(
      recipe.rule(for: .nvfp4, source: .float32, tensorMaximum: maximum))
    let measure = try #require(rule.alternative?.measure)
    let (chosen, _) = try NVFP4Matrix.quantized(values, rows: 64, columns: 128, recipe: recipe)
    rule.alternative = nil
    let first = ScalarReference<Float4E2M1>(
      values, rows: 64, columns: 128, blocking: Scheme.nvfp4.blocking, rule: rule)
    func errors(_ decoded: [Float]) -> [Double] {
      stride(from: 0, to: values.count, by: 16).map { block in
        (block..<block + 16).reduce(0) {
          let difference = abs(Double(values[$1]) - Double(decoded[$1]))
          return $0 + (measure == .squaredError ? difference * difference : difference)
        }
      }
    }
    let pairs = zip(errors(first.dequantized), errors(chosen.dequantized()))
    #expect(pairs.count { $1 > $0 * (1 + 1e-5) } == 0)
    if data == .normal { #expect((150...350).contains(pairs.count { $1 < $0 })) }
  }

  @Test func fourOverSixLowersTheErrorOfNormalValues() throws {
    var generator = SplitMix(seed: 38)
    let values = (0..<256 * 256).map { _ in generator.normal() * 0.02 }
    func errorPower(_ recipe: Recipe) throws -> Double {
      try NVFP4Matrix.quantized(values, rows: 256, columns: 256, recipe: recipe).error.errorPower
    }
    let share = try 1 - errorPower(.fourOverSix) / errorPower(.transformerEngine)
    print("fouroversix lowers the squared error by \(share)")
    #expect(share > 0.13)
    #expect(try errorPower(.transformerEngineFourOverSix) < errorPower(.transformerEngine) * 0.9)
  }

  //MARK: Metrics

  @Test func metricsMerge() {
    let x = TestData.normal.values(100, seed: 36, as: .float32)
    let y = x.map { Float(BFloat16($0)) }
    var parts = ErrorMetrics(reference: Array(x[..<37]), candidate: Array(y[..<37]))
    parts.merge(ErrorMetrics(reference: Array(x[37...]), candidate: Array(y[37...])))
    let whole = ErrorMetrics(reference: x, candidate: y)
    #expect(parts.count == 100 && parts.maximumError == whole.maximumError)
    #expect(abs(parts.errorPower / whole.errorPower - 1) < 1e-12)
    #expect(abs(parts.sqnr - whole.sqnr) < 1e-9)
  }

  @Test func metricsOfKnownValues() {
    let metrics = ErrorMetrics(
      reference: [3, -4, 1, .nan, 0], candidate: [3, -3, 0, 1, .infinity])
    #expect(metrics.count == 3 && metrics.nonFiniteCount == 2 && metrics.underflowedCount == 1)
    #expect(metrics.signalPower == 26 && metrics.errorPower == 2 && metrics.maximumError == 1)
    #expect(metrics.nmse == 2.0 / 26)
    #expect(abs(metrics.sqnr - 11.139433523) < 1e-6)
    #expect(ErrorMetrics(reference: [1], candidate: [1]).sqnr == .infinity)
    #expect(ErrorMetrics().nmse == 0)
  }
}

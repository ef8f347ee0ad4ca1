// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import Testing
import _BlockScaleTestSupport

/// NaN, infinities, zeros and subnormals.
@Suite struct BlockScaledMatrixNonFiniteTests {
  private static let hiding: [Recipe] = [.transformerEngine, .transformerEnginePowerOfTwo, .coat]

  private func spoiled(_ bad: Float) -> (clean: [Float], spoiled: [Float]) {
    let clean = TestData.normal.values(8 * 64, seed: 3, as: .float32)
    var values = clean
    values[2 * 64 + 35] = bad  // Row 2, third block of 16, second of 32.
    return (clean, values)
  }

  /// The block decodes to NaN and is counted as a whole; all others are as they were, also where
  /// they share a tensor scale with it.
  @Test(arguments: [Float.nan, -.nan, .infinity, -.infinity])
  func spoilsItsBlockOnly(_ bad: Float) throws {
    func check<E: BlockElement, S: BlockScaleValue>(
      _ type: BlockScaledMatrix<E, S>.Type, _ columns: Int
    ) throws {
      let blocking = Blocking(rows: 1, columns: columns)
      let (clean, values) = spoiled(bad)
      let block = (2 * 64 + 35) / columns * columns
      let spoiledBlock = block..<block + columns
      for recipe in Recipe.allCases {
        let rule = recipe.rule(
          element: E.elementFormat, scale: S.scaleFormat, source: .float32, tensorMaximum: 1,
          perTensor: false)
        guard let rule, !rule.hidesNonFinite else { continue }
        let (expected, _) = try type.quantized(
          clean, rows: 8, columns: 64, recipe: recipe, blocking: blocking)
        let (matrix, error) = try type.quantized(
          values, rows: 8, columns: 64, recipe: recipe, blocking: blocking)
        #expect(error.nonFiniteCount == columns, "\(recipe)")
        #expect(error.count == values.count - columns)
        #expect(matrix.tensorScale == expected.tensorScale, "\(recipe)")
        let (left, right) = (matrix.dequantized(), expected.dequantized())
        for index in values.indices {
          if spoiledBlock.contains(index) {
            #expect(left[index].isNaN)
          } else {
            #expect(left[index] == right[index], "\(recipe) \(index)")
          }
        }
      }
    }
    try check(NVFP4Matrix.self, 16)
    try check(MXFP4Matrix.self, 32)
    try check(MXFP8Matrix.self, 32)
    try check(Float8Matrix.self, 16)
    try check(Float8Matrix.self, 64)
    try check(BlockScaledMatrix<Float8E5M2, Float>.self, 64)
  }

  /// With one scale for the matrix nothing is left.
  @Test(arguments: [Recipe.modelopt, .deepseek, .torchao, .torchaoFloat8, .compressedTensors])
  func spoilsAWholeTensor(_ recipe: Recipe) throws {
    for bad in [Float.nan, .infinity] {
      let (matrix, error) = try Float8Matrix.quantized(
        spoiled(bad).spoiled, rows: 8, columns: 64, recipe: recipe, blocking: .tensor)
      #expect(matrix.scales[0].isNaN)
      #expect(error.nonFiniteCount == 8 * 64 && error.count == 0 && error.errorPower == 0)
      #expect(matrix.dequantized().allSatisfy { $0.isNaN })
    }
  }

  /// TransformerEngine and COAT leave NaN out of the maximum, so that only the value itself is lost.
  @Test(arguments: hiding, [Blocking(rows: 1, columns: 32), .row, .tensor])
  func hidesNaN(_ recipe: Recipe, _ blocking: Blocking) throws {
    func check<S: BlockScaleValue>(_ scale: S.Type) throws {
      let (clean, values) = spoiled(.nan)
      // The largest value of its block must not be the one that is overwritten.
      let (expected, _) = try BlockScaledMatrix<Float8E4M3, S>.quantized(
        clean.enumerated().map { $0.offset == 163 ? 0 : $0.element }, rows: 8, columns: 64,
        recipe: recipe, blocking: blocking)
      let (matrix, error) = try BlockScaledMatrix<Float8E4M3, S>.quantized(
        values, rows: 8, columns: 64, recipe: recipe, blocking: blocking)
      #expect(Stored(matrix).scales == Stored(expected).scales)
      #expect(error.nonFiniteCount == 1)
      #expect(matrix[2, 35].isNaN)
      for index in values.indices where index != 163 {
        #expect(matrix.codes[index] == expected.codes[index])
      }
    }
    if recipe == .coat { try check(BFloat16.self) } else { try check(Float.self) }
  }

  @Test func hiddenInfinity() throws {
    // TransformerEngine takes the scale one: infinity saturates, small values keep their own codes.
    let values: [Float] = [.infinity, 1, -300, 0.001]
    for recipe in [Recipe.transformerEngine, .transformerEnginePowerOfTwo] {
      for blocking in [Blocking.row, .tensor] {
        let (matrix, _) = try Float8Matrix.quantized(
          values, rows: 1, columns: 4, recipe: recipe, blocking: blocking)
        #expect(matrix.scales == [1])
        #expect(matrix.dequantized()[0] == 448)
        #expect(matrix.dequantized()[1] == 1 && matrix.dequantized()[2] == -288)
      }
    }
    // COAT's scale becomes infinite.
    for blocking in [Blocking.row, .tensor] {
      let (matrix, error) = try BlockScaledMatrix<Float8E4M3, BFloat16>.quantized(
        values, rows: 1, columns: 4, recipe: .coat, blocking: blocking)
      #expect(matrix.scales[0].isInfinite)
      #expect(matrix.codes == [0x7F, 0, 0x80, 0])
      #expect(error.nonFiniteCount == 4)
    }
  }

  //MARK: Zeros and subnormals

  private func forEachMatrix(
    _ values: [Float], rows: Int, columns: Int,
    _ body: (String, [Float], ErrorMetrics) -> Void
  ) throws {
    func run<E: BlockElement, S: BlockScaleValue>(_ type: BlockScaledMatrix<E, S>.Type) throws {
      for recipe in Recipe.allCases {
        let rule = recipe.rule(
          element: E.elementFormat, scale: S.scaleFormat, source: .float32, tensorMaximum: 1,
          perTensor: false)
        guard rule != nil else { continue }
        for blocking in [Blocking(rows: 1, columns: 16), .row, .tensor] {
          let (matrix, error) = try type.quantized(
            values, rows: rows, columns: columns, recipe: recipe, blocking: blocking)
          body("\(recipe) \(type) in \(blocking)", matrix.dequantized(), error)
        }
      }
    }
    try run(NVFP4Matrix.self)
    try run(MXFP4Matrix.self)
    try run(MXFP8Matrix.self)
    try run(Float8Matrix.self)
    try run(BlockScaledMatrix<Float8E4M3, BFloat16>.self)
    try run(BlockScaledMatrix<Float8E5M2, Float>.self)
  }

  /// Producers that divide zero by zero are not followed: zeros stay zeros under every recipe.
  @Test(arguments: [Float(0), -0.0])
  func zeros(_ zero: Float) throws {
    var compared = 0
    try forEachMatrix(Array(repeating: zero, count: 3 * 40), rows: 3, columns: 40) {
      name, values, error in
      #expect(values.allSatisfy { $0 == 0 }, "\(name)")
      #expect(error.count == 120 && error.errorPower == 0 && error.nonFiniteCount == 0, "\(name)")
      #expect(error.underflowedCount == 0 && error.saturatedCount == 0, "\(name)")
      compared += 1
    }
    #expect(compared > 60)
  }

  /// A zero block beside others stays zero, with its own scale.
  @Test func zeroBlockAmongOthers() throws {
    var values = TestData.normal.values(2 * 64, seed: 5, as: .float32)
    for index in 16..<32 { values[index] = index % 2 == 0 ? 0 : -0.0 }
    try forEachMatrix(values, rows: 2, columns: 64) { name, result, _ in
      #expect(result[16..<32].allSatisfy { $0 == 0 }, "\(name)")
      #expect(result.allSatisfy { $0.isFinite }, "\(name)")
    }
  }

  @Test(arguments: [0x1p-149, 0x1p-140, 0x1p-127, Float(0x1p-126).nextDown, 0x1p-126])
  func subnormalMaxima(_ maximum: Float) throws {
    let values = (0..<48).map { maximum * Float($0 % 7 - 3) / 3 }
    try forEachMatrix(values, rows: 1, columns: 48) { name, result, error in
      #expect(result.allSatisfy { $0.isFinite }, "\(name)")
      #expect(error.nonFiniteCount == 0 && error.count == 48, "\(name)")
    }
  }
}

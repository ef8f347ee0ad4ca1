// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import Testing
import _BlockScaleTestSupport

/// The engine against the scalar reference, for everything that a recipe defines.
@Suite struct BlockQuantizerReferenceTests {
  static let blockings: [Blocking] = [
    Blocking(rows: 1, columns: 16), Blocking(rows: 1, columns: 32), Blocking(rows: 1, columns: 128),
    Blocking(rows: 128, columns: 1), Blocking(rows: 16, columns: 1),
    Blocking(rows: 16, columns: 16), Blocking(rows: 128, columns: 128),
    Blocking(rows: 3, columns: 3), .row, .tensor,
  ]
  static let smallShapes = [(1, 1), (1, 17), (3, 5), (17, 33)]

  @Test(arguments: Recipe.allCases, TestData.allCases)
  func matchesScalarReference(_ recipe: Recipe, _ data: TestData) throws {
    try check(recipe, data, as: Float.self) { $0 }
    try check(recipe, data, as: BFloat16.self) { BFloat16($0) }
    try check(recipe, data, as: Float16.self) { Float16($0) }
  }

  private func check<Source: SourceValue>(
    _ recipe: Recipe, _ data: TestData, as source: Source.Type, _ convert: (Float) -> Source
  ) throws {
    var supported = 0
    func check<E: BlockElement, S: BlockScaleValue>(_ type: BlockScaledMatrix<E, S>.Type) throws {
      let probe = recipe.rule(
        element: E.elementFormat, scale: S.scaleFormat, source: Source.sourceFormat,
        tensorMaximum: 1, perTensor: false)
      guard probe != nil else { return }
      supported += 1
      for (rows, columns) in Self.smallShapes {
        let values = data.values(rows * columns, seed: 7, as: Source.sourceFormat)
        for blocking in Self.blockings {
          try compare(type, values, convert, rows, columns, recipe, blocking)
        }
      }
      let (rows, columns) = (130, 257)
      let values = data.values(rows * columns, seed: 8, as: Source.sourceFormat)
      for blocking in [Self.blockings[0], Self.blockings[2], Self.blockings[6], .tensor] {
        try compare(type, values, convert, rows, columns, recipe, blocking)
      }
    }
    try check(NVFP4Matrix.self)
    try check(MXFP4Matrix.self)
    try check(MXFP8Matrix.self)
    try check(Float8Matrix.self)
    try check(BlockScaledMatrix<Float8E4M3, BFloat16>.self)
    try check(BlockScaledMatrix<Float8E4M3, Float16>.self)
    try check(BlockScaledMatrix<Float8E5M2, Float>.self)
    try check(BlockScaledMatrix<Float8E5M2, BFloat16>.self)
    try check(BlockScaledMatrix<Float8E5M2, Float16>.self)
    #expect(supported > 0, "\(recipe) defines something")
  }

  private func compare<E: BlockElement, S: BlockScaleValue, Source: SourceValue>(
    _ type: BlockScaledMatrix<E, S>.Type, _ values: [Float], _ convert: (Float) -> Source,
    _ rows: Int, _ columns: Int, _ recipe: Recipe, _ blocking: Blocking
  ) throws {
    let rule = try #require(
      recipe.rule(
        element: E.elementFormat, scale: S.scaleFormat, source: Source.sourceFormat,
        tensorMaximum: values.map(\.magnitude).max()!, perTensor: blocking == .tensor))
    let expected = ScalarReference<E>(
      values, rows: rows, columns: columns, blocking: blocking, rule: rule)
    let (matrix, error) = try type.quantized(
      values.map(convert), rows: rows, columns: columns, recipe: recipe, blocking: blocking)
    let name = "\(type) \(Source.self) \(rows)x\(columns) in \(blocking)"
    #expect(differences(Stored(matrix).scales, expected.scales) == 0, "\(name) scales")
    var wrong = 0
    for row in 0..<rows {
      for column in 0..<columns {
        let code = expected.codes[row * columns + column]
        if matrix[row, column].bitPattern != code.bitPattern { wrong += 1 }
      }
    }
    #expect(wrong == 0, "\(name) codes")
    let dequantized = matrix.dequantized()
    let different = zip(dequantized, expected.dequantized).count {
      $0.bitPattern != $1.bitPattern && !($0.isNaN && $1.isNaN)
    }
    #expect(different == 0, "\(name) values")
    // The engine subtracts in FP32.
    let metrics = ErrorMetrics(reference: values, candidate: dequantized)
    #expect(
      error.count == metrics.count && error.nonFiniteCount == metrics.nonFiniteCount, "\(name)")
    #expect(error.underflowedCount == metrics.underflowedCount, "\(name)")
    #expect(isClose(error.signalPower, metrics.signalPower), "\(name)")
    #expect(isClose(error.errorPower, metrics.errorPower), "\(name)")
    #expect(isClose(Double(error.maximumError), Double(metrics.maximumError)), "\(name)")
    if metrics.nonFiniteCount == 0 {
      #expect(error.saturatedCount == expected.saturatedCount, "\(name)")
    }
  }

  private func isClose(_ left: Double, _ right: Double) -> Bool {
    abs(left - right) <= 1e-5 * max(abs(left), abs(right))
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import Testing
import _BlockScaleTestSupport

/// Building, transposing and refusing matrices.
@Suite struct BlockScaledMatrixTests {
  //MARK: Transposes

  /// Blocks of one column are those of the transposed matrix, codes, scales and errors alike.
  @Test(arguments: [128, 16], [(17, 33), (130, 257)])
  func columnwiseIsTheTransposeOfRowwise(block: Int, shape: (rows: Int, columns: Int)) throws {
    let (rows, columns) = shape
    let values = TestData.normal.values(rows * columns, seed: 21, as: .float32)
    let turned = transposed(values, rows: rows, columns: columns)
    func check<E: BlockElement, S: BlockScaleValue>(
      _ type: BlockScaledMatrix<E, S>.Type, _ recipe: Recipe
    ) throws {
      let columnwise = try type.quantized(
        values, rows: rows, columns: columns, recipe: recipe,
        blocking: Blocking(rows: block, columns: 1))
      let rowwise = try type.quantized(
        turned, rows: columns, columns: rows, recipe: recipe,
        blocking: Blocking(rows: 1, columns: block))
      #expect(columnwise.matrix == rowwise.matrix.transposed())
      #expect(columnwise.matrix.transposed() == rowwise.matrix)
      #expect(columnwise.error == rowwise.error)
      #expect(
        transposed(columnwise.matrix.dequantized(), rows: rows, columns: columns)
          == rowwise.matrix.dequantized())
    }
    try check(Float8Matrix.self, .torchao)
    try check(BlockScaledMatrix<Float8E5M2, Float>.self, .transformerEngine)
    try check(NVFP4Matrix.self, .modelopt)
    try check(MXFP4Matrix.self, .ocp)
  }

  /// Also for an odd number of 4-bit codes, whose rows end in half a byte.
  @Test(arguments: BlockQuantizerReferenceTests.blockings, [(3, 5), (17, 33), (64, 48)])
  func transposes(_ blocking: Blocking, shape: (rows: Int, columns: Int)) throws {
    let (rows, columns) = shape
    let values = TestData.heavyTailed.values(rows * columns, seed: 22, as: .float32)
    func check<E: BlockElement, S: BlockScaleValue>(
      _ type: BlockScaledMatrix<E, S>.Type, _ recipe: Recipe
    ) throws {
      let (matrix, _) = try type.quantized(
        values, rows: rows, columns: columns, recipe: recipe, blocking: blocking)
      let turned = matrix.transposed()
      #expect(turned.blocking == blocking.transposed)
      #expect(turned.rows == columns && turned.columns == rows)
      #expect(turned.transposed() == matrix)
      #expect(
        turned.dequantized() == transposed(matrix.dequantized(), rows: rows, columns: columns))
      #expect(turned[columns - 1, 0].bitPattern == matrix[0, columns - 1].bitPattern)
    }
    try check(Float8Matrix.self, .deepseek)
    try check(NVFP4Matrix.self, .torchao)
  }

  //MARK: Refusals

  private func expect(
    _ code: BlockScaleError.Code, naming words: String...,
    sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void
  ) {
    let error = #expect(throws: BlockScaleError.self, sourceLocation: sourceLocation) {
      try body()
    }
    #expect(error?.code == code, sourceLocation: sourceLocation)
    let text = error?.description ?? ""
    // One sentence that names the operand.
    #expect(text.hasSuffix(".") && text.first?.isUppercase == true, sourceLocation: sourceLocation)
    for word in words { #expect(text.contains(word), "\(text)", sourceLocation: sourceLocation) }
  }

  @Test func wrongCounts() {
    let blocking = Blocking(rows: 1, columns: 16)
    expect(.wrongCount, naming: "2x20", "7") {
      _ = try NVFP4Matrix(
        rows: 2, columns: 20, blocking: blocking, codes: Array(repeating: 0, count: 7), scales: [])
    }
    expect(.wrongCount, naming: "2x20", "4", "3") {
      _ = try NVFP4Matrix(
        rows: 2, columns: 20, blocking: blocking, codes: Array(repeating: 0, count: 20),
        scales: Array(repeating: Float8E4M3(1.0), count: 3))
    }
    expect(.emptyMatrix, naming: "0x20") {
      _ = try NVFP4Matrix(rows: 0, columns: 20, blocking: blocking, codes: [], scales: [])
    }
    expect(.wrongCount, naming: "3x5", "15", "14") {
      _ = try MXFP8Matrix.quantized(
        [Float](repeating: 1, count: 14), rows: 3, columns: 5, recipe: .ocp)
    }
    expect(.emptyMatrix, naming: "3x0") {
      _ = try MXFP8Matrix.quantized([Float](), rows: 3, columns: 0, recipe: .ocp)
    }
  }

  @Test func unsupportedFormats() {
    let values = [Float](repeating: 1, count: 32)
    expect(.unsupportedRecipe, naming: "deepseek", "e2m1", "e4m3") {
      _ = try NVFP4Matrix.quantized(values, rows: 1, columns: 32, recipe: .deepseek)
    }
    expect(.unsupportedRecipe, naming: "coat", "float32") {
      _ = try Float8Matrix.quantized(
        values, rows: 1, columns: 32, recipe: .coat, blocking: .row)
    }
    expect(.unsupportedRecipe, naming: "blocking") {
      _ = try Float8Matrix.quantized(values, rows: 1, columns: 32, recipe: .deepseek)
    }
    expect(.unsupportedRecipe, naming: "NVFP4", "ocp") {
      _ = try MXFP4Matrix.quantized(
        values, rows: 1, columns: 32, recipe: .ocp, searchesScales: true)
    }
    // ggml has no MXFP8.
    expect(.unsupportedRecipe, naming: "ggml", "e8m0") {
      _ = try MXFP8Matrix.quantized(values, rows: 1, columns: 32, recipe: .ggml)
    }
  }

  /// Every recipe serves some scheme, and every scheme has some recipe.
  @Test func everyRecipeServesAScheme() {
    for recipe in Recipe.allCases {
      // COAT and the power-of-two rule are for training, but define FP8 blocks all the same.
      #expect(Scheme.allCases.contains { recipe.supports($0) }, "\(recipe)")
      #expect(Recipe(rawValue: recipe.rawValue) == recipe)
    }
    for scheme in Scheme.allCases { #expect(Recipe.recipes(for: scheme).count >= 4, "\(scheme)") }
  }

  @Test func outOfBounds() async {
    await #expect(processExitsWith: .failure) {
      let matrix = try Float8Matrix(
        rows: 1, columns: 2, blocking: .tensor, codes: [1, 2], scales: [1])
      _ = matrix[0, 2]
    }
    await #expect(processExitsWith: .failure) { _ = Blocking(rows: 0, columns: 1) }
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

extension KernelCheck {
  /// Stochastic rounding, drawn as the reference's generator draws, and rotation before quantizing.
  static var roundingAtRandom: [KernelCheck] {
    [(3, 41), (19, 200)].flatMap(stochastic)
      + [(48, 40)].map(stochasticBothWays)
      + [(1, 16), (48, 80)].map(rotatedRows)
      + [(16, 16), (48, 80)].map(rotatedBothWays)
  }

  private static func stochastic(_ shape: Shape) -> [KernelCheck] {
    [Blocking(rows: 1, columns: 128), .tensor].map { blocking in
      stochastic(
        Float8Matrix.self, from: BFloat16.self, .deepseek, blocking, shape
      ) { Float8E4M3(stochastic: $0, overflow: .saturate, using: &$1) }
    } + [
      stochastic(
        MXFP8Matrix.self, from: BFloat16.self, .rceil, Blocking(rows: 1, columns: 32), shape
      ) { Float8E4M3(stochastic: $0, overflow: .saturate, using: &$1) },
      stochastic(
        NVFP4Matrix.self, from: Float.self, .transformerEngine, Blocking(rows: 1, columns: 16),
        shape
      ) { Float4E2M1(stochastic: $0, using: &$1) },
    ]
  }

  private static func stochastic<Element, Scale, Source: SourceValue>(
    _ type: BlockScaledMatrix<Element, Scale>.Type, from source: Source.Type, _ recipe: Recipe,
    _ blocking: Blocking, _ shape: Shape,
    draw: @escaping @Sendable (Double, inout PlaceGenerator) -> Element
  ) -> KernelCheck {
    let name = quantizeName(
      "quantize stochastic", type, source, recipe, blocking, .linear, shape)
    return KernelCheck(name) { executor in
      let matrix = try Samples.corners(
        source, rows: shape.rows, columns: shape.columns, hasNonFinite: false)
      let seed: UInt64 = 42
      let result = try executor.quantized(
        matrix, as: type, recipe: recipe, blocking: blocking, options: QuantizeOptions(seed: seed))
      let expected = try drawn(matrix, as: type, recipe, blocking, seed: seed, draw: draw)
      try expectEqual("the matrix", result, expected)
    }
  }

  /// The transpose draws for its own places.
  private static func stochasticBothWays(_ shape: Shape) -> KernelCheck {
    let (recipe, blocking) = (Recipe.transformerEngine, Blocking(rows: 1, columns: 16))
    let name = quantizeName(
      "quantize both ways stochastic", NVFP4Matrix.self, BFloat16.self, recipe, blocking, .linear,
      shape)
    return KernelCheck(name) { executor in
      let matrix = try Samples.corners(
        BFloat16.self, rows: shape.rows, columns: shape.columns, hasNonFinite: false)
      let seed: UInt64 = 5
      let result = try executor.quantizedBothWays(
        matrix, as: NVFP4Matrix.self, recipe: recipe, options: QuantizeOptions(seed: seed))
      let expected = try drawn(
        matrix, as: NVFP4Matrix.self, recipe, blocking, seed: seed
      ) { Float4E2M1(stochastic: $0, using: &$1) }
      try expectEqual("the matrix", result.matrix, expected)
      let transposed = try drawn(
        ReferenceBackend().transpose(matrix), as: NVFP4Matrix.self, recipe, blocking, seed: seed
      ) { Float4E2M1(stochastic: $0, using: &$1) }
      try expectEqual("the transpose", result.transposed, transposed)
    }
  }

  private static func rotatedRows(_ shape: Shape) -> KernelCheck {
    KernelCheck("quantize rotated 1x16 e2m1 e4m3 from bfloat16 \(shape.rows)x\(shape.columns)") {
      executor in
      let matrix = try Samples.corners(
        BFloat16.self, rows: shape.rows, columns: shape.columns, hasNonFinite: false)
      let result = try executor.quantized(
        matrix, as: NVFP4Matrix.self, recipe: .transformerEngine,
        options: QuantizeOptions(isRotated: true))
      try expectEqual("the matrix", result, quantizedRotated(matrix))
    }
  }

  private static func rotatedBothWays(_ shape: Shape) -> KernelCheck {
    KernelCheck(
      "quantize both ways rotated 1x16 e2m1 e4m3 from bfloat16 \(shape.rows)x\(shape.columns)"
    ) { executor in
      let matrix = try Samples.corners(
        BFloat16.self, rows: shape.rows, columns: shape.columns, hasNonFinite: false)
      let result = try executor.quantizedBothWays(
        matrix, as: NVFP4Matrix.self, recipe: .transformerEngine,
        options: QuantizeOptions(isRotated: true))
      try expectEqual("the matrix", result.matrix, quantizedRotated(matrix))
      try expectEqual(
        "the transpose", result.transposed, quantizedRotated(ReferenceBackend().transpose(matrix)))
    }
  }
}

/// The matrix rotated and quantized by the reference; the tensor's maximum is that of the values
/// themselves.
private func quantizedRotated(_ matrix: Matrix<BFloat16>) throws -> NVFP4Matrix {
  try NVFP4Matrix.quantized(
    matrix.rotated().values, rows: matrix.rows, columns: matrix.columns, recipe: .transformerEngine,
    sharedMaximum: matrix.widened().reduce(0) { max($0, $1.magnitude) }
  ).matrix
}

/// The reference's scales, and codes that its generator draws one value at a time.
private func drawn<Element, Scale, Source: SourceValue>(
  _ matrix: Matrix<Source>, as type: BlockScaledMatrix<Element, Scale>.Type, _ recipe: Recipe,
  _ blocking: Blocking, seed: UInt64, draw: (Double, inout PlaceGenerator) -> Element
) throws -> BlockScaledMatrix<Element, Scale> {
  let (rows, columns) = (matrix.rows, matrix.columns)
  let values = matrix.widened()
  let nearest = try type.quantized(
    matrix.values, rows: rows, columns: columns, recipe: recipe, blocking: blocking
  ).matrix
  guard
    let rule = recipe.rule(
      element: Element.elementFormat, scale: Scale.scaleFormat, source: Source.sourceFormat,
      tensorMaximum: values.reduce(0) { max($0, $1.magnitude) }, perTensor: blocking == .tensor)
  else { preconditionFailure("the reference has just used the rule") }
  var codes = [UInt8](repeating: 0, count: nearest.codes.count)
  let rowBytes = Element.elementFormat.byteCount(columns)
  let (blockRows, blockColumns) = (min(blocking.rows, rows), min(blocking.columns, columns))
  for firstRow in stride(from: 0, to: rows, by: blockRows) {
    for firstColumn in stride(from: 0, to: columns, by: blockColumns) {
      let places = (firstRow..<min(firstRow + blockRows, rows)).flatMap { row in
        (firstColumn..<min(firstColumn + blockColumns, columns)).map { (row: row, column: $0) }
      }
      let factor = rule.choose(
        places.reduce(0) { max($0, values[$1.row * columns + $1.column].magnitude) }
      ).factor
      for (row, column) in places {
        let value = values[row * columns + column]
        let scaled = rule.element.divides ? value / factor : value * factor
        var generator = PlaceGenerator(seed: seed, place: row * columns + column)
        let code = draw(Double(scaled), &generator).bitPattern
        if Element.elementFormat == .e2m1 {
          codes[row * rowBytes + column / 2] |= column % 2 == 0 ? code : code << 4
        } else {
          codes[row * columns + column] = code
        }
      }
    }
  }
  return try BlockScaledMatrix(
    rows: rows, columns: columns, blocking: blocking, codes: codes, scales: nearest.scales,
    tensorScale: nearest.tensorScale)
}

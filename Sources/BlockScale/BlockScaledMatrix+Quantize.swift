// SPDX-License-Identifier: Apache-2.0

import Minifloat

extension BlockScaledMatrix {
  /// The blocks that a scheme of these formats has; nil for FP8 with floating-point scales, whose
  /// blocks are a choice.
  private static var usualBlocking: Blocking? {
    switch (Element.elementFormat, Scale.scaleFormat) {
    case (.e2m1, .e4m3): Scheme.nvfp4.blocking
    case (_, .e8m0): Scheme.mxfp4.blocking
    default: nil
    }
  }

  /// Quantizes a row-major matrix.
  ///
  /// A block that holds a NaN or an infinity gets a NaN scale and is counted, except under recipes
  /// whose producer hides it (TransformerEngine, COAT).
  ///
  /// - Parameters:
  ///   - values: `rows × columns` values, row by row.
  ///   - recipe: The numerics.
  ///   - blocking: The shape of the blocks; may be left out for NVFP4 and MX. Blocks of one column
  ///     (128x1, 16x1) are those of the transposed matrix.
  ///   - sharedMaximum: The largest magnitude among all tensors that share this one's tensor scale;
  ///     by default that of `values`.
  ///   - searchesScales: Whether each NVFP4 block takes the scale of least squared error among the
  ///     E4M3 codes around the recipe's own.
  /// - Returns: The matrix and its distance from `values`.
  /// - Throws: ``BlockScaleError`` if the counts do not fit or the recipe does not define these
  ///   formats.
  /// - Complexity: O(rows × columns).
  public static func quantized<Source: SourceValue>(
    _ values: [Source], rows: Int, columns: Int, recipe: Recipe, blocking: Blocking? = nil,
    sharedMaximum: Float? = nil, searchesScales: Bool = false
  ) throws(BlockScaleError) -> (matrix: Self, error: ErrorMetrics) {
    let blocking = try checkedBlocking(
      count: values.count, rows: rows, columns: columns, blocking: blocking)
    if blocking.isTallAndNarrow {
      // Tall, narrow blocks: quantize along the rows of the transpose, where values are adjacent.
      let result = try quantized(
        BlockScale.transposed(values, rows: rows, columns: columns), rows: columns, columns: rows,
        recipe: recipe, blocking: blocking.transposed, sharedMaximum: sharedMaximum,
        searchesScales: searchesScales)
      return (result.matrix.transposed(), result.error)
    }
    let quantizer = unsafe try quantizer(
      for: values, recipe: recipe, blocking: blocking, sharedMaximum: sharedMaximum,
      searchesScales: searchesScales
    ) {
      // The buffer is only passed on.
      unsafe BlockScale.maximumMagnitudeBits(Source.self, $0)
    }
    let rule = quantizer.rule
    let grid = blocking.grid(rows: rows, columns: columns)
    let codeBytes = rows * Element.elementFormat.byteCount(columns)
    var codes = [UInt8](repeating: 0, count: codeBytes)
    var scaleBytes = [UInt8](
      repeating: 0, count: grid.rows * grid.columns * Scale.scaleFormat.byteCount)
    // Buffers of three arrays, alive during the call and sized for the panel.
    let error = unsafe values.withUnsafeBytes { source in
      unsafe codes.withUnsafeMutableBytes { codes in
        unsafe scaleBytes.withUnsafeMutableBytes { scales in
          unsafe quantizer.quantize(
            BlockQuantizer.Panel(
              values: source, rows: rows, columns: columns, codes: codes, scales: scales))
        }
      }
    }
    let matrix = try Self(
      rows: rows, columns: columns, blocking: blocking, codes: codes,
      scales: unsafe scaleBytes.withUnsafeBytes {
        // Scale types are plain bits of the format's width.
        unsafe Array($0.bindMemory(to: Scale.self))
      },
      tensorScale: rule.tensorScale)
    return (matrix, error)
  }

  /// Checks the shape of a matrix and finds its blocks.
  package static func checkedBlocking(
    count: Int, rows: Int, columns: Int, blocking: Blocking?
  ) throws(BlockScaleError) -> Blocking {
    guard rows > 0, columns > 0 else {
      throw BlockScaleError(.emptyMatrix, "A matrix of \(rows)x\(columns) holds nothing.")
    }
    guard count == rows * columns else {
      throw BlockScaleError(
        .wrongCount,
        "A \(rows)x\(columns) matrix has \(rows * columns) values, not \(count).")
    }
    guard let blocking = blocking ?? usualBlocking else {
      throw BlockScaleError(.unsupportedRecipe, "FP8 with floating-point scales needs a blocking.")
    }
    return blocking
  }

  /// The quantizer of a whole matrix.
  ///
  /// - Parameter maximumMagnitudeBits: Finds the largest magnitude of a run of values, as bits.
  package static func quantizer<Source: SourceValue>(
    for values: [Source], recipe: Recipe, blocking: Blocking, sharedMaximum: Float?,
    searchesScales: Bool, maximumMagnitudeBits: (UnsafeRawBufferPointer) -> UInt32
  ) throws(BlockScaleError) -> BlockQuantizer {
    // A buffer of the array, alive during the call.
    let maximum =
      unsafe sharedMaximum
      ?? values.withUnsafeBytes { Float(bitPattern: unsafe maximumMagnitudeBits($0)) }
    // A value that is not finite spoils its block, not the tensor scale that all blocks share.
    let finiteMaximum =
      maximum.isFinite ? maximum : largestMagnitude(values) { $0.isFinite }
    guard
      let rule = recipe.rule(
        element: Element.elementFormat, scale: Scale.scaleFormat, source: Source.sourceFormat,
        tensorMaximum: finiteMaximum, perTensor: blocking == .tensor)
    else {
      throw BlockScaleError(
        .unsupportedRecipe,
        "The recipe '\(recipe.rawValue)' does not define \(Element.elementFormat.rawValue) codes "
          + "with \(Scale.scaleFormat.rawValue) scales.")
    }
    if searchesScales, rule.factor == nil {
      throw BlockScaleError(
        .unsupportedRecipe, "Only NVFP4 scales can be searched, not those of '\(recipe.rawValue)'.")
    }
    return BlockQuantizer(
      rule: rule, blocking: blocking, source: Source.sourceFormat,
      tensorMaximum: maximum.isNaN && rule.hidesNonFinite
        ? largestMagnitude(values) { !$0.isNaN } : maximum,
      searchesScales: searchesScales)
  }
}

extension Blocking {
  /// Whether blocks are quantized along the rows of the transpose, where their values are adjacent.
  package var isTallAndNarrow: Bool { columns < rows && columns < 16 }
}

extension Recipe {
  /// The numerics of this recipe for formats, or nil if it does not define them.
  package func rule(
    element: ElementFormat, scale: ScaleFormat, source: SourceFormat, tensorMaximum: Float,
    perTensor: Bool
  ) -> BlockRule? {
    let rule =
      switch (element, scale) {
      case (.e2m1, .e4m3): nvfp4Rule(source: source, tensorMaximum: tensorMaximum)
      case (.e2m1, .e8m0), (.e4m3, .e8m0): mxRule(element: element, source: source)
      case (.e4m3, _), (.e5m2, _):
        float8Rule(element: element, source: source, perTensor: perTensor)
      default: BlockRule?.none
      }
    return rule?.scaleFormat == scale ? rule : nil
  }
}

/// The largest magnitude among the values that count.
private func largestMagnitude<Source: SourceValue>(
  _ values: [Source], where counts: (Float) -> Bool
) -> Float {
  // A buffer of the array, alive during the call; every offset is that of one of its values.
  unsafe values.withUnsafeBytes { buffer in
    stride(from: 0, to: buffer.count, by: Source.sourceFormat.byteCount).reduce(0) {
      let value = unsafe Source.load(buffer.baseAddress.unsafelyUnwrapped + $1)
      return counts(value) ? max($0, value.magnitude) : $0
    }
  }
}

/// The transpose of a row-major matrix.
package func transposed<Value>(_ values: [Value], rows: Int, columns: Int) -> [Value] {
  var result: [Value] = []
  result.reserveCapacity(values.count)
  for column in 0..<columns {
    for row in 0..<rows { result.append(values[row * columns + column]) }
  }
  return result
}

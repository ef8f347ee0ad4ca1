// SPDX-License-Identifier: Apache-2.0

import Minifloat

// What the operations of the FP8 activation flow are made of: FP32 values of a matrix, row by row,
// and the three ways in which they are stored.

/// FP32 values on their way through an operation.
struct ActivationValues {
  let rows: Int
  let columns: Int
  var values: [Float]

  init(_ values: [Float], rows: Int, columns: Int) {
    self.rows = rows
    self.columns = columns
    self.values = values
  }

  /// Code times scale, where blocks are groups.
  init<Element>(_ tensor: Float8Tensor<Element>) {
    self.init(
      tensor.matrix.dequantized(), rows: tensor.matrix.rows, columns: tensor.matrix.columns)
  }

  init<Source>(_ tensor: Tensor<Matrix<Source>>) {
    let matrix = tensor.matrix
    self.init(matrix.widened(), rows: matrix.rows, columns: matrix.columns)
  }

  func mapped(_ transform: (Float) -> Float) -> Self {
    Self(values.map(transform), rows: rows, columns: columns)
  }

  func combined(with other: Self, _ transform: (Float, Float) -> Float) -> Self {
    Self(zip(values, other.values).map(transform), rows: rows, columns: columns)
  }

  /// The indices of a row's groups, the last of which may be short.
  func groups(_ groupSize: Int) -> [Range<Int>] {
    (0..<rows).flatMap { row in
      stride(from: 0, to: columns, by: groupSize).map { column in
        row * columns + column..<row * columns + min(columns, column + groupSize)
      }
    }
  }
}

extension Matrix {
  /// The values in FP32.
  package func widened() -> [Float] {
    // A buffer of the array, alive during the call; every offset is that of one of its values.
    unsafe values.withUnsafeBytes { bytes in
      (0..<values.count).map {
        unsafe Value.load(
          bytes.baseAddress.unsafelyUnwrapped + $0 * Value.sourceFormat.byteCount)
      }
    }
  }
}

extension ActivationValues {
  /// The values in BF16.
  func bfloats() throws(BlockScaleError) -> Matrix<BFloat16> {
    try Matrix(values.map { BFloat16(canonical: $0) }, rows: rows, columns: columns)
  }

  /// Codes in groups, from FP32.
  func quantized<Element: Float8Element>(
    as element: Element.Type, groupSize: Int, _ recipe: ActivationRecipe
  ) throws(BlockScaleError) -> BlockScaledMatrix<Element, BFloat16> {
    var codes: [UInt8] = []
    var scales: [BFloat16] = []
    for group in groups(groupSize) {
      let scale = recipe.groupScale(
        maximum: recipe.largestMagnitude(values[group]), Element.elementFormat)
      scales.append(scale.stored)
      codes += values[group].map { Element.code($0, dividedBy: scale.divisor) }
    }
    return try BlockScaledMatrix(
      rows: rows, columns: columns, blocking: Blocking(rows: 1, columns: groupSize), codes: codes,
      scales: scales)
  }

  /// The scales of groups.
  ///
  /// - Parameter roundsToBFloat16: Whether the values are stored in BF16 before they are encoded.
  func groupScales(
    _ format: ElementFormat, groupSize: Int, _ recipe: ActivationRecipe, roundsToBFloat16: Bool
  ) throws(BlockScaleError) -> Matrix<BFloat16> {
    let scales = groups(groupSize).map {
      let maximum = recipe.largestMagnitude(values[$0])
      return roundsToBFloat16
        ? recipe.storedGroupScale(maximum: maximum, format)
        : recipe.groupScale(maximum: maximum, format).stored
    }
    return try Matrix(scales, rows: rows, columns: scales.count / rows)
  }

  /// Codes under one scale, which is the largest of the groups'.
  func quantized<Element: Float8Element>(
    as element: Element.Type, tensorScale: BFloat16, _ recipe: ActivationRecipe,
    rounding: ActivationRounding = .nearest
  ) throws(BlockScaleError) -> BlockScaledMatrix<Element, BFloat16> {
    let scale = recipe.tensorScale(tensorScale)
    let codes = values.indices.map {
      switch rounding {
      case .nearest: Element.code(values[$0], dividedBy: scale.divisor)
      case .stochastic(let seed):
        Element.code(values[$0], dividedBy: scale.divisor, seed: seed, place: $0)
      }
    }
    return try BlockScaledMatrix(
      rows: rows, columns: columns, blocking: .tensor, codes: codes, scales: [scale.stored])
  }
}

extension ActivationValues {
  /// BF16 values and the scales of their groups.
  func groupScaled<Element: Float8Element, Other>(
    as element: Element.Type, groupSize: Int, _ recipe: ActivationRecipe, like other: Tensor<Other>
  ) throws(BlockScaleError) -> GroupScaledActivation<Element> {
    GroupScaledActivation(
      values: Tensor(try bfloats(), like: other),
      groupScales: Tensor(
        try groupScales(
          Element.elementFormat, groupSize: groupSize, recipe, roundsToBFloat16: true),
        like: other))
  }
}

extension GroupScaledActivation {
  /// The second stage: codes of the BF16 values under the largest scale.
  func quantized(
    _ recipe: ActivationRecipe, transposes: Bool, rounding: ActivationRounding = .nearest
  ) throws(BlockScaleError) -> PerTensorActivation<Element> {
    let matrix = try ActivationValues(values).quantized(
      as: Element.self, tensorScale: largestScale(groupScales.matrix.values), recipe,
      rounding: rounding)
    return PerTensorActivation(
      tensor: Tensor(matrix, like: values), transposed: transposes ? matrix.transposed() : nil)
  }
}

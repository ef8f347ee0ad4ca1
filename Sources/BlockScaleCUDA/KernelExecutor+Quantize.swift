// SPDX-License-Identifier: Apache-2.0

package import BlockScale
import Minifloat
package import PTX

/// What quantizing can do beyond rounding each value to the nearest code.
package struct QuantizeOptions: Sendable, Hashable {
  /// Rounds up or down at random, in proportion to the distance; every step has another seed.
  package var seed: UInt64?
  /// Rotates groups of 16 values before (``RandomHadamard``), along the rows of each result.
  package var isRotated = false
  /// How scales lie in the device's memory; results on the host are linear.
  package var scaleLayout = ScaleLayout.linear

  package init(
    seed: UInt64? = nil, isRotated: Bool = false, scaleLayout: ScaleLayout = .linear
  ) {
    self.seed = seed
    self.isRotated = isRotated
    self.scaleLayout = scaleLayout
  }
}

extension KernelExecutor {
  /// Quantizes a matrix.
  ///
  /// Codes and scales are those of `BlockScaledMatrix.quantized` to the last bit.
  ///
  /// - Parameter blocking: 1×16, 1×32, 1×64, 1×128, 16×16, 128×1, 128×128, a whole row or a whole tensor;
  ///   may be left out for NVFP4 and MX.
  /// - Throws: ``BlockScaleError`` if the recipe does not define these formats or kernels do not have
  ///   it, ``KernelError`` if the target lacks what a kernel asks for, and what the executor throws.
  package func quantized<Element, Scale, Source: SourceValue>(
    _ matrix: Matrix<Source>,
    as type: BlockScaledMatrix<Element, Scale>.Type = BlockScaledMatrix<Element, Scale>.self,
    recipe: Recipe, blocking: Blocking? = nil, options: QuantizeOptions = QuantizeOptions()
  ) throws -> BlockScaledMatrix<Element, Scale> {
    let run = try QuantizeRun(
      matrix, as: type, recipe: recipe, blocking: blocking, options, on: self)
    let result = try ResultBuffers(
      type, rows: matrix.rows, columns: matrix.columns, blocking: run.blocking,
      layout: run.layout, on: self)
    try launch(run.launch(into: result.addresses))
    return try result.matrix(tensorScale: run.tensorScale())
  }

  /// Quantizes a matrix and its transpose, each in its own blocks, from one read of the values.
  ///
  /// Where blocks are square, both have the same codes and scales.
  ///
  /// - Parameter blocking: The shape of the blocks of either: 1×16, 1×32, 1×64, 1×128, 16×16 or 128×128;
  ///   may be left out for NVFP4 and MX.
  /// - Throws: As `quantized` does.
  package func quantizedBothWays<Element, Scale, Source: SourceValue>(
    _ matrix: Matrix<Source>,
    as type: BlockScaledMatrix<Element, Scale>.Type = BlockScaledMatrix<Element, Scale>.self,
    recipe: Recipe, blocking: Blocking? = nil, options: QuantizeOptions = QuantizeOptions()
  ) throws -> (
    matrix: BlockScaledMatrix<Element, Scale>, transposed: BlockScaledMatrix<Element, Scale>
  ) {
    let run = try QuantizeRun(
      matrix, as: type, recipe: recipe, blocking: blocking, options, on: self)
    let (rows, columns) = (matrix.rows, matrix.columns)
    let first = try ResultBuffers(
      type, rows: rows, columns: columns, blocking: run.blocking, layout: options.scaleLayout,
      on: self)
    let second = try ResultBuffers(
      type, rows: columns, columns: rows, blocking: run.blocking, layout: options.scaleLayout,
      on: self)
    try launch(run.launch(.both, into: first.addresses, transpose: second.addresses))
    let scale = try run.tensorScale()
    return try (first.matrix(tensorScale: scale), second.matrix(tensorScale: scale))
  }

  /// Quantizes the transpose of a matrix, which is not formed.
  ///
  /// - Parameter blocking: Of the transpose, as for `quantizedBothWays`.
  /// - Throws: As `quantized` does.
  package func quantizedTranspose<Element, Scale, Source: SourceValue>(
    of matrix: Matrix<Source>,
    as type: BlockScaledMatrix<Element, Scale>.Type = BlockScaledMatrix<Element, Scale>.self,
    recipe: Recipe, blocking: Blocking? = nil, options: QuantizeOptions = QuantizeOptions()
  ) throws -> BlockScaledMatrix<Element, Scale> {
    let run = try QuantizeRun(
      matrix, as: type, recipe: recipe, blocking: blocking, options, on: self)
    let result = try ResultBuffers(
      type, rows: matrix.columns, columns: matrix.rows, blocking: run.blocking,
      layout: options.scaleLayout, on: self)
    try launch(run.launch(.transpose, into: nil, transpose: result.addresses))
    return try result.matrix(tensorScale: run.tensorScale())
  }
}

/// One matrix on its way through a quantizer.
private struct QuantizeRun: ~Copyable {
  let rule: QuantizeRule
  let blocking: Blocking
  let options: QuantizeOptions
  private let library: KernelLibrary
  private let shape: MatrixShape
  private let values: DeviceBuffer
  /// The largest magnitude, then the tensor scale; four bytes each.
  private let tensorLevel: DeviceBuffer
  private let scaleIsDivisor: Bool

  init<Element, Scale, Source: SourceValue>(
    _ matrix: Matrix<Source>, as type: BlockScaledMatrix<Element, Scale>.Type, recipe: Recipe,
    blocking: Blocking?, _ options: QuantizeOptions, on executor: any KernelExecutor
  ) throws {
    let blocking = try type.checkedBlocking(
      count: matrix.values.count, rows: matrix.rows, columns: matrix.columns, blocking: blocking)
    let rule = try QuantizeRule(
      recipe, element: Element.elementFormat, scale: Scale.scaleFormat,
      source: Source.sourceFormat, isPerTensor: blocking == .tensor)
    guard !options.isRotated || Source.sourceFormat == .bfloat16 else {
      throw BlockScaleError(
        .unsupportedRecipe, "Kernels rotate BF16 values, not \(Source.sourceFormat.rawValue).")
    }
    let library = KernelLibrary(for: executor.target)
    let shape = try MatrixShape(rows: matrix.rows, columns: matrix.columns)
    let values = try DeviceBuffer(matrix.values, on: executor)
    let tensorLevel = try DeviceBuffer([Float](repeating: 0, count: 2), on: executor)
    let kind: ScaleMaximum.Kind? =
      rule.usesTensorMaximum
      ? .finite : rule.isPerTensor ? rule.hidesNonFinite ? .numbers : .all : nil
    if let kind {
      // What must be known of the whole tensor first.
      let maximum = ScaleMaximum(
        rule.source, kind: kind, isAligned: matrix.values.count % SourceRun.count == 0)
      try executor.launch(
        maximum.launch(
          in: library, values: values.address, maximum: tensorLevel.address, shape: shape,
          multiprocessors: executor.multiprocessors))
    }
    self.rule = rule
    self.blocking = blocking
    self.options = options
    self.library = library
    self.shape = shape
    self.values = values
    self.tensorLevel = tensorLevel
    scaleIsDivisor =
      recipe.rule(
        element: Element.elementFormat, scale: Scale.scaleFormat, source: Source.sourceFormat,
        tensorMaximum: 1, perTensor: false)?.tensorScale?.isDivisor ?? false
  }

  /// The scales of whole rows, or of a whole tensor, lie one after the other in any case.
  var layout: ScaleLayout { blocking.columns == .max ? .linear : options.scaleLayout }

  private var tensor: TensorLevelAddresses? {
    guard rule.usesTensorMaximum else { return nil }
    return TensorLevelAddresses(maximum: tensorLevel.address, scale: tensorLevel.address + 4)
  }

  /// The launch that writes the matrix in its own order.
  func launch(into result: BlockScaledAddresses) throws -> KernelLaunch {
    let isStochastic = options.seed != nil
    switch (blocking.rows, blocking.columns) {
    case (.max, .max) where rule.element != .e2m1 && !options.isRotated:
      return try QuantizeTensor(
        rule, isAligned: shape.rows * shape.columns % SourceRun.count == 0,
        isStochastic: isStochastic
      ).launch(
        in: library, values: values.address, maximum: tensorLevel.address, matrix: result,
        shape: shape, seed: options.seed)
    case (1, .max) where rule.element != .e2m1 && !isStochastic && !options.isRotated:
      return try QuantizeWholeRows.chosen(rule, for: shape).launch(
        in: library, values: values.address, matrix: result, shape: shape)
    case (1, 16), (1, 32), (1, 64), (1, 128), (16, 16):
      return try QuantizeRows(
        rule, blockRows: blocking.rows, blockColumns: blocking.columns,
        scaleLayout: options.scaleLayout, isAligned: shape.isAligned, isStochastic: isStochastic,
        isRotated: options.isRotated
      ).launch(
        in: library, values: values.address, codes: result.codes, scales: result.scales,
        shape: shape, tensor: tensor, seed: options.seed)
    case (128, 1) where !isStochastic && !options.isRotated:
      return try QuantizeColumns(
        rule, scaleLayout: options.scaleLayout, isAligned: shape.isAligned
      ).launch(in: library, values: values.address, matrix: result, shape: shape, tensor: tensor)
    case (128, 128):
      return try launch(.matrix, into: result, transpose: nil)
    default:
      throw unsupported("in blocks of \(blocking)")
    }
  }

  /// The launch of the kernel that turns tiles.
  func launch(
    _ output: QuantizeTiles.Output, into matrix: BlockScaledAddresses?,
    transpose: BlockScaledAddresses?
  ) throws -> KernelLaunch {
    let isSquare = blocking.rows == blocking.columns
    guard blocking.rows == 1 || isSquare,
      (isSquare ? [16, 128] : [16, 32, 64, 128]).contains(blocking.columns)
    else { throw unsupported("both ways in blocks of \(blocking)") }
    guard !isSquare || options.seed == nil && !options.isRotated else {
      throw unsupported("square blocks, whose codes serve both ways, at random or rotated")
    }
    return try QuantizeTiles(
      rule, blockLength: blocking.columns, isSquare: isSquare, output: output,
      scaleLayout: options.scaleLayout, isAligned: shape.isAligned,
      isTransposeAligned: shape.rows % 16 == 0, isStochastic: options.seed != nil,
      isRotated: options.isRotated
    ).launch(
      in: library, values: values.address, matrix: matrix, transpose: transpose, shape: shape,
      tensor: tensor, seed: options.seed)
  }

  private func unsupported(_ what: String) -> BlockScaleError {
    BlockScaleError(.unavailable, "There is no GPU kernel that quantizes \(what).")
  }

  /// The tensor scale that the kernel stored, after the launch.
  func tensorScale() throws -> TensorScale? {
    guard rule.usesTensorMaximum else { return nil }
    let values = try tensorLevel.elements(Float.self, count: 2)
    return TensorScale(values[1], isDivisor: scaleIsDivisor)
  }
}

/// Memory of the device that receives a block-scaled matrix.
struct ResultBuffers<Element: BlockElement, Scale: BlockScaleValue>: ~Copyable {
  private let codes: DeviceBuffer
  private let scales: DeviceBuffer
  private let rows: Int
  private let columns: Int
  private let blocking: Blocking
  private let layout: ScaleLayout

  init(
    _ type: BlockScaledMatrix<Element, Scale>.Type, rows: Int, columns: Int, blocking: Blocking,
    layout: ScaleLayout, on executor: any KernelExecutor
  ) throws {
    let grid = blocking.grid(rows: rows, columns: columns)
    let codes = try DeviceBuffer(
      byteCount: rows * Element.elementFormat.byteCount(columns), on: executor)
    let scales = try DeviceBuffer(
      byteCount: layout.count(rows: grid.rows, columns: grid.columns)
        * Scale.scaleFormat.byteCount, on: executor)
    self.codes = codes
    self.scales = scales
    self.rows = rows
    self.columns = columns
    self.blocking = blocking
    self.layout = layout
  }

  var addresses: BlockScaledAddresses {
    BlockScaledAddresses(codes: codes.address, scales: scales.address)
  }

  /// The matrix on the host.
  func matrix(tensorScale: TensorScale?) throws -> BlockScaledMatrix<Element, Scale> {
    let grid = blocking.grid(rows: rows, columns: columns)
    let stored = try scales.elements(
      Scale.self, count: layout.count(rows: grid.rows, columns: grid.columns))
    return try BlockScaledMatrix(
      rows: rows, columns: columns, blocking: blocking, codes: codes.bytes(),
      scales: layout.linear(stored, rows: grid.rows, columns: grid.columns),
      tensorScale: tensorScale)
  }
}

extension ScaleLayout {
  /// The scales of a grid, row by row, without padding.
  package func linear<Scale>(_ stored: [Scale], rows: Int, columns: Int) -> [Scale] {
    let padded = padded(rows: rows, columns: columns)
    return (0..<rows * columns).map { index in
      let (row, column) = (index / columns, index % columns)
      switch self {
      case .linear: return stored[index]
      case .blockMajor: return stored[column * padded.rows + row]
      case .swizzled:
        return stored[
          SwizzledScales.offset(row: row, column: column, tileColumns: padded.columns / 4)]
      }
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import Minifloat

/// Quantizes row panels of one tensor under one recipe.
///
/// A panel is a run of whole rows that begins on a block boundary, so panels can be quantized in any
/// order and on any thread. What depends on the whole tensor, its maximum, is given beforehand.
package struct BlockQuantizer: Sendable {
  package let rule: BlockRule
  package let blocking: Blocking
  package let source: SourceFormat
  /// The scale of a blocking that covers the whole tensor, which no panel could find by itself.
  package let wholeTensorChoice: BlockRule.Choice?
  /// Whether each block tries the scales around the recipe's own for the least squared error.
  package let searchesScales: Bool

  /// Prepares the quantization of one tensor.
  ///
  /// - Parameters:
  ///   - tensorMaximum: The largest magnitude of the tensor; it scales blockings that cover it all.
  ///   - searchesScales: Allowed for rules that give a factor for any scale.
  package init(
    rule: BlockRule, blocking: Blocking, source: SourceFormat, tensorMaximum: Float,
    searchesScales: Bool = false
  ) {
    precondition(
      !searchesScales || rule.factor != nil, "This recipe's scales cannot be searched")
    self.rule = rule
    self.blocking = blocking
    self.source = source
    self.searchesScales = searchesScales
    wholeTensorChoice =
      blocking != .tensor
      ? nil
      : tensorMaximum.isFinite || rule.hidesNonFinite
        ? rule.choose(tensorMaximum) : rule.nonFiniteChoice
  }

  /// A panel of values and the places for its codes and scales.
  @safe
  package struct Panel {
    /// The values, row-major.
    package var values: UnsafeRawBufferPointer
    package var rows: Int
    package var columns: Int
    /// Receives the codes, row by row; rows of 4-bit codes end on a whole byte.
    package var codes: UnsafeMutableRawBufferPointer
    /// Receives the scales, row-major over the panel's grid of blocks.
    package var scales: UnsafeMutableRawBufferPointer

    package init(
      values: UnsafeRawBufferPointer, rows: Int, columns: Int,
      codes: UnsafeMutableRawBufferPointer, scales: UnsafeMutableRawBufferPointer
    ) {
      // The buffers are only stored.
      unsafe self.values = values
      self.rows = rows
      self.columns = columns
      // The buffers are only stored.
      unsafe self.codes = codes
      unsafe self.scales = scales
    }
  }

  /// Quantizes a panel.
  ///
  /// - Returns: How far the codes and scales lie from the values.
  /// - Complexity: O(rows × columns).
  package func quantize(_ panel: Panel) -> ErrorMetrics {
    let grid = blocking.grid(rows: panel.rows, columns: panel.columns)
    let rowBytes = rule.element.format.byteCount(panel.columns)
    precondition(
      unsafe panel.values.count >= panel.rows * panel.columns * source.byteCount
        && panel.codes.count >= panel.rows * rowBytes
        && panel.scales.count >= grid.rows * grid.columns * rule.scaleFormat.byteCount,
      "A panel's buffers are smaller than its shape")
    guard grid.rows * grid.columns > 0 else { return ErrorMetrics() }
    // The extents were checked above.
    switch source {
    case .float32: return quantize(panel, as: Float.self)
    case .bfloat16: return quantize(panel, as: BFloat16.self)
    case .float16: return quantize(panel, as: Float16.self)
    }
  }

  private func quantize<Source: SourceValue>(
    _ panel: Panel, as type: Source.Type
  ) -> ErrorMetrics {
    // The panel is only passed on.
    switch rule.element.format {
    case .e2m1: quantize(panel, as: type, encoder: E2M1Encoder(rule.element))
    case .e4m3: quantize(panel, as: type, encoder: E4M3Encoder(rule.element))
    case .e5m2: quantize(panel, as: type, encoder: E5M2Encoder(rule.element))
    }
  }

  private func quantize<Source: SourceValue, Encoder: ElementEncoder>(
    _ panel: Panel, as type: Source.Type, encoder: Encoder
  ) -> ErrorMetrics {
    var metrics = ErrorMetrics()
    let grid = blocking.grid(rows: panel.rows, columns: panel.columns)
    var accumulator = BlockErrors()
    let blocksPerRun =
      blocking.rows > 1 ? 1 : max(1, BlockErrors.run / min(blocking.columns, panel.columns))
    for blockRow in 0..<grid.rows {
      let firstRow = blockRow * (blocking.rows == .max ? 0 : blocking.rows)
      let rows = firstRow..<min(panel.rows, firstRow + min(blocking.rows, panel.rows))
      for blockColumn in 0..<grid.columns {
        let firstColumn = blockColumn * (blocking.columns == .max ? 0 : blocking.columns)
        let columns =
          firstColumn..<min(
            panel.columns, firstColumn + min(blocking.columns, panel.columns))
        // The ranges lie inside the panel, whose extents were checked.
        let choice = choose(panel, as: type, encoder: encoder, rows: rows, columns: columns)
        unsafe store(
          choice.scaleCode, at: blockRow * grid.columns + blockColumn, in: panel.scales)
        encodeBlock(
          panel, as: type, encoder: encoder, rows: rows, columns: columns, choice: choice,
          errors: &accumulator)
        if choice.isErased { erase(panel, as: Encoder.self, rows: rows, columns: columns) }
        // Narrow blocks of one row share runs of errors.
        if (blockColumn + 1) % blocksPerRun == 0 { accumulator.endRun() }
      }
      accumulator.flush(into: &metrics)
    }
    return metrics
  }

  /// The scale and factor of one block.
  @inline(__always)
  private func choose<Source: SourceValue, Encoder: ElementEncoder>(
    _ panel: Panel, as type: Source.Type, encoder: Encoder, rows: Range<Int>, columns: Range<Int>
  ) -> BlockRule.Choice {
    if let wholeTensorChoice { return wholeTensorChoice }
    var maximumBits = SIMD16<Int32>()
    for row in rows {
      var column = columns.lowerBound
      while column < columns.upperBound {
        let values = unsafe Source.load(
          panel.address(row, column, source), count: columns.upperBound - column)
        maximumBits = maximumBits.maximum(values.magnitudeBits)
        column += 16
      }
    }
    let maximum = Float(bitPattern: UInt32(maximumBits.max()))
    if maximum.isFinite {
      var choice = rule.choose(maximum)
      if let alternative = rule.alternative {
        choice = preferred(
          choice, or: alternative, maximum: maximum, panel, as: type, encoder: encoder, rows: rows,
          columns: columns)
      }
      guard searchesScales, maximum > 0 else { return choice }
      // A search wants the block's values once; blocks that are searched have one row of sixteen.
      return unsafe searchScale(
        around: choice,
        values: Source.load(
          panel.address(rows.lowerBound, columns.lowerBound, source), count: columns.count),
        encoder: encoder)
    }
    guard rule.hidesNonFinite else { return rule.nonFiniteChoice }
    var withoutNaN: Float = 0
    for row in rows {
      for column in columns {
        // `maximum` ignores NaN.
        withoutNaN = .maximum(
          withoutNaN, unsafe Source.load(panel.address(row, column, source)).magnitude)
      }
    }
    return rule.choose(withoutNaN)
  }

  @inline(__always)
  private func encodeBlock<Source: SourceValue, Encoder: ElementEncoder>(
    _ panel: Panel, as type: Source.Type, encoder: Encoder, rows: Range<Int>,
    columns: Range<Int>, choice: BlockRule.Choice, errors: inout BlockErrors
  ) {
    let scale = rule.scaleFormat.value(ofCode: choice.scaleCode)
    let scaledGreatest = rule.element.format.greatestFiniteMagnitude * scale
    // A value may exceed the largest code by a millionth because the scale was rounded to FP32.
    let greatest = (rule.tensorScale?.applied(to: scaledGreatest) ?? scaledGreatest) * 0x1.00001p0
    let rowBytes = rule.element.format.byteCount(panel.columns)
    for row in rows {
      // The rows of a tall block are runs of errors.
      if row > rows.lowerBound { errors.endRun() }
      // Inside the panel, whose extents were checked.
      let codes = unsafe panel.codes.baseAddress.unsafelyUnwrapped + row * rowBytes
      var column = columns.lowerBound
      while column < columns.upperBound {
        let count = min(16, columns.upperBound - column)
        let values = unsafe Source.load(panel.address(row, column, source), count: count)
        var scaled = rule.element.divides ? values / choice.factor : values * choice.factor
        if rule.element.intermediate != .float32 {
          scaled = rounded(scaled, to: rule.element.intermediate)
        }
        let encoded = encoder.encode(scaled, source: values)
        unsafe write(encoded.codes, of: Encoder.self, count: count, to: codes, column: column)
        var decoded = encoded.values * scale
        if let tensorScale = rule.tensorScale { decoded = tensorScale.applied(to: decoded) }
        errors.add(reference: values, candidate: decoded, greatest: greatest, count: count)
        column += 16
      }
    }
  }

  /// Overwrites the codes of a block, which decode to zeros of either sign, with +0.
  @inline(never)
  private func erase<Encoder: ElementEncoder>(
    _ panel: Panel, as encoder: Encoder.Type, rows: Range<Int>, columns: Range<Int>
  ) {
    let rowBytes = rule.element.format.byteCount(panel.columns)
    for row in rows {
      // Inside the panel, whose extents were checked.
      let codes = unsafe panel.codes.baseAddress.unsafelyUnwrapped + row * rowBytes
      for column in stride(from: columns.lowerBound, to: columns.upperBound, by: 16) {
        unsafe write(
          SIMD16(), of: encoder, count: min(16, columns.upperBound - column), to: codes,
          column: column)
      }
    }
  }

  @inline(never)
  private func rounded(_ values: SIMD16<Float>, to format: SourceFormat) -> SIMD16<Float> {
    if format == .bfloat16 {
      // Round half to even in the upper half. NaN is encoded as it is.
      let bits = values.bits
      let upper = (bits &+ 0x7FFF &+ ((bits &>> 16) & 1)) & SIMD16(repeating: -0x1_0000)
      return SIMD16<Float>(bits: upper.replaced(with: bits, in: values.nanLanes))
    }
    var result = values
    for index in 0..<16 { result[index] = format.rounded(values[index]) }
    return result
  }

  @inline(__always)
  private func store(_ code: UInt32, at index: Int, in scales: UnsafeMutableRawBufferPointer) {
    // The index lies inside the panel's grid, for which the buffer's size was checked.
    let address = unsafe scales.baseAddress.unsafelyUnwrapped
    switch rule.scaleFormat.byteCount {
    case 4: unsafe address.storeBytes(of: code, toByteOffset: index * 4, as: UInt32.self)
    case 2:
      unsafe address.storeBytes(
        of: UInt16(truncatingIfNeeded: code), toByteOffset: index * 2, as: UInt16.self)
    default:
      unsafe address.storeBytes(
        of: UInt8(truncatingIfNeeded: code), toByteOffset: index, as: UInt8.self)
    }
  }

  /// Writes the first `count` codes at a column of a row.
  @inline(__always)
  private func write<Encoder: ElementEncoder>(
    _ codes: SIMD16<Int32>, of encoder: Encoder.Type, count: Int,
    to row: UnsafeMutableRawPointer, column: Int
  ) {
    // All stores stay inside the row, whose extent was checked.
    if Encoder.bitWidth == 8 {
      let bytes = SIMD16<UInt8>(truncatingIfNeeded: codes)
      if count == 16 {
        unsafe row.storeBytes(of: bytes, toByteOffset: column, as: SIMD16<UInt8>.self)
      } else {
        for index in 0..<count {
          unsafe row.storeBytes(of: bytes[index], toByteOffset: column + index, as: UInt8.self)
        }
      }
    } else if count == 16, column & 1 == 0 {
      let pairs = codes.evenHalf | codes.oddHalf &<< 4
      unsafe row.storeBytes(
        of: SIMD8<UInt8>(truncatingIfNeeded: pairs), toByteOffset: column / 2,
        as: SIMD8<UInt8>.self)
    } else {
      for index in 0..<count {
        let place = column + index
        let nibble = UInt8(truncatingIfNeeded: codes[index])
        // A low nibble comes first and clears the byte's upper half; a high one joins it.
        let byte =
          place & 1 == 0
          ? nibble
          : unsafe row.load(fromByteOffset: place / 2, as: UInt8.self) & 0x0F | nibble << 4
        unsafe row.storeBytes(of: byte, toByteOffset: place / 2, as: UInt8.self)
      }
    }
  }
}

extension BlockQuantizer.Panel {
  /// The address of one value.
  @inline(__always)
  func address(_ row: Int, _ column: Int, _ source: SourceFormat) -> UnsafeRawPointer {
    // The caller stays inside the panel, whose extents were checked.
    unsafe values.baseAddress.unsafelyUnwrapped + (row * columns + column) * source.byteCount
  }
}

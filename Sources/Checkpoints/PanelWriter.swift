// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import Safetensors

/// Writes panels of one tensor in the form of a layout.
///
/// Panels may come in any order and from several threads.
struct PanelWriter: Sendable {
  let shape: BlockScaledShape
  let form: StoredForm
  let output: ConversionOutput

  /// The panels that a source of `rowBytes` bytes a row is worked on in.
  func panels(rowBytes: Int, bytes: Int) -> [(matrix: Int, rows: Range<Int>)] {
    // A tile of swizzled scales covers 128 rows, and panels must not share one.
    let unit =
      form.scalesAreSwizzled ? 128 : shape.scheme.blocking.panelUnit(rows: shape.rows)
    return splitIntoPanels(
      matrices: shape.matrices, rows: shape.rows, rowBytes: rowBytes, unit: unit, bytes: bytes,
      whole: form.isStoredTransposed)
  }

  /// Writes the tensor scale.
  func write(_ tensorScale: TensorScale?) throws {
    guard let place = form.tensorScale else { return }
    // A recipe of one level is stored with a neutral second one.
    let scale = tensorScale ?? TensorScale(1, isDivisor: form.tensorScaleIsDivisor)
    let value = scale.isDivisor == form.tensorScaleIsDivisor ? scale.value : 1 / scale.value
    try output.write(littleEndianBytes(value.bitPattern), to: place, at: 0)
  }

  /// Writes a panel, whose codes may be reordered on the way.
  func write(_ panel: inout CodePanel) throws {
    try writeCodes(&panel)
    try writeScales(panel)
  }

  private func writeCodes(_ panel: inout CodePanel) throws {
    let rowBytes = shape.element.byteCount(shape.columns)
    if form.isStoredTransposed {
      // The array is alive during the call.
      let transposed = unsafe panel.codes.withUnsafeBytes {
        unsafe transposedBytes($0, rows: shape.rows, columns: rowBytes)
      }
      return try output.write(transposed, to: form.codes, at: panel.matrix * transposed.count)
    }
    if form.highNibbleFirst { swapNibbles(&panel.codes) }
    let row = panel.matrix * form.storedRows + panel.rows.lowerBound
    try output.write(panel.codes, to: form.codes, at: row * rowBytes)
    if panel.rows.upperBound == shape.rows, form.storedRows > shape.rows {
      let padding = [UInt8](repeating: 0, count: (form.storedRows - shape.rows) * rowBytes)
      try output.write(padding, to: form.codes, at: (row + panel.rows.count) * rowBytes)
    }
  }

  private func writeScales(_ panel: CodePanel) throws {
    let grid = shape.grid
    if form.isStoredTransposed {
      // The array is alive during the call.
      let transposed = unsafe panel.scales.withUnsafeBytes {
        unsafe transposedBytes($0, rows: grid.rows, columns: grid.columns)
      }
      return try output.write(transposed, to: form.scales, at: panel.matrix * transposed.count)
    }
    if form.scalesAreSwizzled {
      let tiles = SwizzledScales.tiles(rows: grid.rows, columns: grid.columns)
      let swizzled = try SwizzledScales(
        linear: panel.scales, rows: panel.rows.count, columns: grid.columns)
      let tileRow = panel.matrix * tiles.rows + panel.rows.lowerBound / 128
      return try output.write(
        swizzled.bytes, to: form.scales, at: tileRow * tiles.columns * 512)
    }
    // A scale of the whole tensor belongs to its first panel.
    if shape.scheme.blocking.rows == .max, panel.rows.lowerBound > 0 { return }
    let scales = widened(panel.scales)
    let blockRow =
      panel.matrix * grid.rows + blockRowRange(panel.rows, shape.scheme.blocking).lowerBound
    try output.write(
      scales, to: form.scales, at: blockRow * grid.columns * form.scaleFormat.byteCount)
  }

  /// Scales in the format that the layout stores.
  private func widened(_ scales: [UInt8]) -> [UInt8] {
    guard form.scaleFormat != shape.scaleFormat else { return scales }
    var result: [UInt8] = []
    result.reserveCapacity(scales.count * 2)
    for index in stride(from: 0, to: scales.count, by: 2) {
      let code = UInt32(scales[index]) | UInt32(scales[index + 1]) << 8
      result += littleEndianBytes(shape.scaleFormat.value(ofCode: code).bitPattern)
    }
    return result
  }
}

/// The bytes of an integer, the lowest first.
func littleEndianBytes(_ value: UInt32) -> [UInt8] {
  (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * UInt32($0))) }
}

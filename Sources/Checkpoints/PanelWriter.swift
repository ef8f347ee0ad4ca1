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

  /// Takes the bytes of a panel and puts them in the order of the layout.
  func stored(_ panel: inout CodePanel) throws -> StoredPanel {
    let codes = takeCodes(&panel)
    let scales = try takeScales(&panel)
    return StoredPanel(
      rows: panel.rows, codes: codes.bytes, codesOffset: codes.offset, scales: scales.bytes,
      scalesOffset: scales.offset)
  }

  /// Writes a panel.
  func write(_ panel: StoredPanel) throws {
    try output.write(panel.codes, to: form.codes, at: panel.codesOffset)
    if let offset = panel.scalesOffset {
      try output.write(panel.scales, to: form.scales, at: offset)
    }
  }

  private func takeCodes(_ panel: inout CodePanel) -> (bytes: [UInt8], offset: Int) {
    let rowBytes = shape.element.byteCount(shape.columns)
    var codes: [UInt8] = []
    swap(&codes, &panel.codes)
    if form.isStoredTransposed {
      // The array is alive during the call.
      codes = unsafe codes.withUnsafeBytes {
        unsafe transposedBytes($0, rows: shape.rows, columns: rowBytes)
      }
      return (codes, panel.matrix * codes.count)
    }
    if form.highNibbleFirst { swapNibbles(&codes) }
    if panel.rows.upperBound == shape.rows, form.storedRows > shape.rows {
      codes.append(
        contentsOf: repeatElement(0, count: (form.storedRows - shape.rows) * rowBytes))
    }
    return (codes, (panel.matrix * form.storedRows + panel.rows.lowerBound) * rowBytes)
  }

  /// The offset is nil if these scales are not to be written.
  private func takeScales(_ panel: inout CodePanel) throws -> (bytes: [UInt8], offset: Int?) {
    let grid = shape.grid
    var scales: [UInt8] = []
    swap(&scales, &panel.scales)
    if form.isStoredTransposed {
      // The array is alive during the call.
      scales = unsafe scales.withUnsafeBytes {
        unsafe transposedBytes($0, rows: grid.rows, columns: grid.columns)
      }
      return (scales, panel.matrix * scales.count)
    }
    if form.scalesAreSwizzled {
      let tiles = SwizzledScales.tiles(rows: grid.rows, columns: grid.columns)
      let swizzled = try SwizzledScales(
        linear: scales, rows: panel.rows.count, columns: grid.columns)
      let tileRow = panel.matrix * tiles.rows + panel.rows.lowerBound / 128
      return (swizzled.bytes, tileRow * tiles.columns * 512)
    }
    // A scale of the whole tensor belongs to its first panel.
    if shape.scheme.blocking.rows == .max, panel.rows.lowerBound > 0 { return (scales, nil) }
    let blockRow =
      panel.matrix * grid.rows + blockRowRange(panel.rows, shape.scheme.blocking).lowerBound
    return (widened(scales), blockRow * grid.columns * form.scaleFormat.byteCount)
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

/// Some rows of one block-scaled matrix as a layout stores them.
struct StoredPanel: Sendable {
  var rows: Range<Int>
  var codes: [UInt8]
  var codesOffset: Int
  var scales: [UInt8]
  /// Nil if other rows bring the same scales.
  var scalesOffset: Int?
}

/// The bytes of an integer, the lowest first.
func littleEndianBytes(_ value: UInt32) -> [UInt8] {
  (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * UInt32($0))) }
}

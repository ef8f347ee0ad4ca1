// SPDX-License-Identifier: Apache-2.0

package import BlockScale
import Minifloat
import _BlockScaleShims

/// Decodes row panels of one tensor with the kernels of a tier, value for value as
/// `BlockDequantizer`, and rounds to the format of the result.
///
/// There are only 16 codes of E2M1 and 256 of its scales, so all its values are worked out beforehand
/// and decoding is looking up bytes.
package struct PanelDequantizer: Sendable {
  let reference: BlockDequantizer
  let result: SourceFormat
  private let kernels: Kernels?
  private let rule: bs_rule_t
  /// The values of E2M1 codes under each scale, byte by byte; see `decode_e2m1`.
  private let planes: [UInt8]
  private let pool: WorkspacePool
  private let operation: Int

  package init(_ reference: BlockDequantizer, to result: SourceFormat, on backend: CPUBackend) {
    self.reference = reference
    self.result = result
    kernels = Kernels(backend.tier)
    pool = backend.workspaces
    operation = pool.newOperation()
    rule = bs_rule_t(
      element: reference.element, tensorScale: reference.tensorScale, result: result)
    let isLookedUp =
      kernels != nil && reference.element == .e2m1 && reference.scaleFormat.byteCount == 1
    planes = isLookedUp ? Self.planes(reference, result) : []
  }

  private static func planes(_ reference: BlockDequantizer, _ result: SourceFormat) -> [UInt8] {
    let width = result.byteCount
    var planes = [UInt8](repeating: 0, count: 256 * 16 * width)
    for scaleCode in 0..<256 {
      let scale = reference.scaleFormat.value(ofCode: UInt32(scaleCode))
      for code in 0..<16 {
        let value = Float(Float4E2M1(bitPattern: UInt8(code))) * scale
        let bits = result.bits(of: reference.tensorScale?.applied(to: value) ?? value)
        for byte in 0..<width {
          planes[(scaleCode * width + byte) * 16 + code] =
            UInt8(truncatingIfNeeded: bits >> (8 * UInt32(byte)))
        }
      }
    }
    return planes
  }

  /// Decodes a panel of whole rows that begins on a block boundary.
  ///
  /// - Parameters:
  ///   - codes: The codes, row by row.
  ///   - scales: The scales of the panel's grid of blocks.
  ///   - values: Receives `rows × columns` values in the format of the result.
  /// - Complexity: O(rows × columns).
  package func dequantize(
    codes: UnsafeRawBufferPointer, scales: UnsafeRawBufferPointer, rows: Int, columns: Int,
    into values: UnsafeMutableRawBufferPointer
  ) {
    let blocking = reference.blocking
    let grid = blocking.grid(rows: rows, columns: columns)
    let codeRow = reference.element.byteCount(columns)
    let scaleWidth = reference.scaleFormat.byteCount
    precondition(
      codes.count >= rows * codeRow && values.count >= rows * columns * result.byteCount
        && scales.count >= grid.rows * grid.columns * scaleWidth,
      "A panel's buffers are smaller than its shape")
    let hasWholeBlocks = blocking.columns % 16 == 0 || blocking.columns >= columns
    guard let kernels, hasWholeBlocks, reference.element != .e2m1 || !planes.isEmpty,
      rows > 0, columns > 0
    else {
      return unsafe dequantizeByReference(codes, scales, rows, columns, values)
    }
    let block = min(blocking.columns, columns)
    // All addresses below lie inside the extents just checked.
    let codeBase = unsafe codes.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self)
    let scaleBase = unsafe scales.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self)
    let valueBase = unsafe values.baseAddress.unsafelyUnwrapped
    let valueRow = columns * result.byteCount
    if reference.element == .e2m1 {
      // Rows of whole blocks of their own follow each other without a gap.
      let joins = columns % block == 0 && block % 16 == 0 && blocking.rows == 1
      for row in 0..<(joins ? 1 : rows) {
        unsafe planes.withUnsafeBufferPointer { planes in
          unsafe kernels.functions.decode_e2m1(
            result.byteCount, codeBase + row * codeRow, joins ? rows * columns : columns, block,
            scaleBase + row / blocking.rows * grid.columns,
            planes.baseAddress.unsafelyUnwrapped, valueBase + row * valueRow)
        }
      }
      return
    }
    var rule = rule
    // Memory on its way while codes before it are decoded; they go on in the next row.
    rule.ahead = 3 << 10
    pool.with(operation: operation) { workspace in
      workspace.reserve(blocks: grid.columns)
      var loaded = -1
      for row in 0..<rows {
        let blockRow = row / blocking.rows
        if blockRow != loaded {
          loaded = blockRow
          // The workspace has room for a row of blocks.
          unsafe kernels.loadScales(
            scaleBase + blockRow * grid.columns * scaleWidth, reference.scaleFormat,
            count: grid.columns, into: workspace.scales)
        }
        unsafe kernels.functions.decode_float8(
          &rule, codeBase + row * codeRow, columns, block, workspace.scales,
          valueBase + row * valueRow)
      }
    }
  }

  private func dequantizeByReference(
    _ codes: UnsafeRawBufferPointer, _ scales: UnsafeRawBufferPointer, _ rows: Int, _ columns: Int,
    _ values: UnsafeMutableRawBufferPointer
  ) {
    let count = rows * columns
    // The caller has checked the sizes of all buffers; the array is alive during the calls.
    let floats = unsafe [Float](unsafeUninitializedCapacity: count) { floats, initialized in
      unsafe reference.dequantize(
        codes: codes, scales: scales, rows: rows, columns: columns, into: floats)
      initialized = count
    }
    for index in 0..<count {
      let bits = result.bits(of: floats[index])
      if result == .float32 {
        unsafe values.storeBytes(of: bits, toByteOffset: index * 4, as: UInt32.self)
      } else {
        unsafe values.storeBytes(
          of: UInt16(truncatingIfNeeded: bits), toByteOffset: index * 2, as: UInt16.self)
      }
    }
  }
}

extension SourceFormat {
  /// The bits of a value rounded to this format.
  func bits(of value: Float) -> UInt32 {
    switch self {
    case .float32: value.bitPattern
    case .bfloat16: UInt32(BFloat16(value).bitPattern)
    case .float16: UInt32(Float16(value).bitPattern)
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

package import BlockScale
import Minifloat
import _BlockScaleShims

/// Quantizes row panels of one tensor with the kernels of a tier, byte for byte as `BlockQuantizer`.
///
/// A kernel finds the largest magnitudes of blocks, the recipe's rule turns each into a scale and a
/// factor, and another kernel encodes with the factors. For 16-bit sources the rule is asked once for
/// each magnitude that occurs. What kernels do not know is left to `BlockQuantizer`: searched and
/// alternative scales, and blocks of several columns whose number is no multiple of 16.
package struct PanelQuantizer: Sendable {
  package let reference: BlockQuantizer
  let kernels: Kernels?
  let kernelRule: bs_rule_t
  private let pool: WorkspacePool
  private let operation: Int

  package init(_ reference: BlockQuantizer, on backend: CPUBackend) {
    self.reference = reference
    kernels = Kernels(backend.tier)
    kernelRule = bs_rule_t(reference.rule, source: reference.source)
    pool = backend.workspaces
    operation = pool.newOperation()
  }

  var rule: BlockRule { reference.rule }
  var source: SourceFormat { reference.source }
  var blocking: Blocking { reference.blocking }

  /// Quantizes a panel.
  ///
  /// - Parameter measures: Whether errors are wanted; they cost about as much as the codes.
  /// - Returns: The errors of each row of blocks, in order; merged in this order they are the numbers
  ///   of `BlockQuantizer`. Empty if they are not wanted.
  /// - Complexity: O(rows × columns).
  @discardableResult
  package func quantize(_ panel: BlockQuantizer.Panel, measures: Bool) -> [ErrorMetrics] {
    let grid = blocking.grid(rows: panel.rows, columns: panel.columns)
    let hasWholeBlocks = blocking.columns % 16 == 0 || blocking.columns >= panel.columns
    guard let kernels, !reference.searchesScales, rule.alternative == nil, hasWholeBlocks,
      panel.columns > 0,
      panel.rows > 0
    else {
      return quantizeByReference(panel, measures: measures)
    }
    precondition(
      unsafe panel.values.count >= panel.rows * panel.columns * source.byteCount
        && panel.codes.count >= panel.rows * rule.element.format.byteCount(panel.columns)
        && panel.scales.count >= grid.rows * grid.columns * rule.scaleFormat.byteCount,
      "A panel's buffers are smaller than its shape")
    return withWorkspace { workspace in
      var run = PanelRun(
        quantizer: self, kernels: kernels, panel: panel, workspace: workspace, measures: measures)
      if reference.wholeTensorChoice != nil {
        run.quantizeWithOneScale()
      } else if blocking.rows > 1 {
        run.quantizeTallBlocks()
      } else if rule.element.format == .e2m1, source != .float32, rule.scaleFormat.byteCount == 1 {
        run.quantizeByThresholds()
      } else {
        run.quantizeRows()
      }
      return run.metrics
    }
  }

  func withWorkspace<Result>(_ body: (Workspace) -> Result) -> Result {
    pool.with(operation: operation, body)
  }

  private func quantizeByReference(
    _ panel: BlockQuantizer.Panel, measures: Bool
  ) -> [ErrorMetrics] {
    guard blocking.rows != .max, measures else { return [reference.quantize(panel)] }
    // One row of blocks at a time, each with errors of its own.
    let grid = blocking.grid(rows: panel.rows, columns: panel.columns)
    let rowBytes = rule.element.format.byteCount(panel.columns)
    let scaleBytes = grid.columns * rule.scaleFormat.byteCount
    return (0..<grid.rows).map { blockRow in
      let rows = blockRow * blocking.rows..<min(panel.rows, (blockRow + 1) * blocking.rows)
      // Checked ranges of the panel's buffers.
      return unsafe reference.quantize(
        BlockQuantizer.Panel(
          values: slice(
            panel.values, rows.lowerBound * panel.columns * source.byteCount,
            rows.count * panel.columns * source.byteCount),
          rows: rows.count, columns: panel.columns,
          codes: slice(panel.codes, rows.lowerBound * rowBytes, rows.count * rowBytes),
          scales: slice(panel.scales, blockRow * scaleBytes, scaleBytes)))
    }
  }

  /// The largest magnitude of a run of values, as a bit pattern of FP32 without sign.
  package func maximumMagnitudeBits(_ values: UnsafeRawBufferPointer) -> UInt32 {
    // The buffer is only passed on.
    unsafe Self.maximumMagnitudeBits(values, source, kernels)
  }

  static func maximumMagnitudeBits(
    _ values: UnsafeRawBufferPointer, _ source: SourceFormat, _ kernels: Kernels?
  ) -> UInt32 {
    guard let kernels, let address = values.baseAddress else {
      return unsafe source.maximumMagnitudeBits(values)
    }
    let width = source.byteCount
    // The kernel reads the values of the buffer.
    let bits = unsafe kernels.functions.maximum(width, address, values.count / width)
    return source.value(ofMagnitude: bits).bitPattern
  }
}

/// Part of a buffer whose extent is checked also in release builds.
func slice(_ buffer: UnsafeRawBufferPointer, _ offset: Int, _ count: Int) -> UnsafeRawBufferPointer
{
  precondition(offset >= 0 && count >= 0 && offset + count <= buffer.count, "Outside the buffer")
  // Inside the buffer.
  return unsafe UnsafeRawBufferPointer(rebasing: buffer[offset..<offset + count])
}

/// Part of a buffer whose extent is checked also in release builds.
func slice(
  _ buffer: UnsafeMutableRawBufferPointer, _ offset: Int, _ count: Int
) -> UnsafeMutableRawBufferPointer {
  precondition(offset >= 0 && count >= 0 && offset + count <= buffer.count, "Outside the buffer")
  // Inside the buffer.
  return unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[offset..<offset + count])
}

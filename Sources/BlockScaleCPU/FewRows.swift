// SPDX-License-Identifier: Apache-2.0

import _BlockScaleShims

/// Up to four rows that meet columns as they are stored.
///
/// It owns what the kernels' view of them points to, which nothing changes once they are made.
// Sendable in spite of its pointers for the same reason.
@safe
final class FewRows: @unchecked Sendable {
  /// The rows as kernels see them.
  let view: bs_few_rows_t
  private let values: AlignedBuffer
  private let digits: AlignedBuffer?

  /// The most rows that kernels multiply at once, and the most groups of sixteen outputs.
  static let (most, columnGroups) = (4, 4)
  /// From one row of sums to the next.
  static let sumsStride = 16 * columnGroups

  /// - Parameters:
  ///   - source: What the rows are taken from.
  ///   - depth: The k of each row with those that pad it, a multiple of sixteen.
  ///   - takesDigits: Whether the rows are put in digits as well, if these kernels have products of them, all
  ///     values are finite, and only some differ so much from those beside them that they need digits of
  ///     their own.
  init(
    _ source: bs_rows_t, rows: Range<Int>, depth: Int, takesDigits: Bool,
    kernels: some TileKernels
  ) {
    values = AlignedBuffer(byteCount: rows.count * depth * 4)
    values.clear()
    let x = unsafe values.pointer(to: Float.self)
    // The buffer was made for these rows.
    unsafe kernels.decodeRows(source, rows: rows, into: x, stride: depth)
    var view = unsafe bs_few_rows_t()
    unsafe view.x = UnsafePointer(x)
    unsafe view.x_stride = depth
    unsafe view.rows = rows.count
    let capacity = depth / 16 * 2
    let digits =
      takesDigits
      ? AlignedBuffer(byteCount: rows.count * capacity * MemoryLayout<bs_digits_t>.stride) : nil
    var isSplit = true
    for row in 0..<(digits == nil ? 0 : rows.count) where isSplit {
      // Each row has its own part of both buffers.
      let count = unsafe kernels.splitRow(
        x + row * depth, depth: depth,
        into: digits!.pointer(to: bs_digits_t.self) + row * capacity, capacity: capacity)
      // A fixed number of places, of which these are the first.
      unsafe withUnsafeMutableBytes(of: &view.digits_count) {
        unsafe $0.storeBytes(
          of: count, toByteOffset: row * MemoryLayout<Int>.stride, as: Int.self)
      }
      isSplit = count > 0
    }
    self.digits = isSplit ? digits : nil
    // Freed with this object, as are the values.
    unsafe view.digits = self.digits.map { unsafe UnsafePointer($0.pointer(to: bs_digits_t.self)) }
    unsafe view.digits_stride = capacity
    unsafe self.view = view
  }
}

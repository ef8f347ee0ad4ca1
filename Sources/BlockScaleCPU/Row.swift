// SPDX-License-Identifier: Apache-2.0

import BlockScale
import _BlockScaleShims

/// The FP32 values of one row on its way through an operation, in vectors of sixteen.
///
/// Lanes behind the last column belong to the row's memory; ``clearTail()`` makes them zero, which
/// changes neither sums nor maxima.
// Sendable in spite of its pointer: each thread works in rows of its own.
@safe final class Row: @unchecked Sendable {
  let columns: Int
  /// The number of vectors.
  let count: Int
  let kernels: LayerKernels
  private let buffer: AlignedBuffer
  private let base: UnsafeMutablePointer<SIMD16<Float>>

  /// A row of zeros.
  init(columns: Int, _ kernels: LayerKernels) {
    self.columns = columns
    self.kernels = kernels
    count = (columns + 15) / 16
    buffer = AlignedBuffer(byteCount: count * 64)
    buffer.clear()
    // On the boundary of a cache line, which is what a vector needs; alive as long as the buffer.
    unsafe base = buffer.pointer(to: SIMD16<Float>.self)
  }

  /// A row of parameters.
  convenience init(_ values: [Float], _ kernels: LayerKernels) {
    self.init(columns: values.count, kernels)
    for (column, value) in values.enumerated() { self[column / 16][column % 16] = value }
  }

  /// The values for kernels, which may touch whole vectors.
  var values: UnsafeMutablePointer<Float> {
    // As many floats as the vectors have lanes.
    unsafe UnsafeMutableRawPointer(base).assumingMemoryBound(to: Float.self)
  }

  /// A vector.
  @inline(__always)
  subscript(index: Int) -> SIMD16<Float> {
    get {
      assert((0..<count).contains(index))
      // Callers count up to `count`.
      return unsafe base[index]
    }
    set {
      assert((0..<count).contains(index))
      // Callers count up to `count`.
      unsafe base[index] = newValue
    }
  }

  /// Makes what lies behind the last column zero.
  func clearTail() {
    guard columns % 16 != 0 else { return }
    var last = self[count - 1]
    for lane in columns % 16..<16 { last[lane] = 0 }
    self[count - 1] = last
  }

  /// Replaces every value.
  @inline(__always)
  func apply(_ transform: (Float) -> Float) {
    // As many floats as the row has columns.
    let values = unsafe values
    for column in 0..<columns { unsafe values[column] = transform(values[column]) }
  }

  /// Replaces every vector, given its index.
  @inline(__always)
  func fill(_ vector: (Int) -> SIMD16<Float>) {
    for index in 0..<count { self[index] = vector(index) }
  }

  /// The sum of terms in the order of `BlockScale.rowSum`; terms behind the last column must be zero.
  @inline(__always)
  func sum(_ term: (Int) -> SIMD16<Float>) -> Float {
    var sums = SIMD16<Float>()
    for index in 0..<count { sums += term(index) }
    let eight = sums.lowHalf + sums.highHalf
    let four = eight.lowHalf + eight.highHalf
    let two = four.lowHalf + four.highHalf
    return two.x + two.y
  }

  /// The largest magnitude of each group.
  ///
  /// - Parameter groupSize: A multiple of sixteen, or at least the number of columns.
  func groupMaxima(groupSize: Int, _ recipe: ActivationRecipe) -> [Float] {
    filled((columns - 1) / groupSize + 1) { maxima in
      // One place for each group.
      unsafe kernels.functions.group_maxima(
        values, columns, groupSize, recipe == .coat ? 1 : 0, maxima.pointer(0, count: maxima.count))
    }
  }

  /// The largest magnitude of the whole row.
  func largestMagnitude(_ recipe: ActivationRecipe) -> Float {
    groupMaxima(groupSize: columns, recipe)[0]
  }
}

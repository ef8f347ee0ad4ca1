// SPDX-License-Identifier: Apache-2.0

import BlockScale

/// The FP32 values of one row on its way through an operation, in vectors of sixteen.
///
/// Lanes behind the last column belong to the row's memory; ``clearTail()`` makes them zero, which
/// changes neither sums nor maxima.
// Sendable in spite of its pointer: each thread works in rows of its own.
@safe final class Row: @unchecked Sendable {
  let columns: Int
  /// The number of vectors.
  let count: Int
  private let buffer: AlignedBuffer
  private let base: UnsafeMutablePointer<SIMD16<Float>>

  /// A row of zeros.
  init(columns: Int) {
    self.columns = columns
    count = (columns + 15) / 16
    buffer = AlignedBuffer(byteCount: count * 64)
    buffer.clear()
    // On the boundary of a cache line, which is what a vector needs; alive as long as the buffer.
    unsafe base = buffer.pointer(to: SIMD16<Float>.self)
  }

  /// A row of parameters.
  convenience init(_ values: [Float]) {
    self.init(columns: values.count)
    for (column, value) in values.enumerated() { self[column / 16][column % 16] = value }
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
    let values = unsafe UnsafeMutableRawPointer(base).assumingMemoryBound(to: Float.self)
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

  /// The largest magnitude of some vectors, whose tail must be clear.
  @inline(__always)
  func largestMagnitude(_ vectors: Range<Int>, _ recipe: ActivationRecipe) -> Float {
    var bits = SIMD16<Int32>()
    for index in vectors { bits = bits.maximum(self[index].magnitudeBits) }
    let eight = larger(bits.lowHalf, bits.highHalf)
    let four = larger(eight.lowHalf, eight.highHalf)
    let two = larger(four.lowHalf, four.highHalf)
    let maximum = Float(bitPattern: UInt32(max(two.x, two.y)))
    guard maximum.isNaN, recipe == .coat else { return maximum }
    // Rare, so one value at a time.
    var result: Float = 0
    for index in vectors {
      for lane in 0..<16 { result = recipe.larger(result, self[index][lane]) }
    }
    return result
  }

  /// The largest magnitude of the whole row.
  func largestMagnitude(_ recipe: ActivationRecipe) -> Float {
    clearTail()
    return largestMagnitude(0..<count, recipe)
  }
}

/// The larger of each pair of lanes, none of which is negative.
@inline(__always)
private func larger<Lanes: SIMD>(_ first: Lanes, _ second: Lanes) -> Lanes
where Lanes.Scalar == Int32 {
  let difference = first &- second
  return first &- (difference & (difference &>> 31))
}

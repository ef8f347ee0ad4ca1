// SPDX-License-Identifier: Apache-2.0

// Loops over the lanes of a mask, with a form for full masks that the compiler turns into vector
// instructions. Operations are inlined into them.

extension Warp {
  @inline(__always)
  func map<A: BitwiseCopyable, D: BitwiseCopyable>(
    _ destination: Place, _ a: Place, _ mask: UInt32, _ operation: (A) -> D
  ) {
    let result = registers.lanes(D.self, at: destination.offset)
    let x = registers.lanes(A.self, at: a.offset)
    if mask == ~0 {
      for lane in 0..<32 { result[lane] = operation(x[lane]) }
    } else {
      for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 { result[lane] = operation(x[lane]) }
    }
  }

  @inline(__always)
  func map<A: BitwiseCopyable, B: BitwiseCopyable, D: BitwiseCopyable>(
    _ destination: Place, _ a: Place, _ b: Place, _ mask: UInt32, _ operation: (A, B) -> D
  ) {
    let result = registers.lanes(D.self, at: destination.offset)
    let x = registers.lanes(A.self, at: a.offset)
    let y = registers.lanes(B.self, at: b.offset)
    if mask == ~0 {
      for lane in 0..<32 { result[lane] = operation(x[lane], y[lane]) }
    } else {
      for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
        result[lane] = operation(x[lane], y[lane])
      }
    }
  }

  @inline(__always)
  func map<A: BitwiseCopyable, B: BitwiseCopyable, C: BitwiseCopyable, D: BitwiseCopyable>(
    _ destination: Place, _ a: Place, _ b: Place, _ c: Place, _ mask: UInt32,
    _ operation: (A, B, C) -> D
  ) {
    let result = registers.lanes(D.self, at: destination.offset)
    let x = registers.lanes(A.self, at: a.offset)
    let y = registers.lanes(B.self, at: b.offset)
    let z = registers.lanes(C.self, at: c.offset)
    if mask == ~0 {
      for lane in 0..<32 { result[lane] = operation(x[lane], y[lane], z[lane]) }
    } else {
      for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
        result[lane] = operation(x[lane], y[lane], z[lane])
      }
    }
  }

  /// A bit for each lane of the mask in which a relation holds.
  @inline(__always)
  func test<A: BitwiseCopyable>(
    _ a: Place, _ b: Place, _ mask: UInt32, _ relation: (A, A) -> Bool
  ) -> UInt32 {
    let x = registers.lanes(A.self, at: a.offset)
    let y = registers.lanes(A.self, at: b.offset)
    var bits: UInt32 = 0
    for lane in 0..<32 { bits |= (relation(x[lane], y[lane]) ? 1 : 0) << UInt32(lane) }
    return bits & mask
  }
}

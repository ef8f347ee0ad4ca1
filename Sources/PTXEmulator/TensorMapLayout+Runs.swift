// SPDX-License-Identifier: Apache-2.0

import PTX

extension TensorMapLayout {
  /// Bytes that lie together in a box and in global memory.
  struct Run {
    /// In the box as it lies in shared memory before swizzling.
    var offset: Int
    var address: UInt64
    var count: Int
  }

  /// The runs of the box at coordinates (innermost first) that lie within the tensor.
  func runs(at coordinates: [Int]) -> [Run] {
    let size = element.byteCount
    let rowBytes = box[0] * size
    let first = Swift.max(coordinates[0], 0)
    let last = Swift.min(coordinates[0] + box[0], extents[0])
    guard first < last else { return [] }
    var runs: [Run] = []
    // Counts through the outer dimensions of the box.
    var index = Array(repeating: 0, count: box.count)
    var row = 0
    while true {
      var address = base &+ UInt64(first * size)
      var isInside = true
      for dimension in 1..<Swift.max(box.count, 1) {
        let coordinate = coordinates[dimension] + index[dimension]
        guard coordinate >= 0, coordinate < extents[dimension] else {
          isInside = false
          break
        }
        address &+= UInt64(coordinate * strides[dimension - 1])
      }
      if isInside {
        runs.append(
          Run(
            offset: row * rowBytes + (first - coordinates[0]) * size, address: address,
            count: (last - first) * size))
      }
      row += 1
      var dimension = 1
      while dimension < box.count {
        index[dimension] += 1
        if index[dimension] < box[dimension] { break }
        index[dimension] = 0
        dimension += 1
      }
      if dimension >= box.count { return runs }
    }
  }

  /// Where bytes of a box at an aligned place lie, in pieces that swizzling keeps together.
  func pieces(_ run: Run, in box: Int) -> [Range<Int>] {
    if swizzle == .none { return [box + run.offset..<box + run.offset + run.count] }
    var pieces: [Range<Int>] = []
    var offset = run.offset
    let end = run.offset + run.count
    while offset < end {
      let next = Swift.min((offset & ~15) + 16, end)
      let start = swizzle.place(of: box + offset)
      pieces.append(start..<start + next - offset)
      offset = next
    }
    return pieces
  }
}

extension EmulatedMemory {
  /// Reads bytes for a copy.
  func read(
    _ address: UInt64, _ count: Int, checkingWritten checks: Bool
  ) throws(Fault) -> (Storage<UInt8>, Int) {
    let (allocation, offset) = try locate(address, count)
    if checks {
      for index in offset..<offset + count where allocation.written[index] == 0 {
        throw Fault(
          .uninitializedGlobal,
          "copies byte \(index) of an allocation of \(allocation.bytes.count), which nothing has written"
        )
      }
    }
    return (allocation.bytes, offset)
  }
}

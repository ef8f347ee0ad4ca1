// SPDX-License-Identifier: Apache-2.0

import PTX

// `ldmatrix` and `stmatrix`: matrices of eight rows of eight values of 16 bits. Lane 8i + r names
// the address of row r of matrix i; lane l holds columns 2(l mod 4) and the next of row l / 4.

extension Decoder {
  mutating func decodeLoadMatrix(
    _ to: [Register], _ address: Address, _ transposed: Bool
  ) -> Work {
    let destinations = matrixPlaces(to)
    let address = place(address, .shared)
    return { (warp, mask) throws(Fault) in
      try warp.requireConvergence(mask, "`ldmatrix`")
      let (shared, rows) = try warp.matrixRows(address, destinations.count, "loads")
      for (lane, row) in rows.enumerated() { try shared.read(row, 16, by: warp, lane: lane) }
      for (matrix, destination) in destinations.enumerated() {
        for lane in 0..<32 {
          var word: UInt64 = 0
          for half in 0..<2 {
            let (row, column) = matrixPlace(lane, half, transposed)
            let value = shared.bytes.load(UInt16.self, at: rows[matrix * 8 + row] + column * 2)
            word |= UInt64(value) << UInt64(half * 16)
          }
          warp[destination, lane] = word
        }
      }
      return .done
    }
  }

  mutating func decodeStoreMatrix(
    _ from: [Register], _ address: Address, _ transposed: Bool
  ) -> Work {
    let sources = matrixPlaces(from)
    let address = place(address, .shared)
    return { (warp, mask) throws(Fault) in
      try warp.requireConvergence(mask, "`stmatrix`")
      let (shared, rows) = try warp.matrixRows(address, sources.count, "stores")
      for (index, row) in rows.enumerated() {
        if let other = rows[..<index].firstIndex(of: row) {
          throw Fault(
            .conflictingWrites,
            "stores two rows of matrices to shared byte \(row), by lanes \(other) and \(index)",
            lane: index)
        }
      }
      for (matrix, source) in sources.enumerated() {
        for lane in 0..<32 {
          for half in 0..<2 {
            let (row, column) = matrixPlace(lane, half, transposed)
            let place = rows[matrix * 8 + row] + column * 2
            try shared.write(place, 2, by: warp, lane: lane)
            let value = UInt16(truncatingIfNeeded: warp[source, lane] >> UInt64(half * 16))
            shared.bytes.store(value, at: place)
          }
        }
      }
      return .done
    }
  }

  private mutating func matrixPlaces(_ registers: [Register]) -> [Place] {
    if ![1, 2, 4].contains(registers.count) {
      report("moves \(registers.count) matrices at once; 1, 2 or 4 are possible")
    }
    return registers.map { place($0, .bits32) }
  }
}

/// The row and column of a lane's value.
@inline(__always)
private func matrixPlace(_ lane: Int, _ half: Int, _ transposed: Bool) -> (row: Int, column: Int) {
  let (major, minor) = (lane / 4, lane % 4 * 2 + half)
  return transposed ? (minor, major) : (major, minor)
}

extension Warp {
  /// Where the rows lie that the first lanes name, eight for each matrix.
  func matrixRows(
    _ address: AddressPlace, _ matrices: Int, _ verb: String
  ) throws(Fault) -> (SharedMemory, [Int]) {
    var rows: [Int] = []
    for lane in 0..<matrices * 8 {
      let (_, offset) = try shared(
        address.address(self, lane), 16, lane, "\(verb) rows of matrices of", inCluster: false)
      rows.append(offset)
    }
    return (block.shared, rows)
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

/// A tile of 128×128 values in shared memory, written by rows and read by columns.
///
/// Chunks of 16 bytes are exchanged within a row by a key of its index, so that the eight rows that one
/// matrix of `ldmatrix` is read from lie in different banks. Those rows are chosen so that the lanes
/// receive neighbours of a column: lane `l` gets, in four matrices, the eight rows from
/// `16·(l mod 4)` of column `l / 4`.
struct TurnedTile {
  private let k: KernelBuilder
  private let format: SourceFormat
  private let base: SharedPointer<UInt32>
  private let rowBytes: Int

  init(_ k: KernelBuilder, format: SourceFormat) {
    self.k = k
    self.format = format
    rowBytes = QuantizeTiles.extent * format.byteCount
    base = k.shared(UInt32.self, count: Self.byteCount(format) / 4, alignment: 128)
  }

  /// The shared memory of a tile.
  static func byteCount(_ format: SourceFormat) -> Int {
    QuantizeTiles.extent * QuantizeTiles.extent * format.byteCount
  }

  /// What chunk numbers of a row are exchanged by.
  private func key(row: Value<UInt32>) -> Value<UInt32> { (row >> 3 & 6) | (row & 1) }

  private func chunk(_ chunk: Value<UInt32>, row: Value<UInt32>) -> Value<UInt32> {
    row * rowBytes + ((chunk ^ key(row: row)) << 4)
  }

  private func pointer(_ bytes: Value<UInt32>) -> SharedPointer<UInt32> {
    SharedPointer(address: base.address + bytes)
  }

  /// Where a thread keeps runs of rows that are exchanged alike: at even distances below 16, from the
  /// first or second of 16.
  struct Place {
    fileprivate let rowBytes: Int
    /// Of one run, or of either half of one of FP32.
    fileprivate let pointers: [SharedPointer<UInt32>]

    /// The place so many rows below.
    func below(_ rows: Value<UInt32>) -> Place {
      let distance = rows * rowBytes
      return Place(
        rowBytes: rowBytes,
        pointers: pointers.map { SharedPointer(address: $0.address + distance) })
    }

    /// Keeps eight values of the row `below` this one.
    func store(_ run: SourceRun, below rows: Int) {
      for (half, pointer) in pointers.enumerated() {
        pointer.advanced(by: rows * rowBytes / 4)
          .store(Array(run.words[4 * half..<4 * half + 4]))
      }
    }
  }

  /// The place of eight values of a row, of which `chunk` counts.
  func place(row: Value<UInt32>, chunk number: Value<UInt32>) -> Place {
    let chunks = format == .float32 ? [number << 1, number << 1 | 1] : [number]
    return Place(rowBytes: rowBytes, pointers: chunks.map { pointer(chunk($0, row: row)) })
  }

  /// Values of eight columns, of which `chunk` counts: each lane gets those of one column, two runs
  /// that follow each other from either half of the rows.
  func columnRuns(chunk number: Value<UInt32>) -> [[SourceRun]] {
    let lane = k.lane
    if format == .float32 { return wideColumnRuns(chunk: number, lane: lane) }
    // The lane gives the address of row `lane mod 8` of matrix `lane / 8`.
    let place = lane & 7
    let row = (place >> 1) << 4 | (lane >> 3) << 1 | (place & 1)
    let start = base.address + row * rowBytes + ((number ^ place) << 4)
    return [0, 64].map { half in
      [0, 8].map { eight in
        let registers = (0..<4).map { _ in k.register(.bits32) }
        k.append(
          .loadMatrix(
            registers, Address(start.register, offset: (half + eight) * rowBytes), transposed: true)
        )
        return SourceRun(k, format, words: registers.map { Value($0, k) })
      }
    }
  }

  /// FP32 has no such instruction: each value is read by itself, without conflicts.
  private func wideColumnRuns(
    chunk number: Value<UInt32>, lane: Value<UInt32>
  ) -> [[SourceRun]] {
    let firstRow = (lane & 3) << 4
    let column = lane >> 2
    return [0, 64].map { half in
      [0, 8].map { eight in
        let words = (0..<8).map { index in
          // The key depends on the lane's quarter and on whether the row is odd.
          let row = firstRow + (half + eight + index)
          let place = chunk(number << 1 | column >> 2, row: row) + ((column & 3) << 2)
          return pointer(place).load()
        }
        return SourceRun(k, format, words: words)
      }
    }
  }
}

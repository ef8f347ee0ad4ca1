// SPDX-License-Identifier: Apache-2.0

import PTX

/// A tile of 64×64 codes of eight bits, which 256 threads turn: four threads have a row, sixteen
/// neighbours each.
struct CodeTile {
  static let extent = 64
  static let threads = 256
  /// Bytes between rows in shared memory: a word more than a row keeps columns on banks of their own.
  private static let pitch = extent + 4

  private let k: KernelBuilder
  private let bytes: SharedPointer<UInt8>

  init(_ k: KernelBuilder) {
    self.k = k
    bytes = k.shared(UInt8.self, count: Self.extent * Self.pitch)
  }

  /// Blocks for a matrix, one a tile.
  static func grid(rows: Int, columns: Int) -> GridShape {
    GridShape(columns.dividedUp(by: extent) * rows.dividedUp(by: extent))
  }

  /// Where the block's tile lies in the matrix, and the thread's codes in the tile.
  struct Place {
    let firstRow: Value<UInt32>
    let firstColumn: Value<UInt32>
    let row: Value<UInt32>
    let column: Value<UInt32>

    init(_ k: KernelBuilder, columns: Value<UInt32>) {
      let tilesAcross = columns.dividedUp(by: CodeTile.extent)
      let block = k.special(.blockX)
      let tileRow = block / tilesAcross
      firstRow = tileRow * CodeTile.extent
      firstColumn = (block - tileRow * tilesAcross) * CodeTile.extent
      row = k.thread >> 2
      column = (k.thread & 3) * RowRun.width
    }
  }

  /// Takes the thread's codes, and gives those at its place in the transposed tile.
  func turned(_ words: [Value<UInt32>]) -> [Value<UInt32>] {
    let thread = k.thread
    let start = bytes[(thread >> 2) * Self.pitch + (thread & 3) * RowRun.width]
    for (index, word) in words.enumerated() {
      start.advanced(by: 4 * index).assuming(UInt32.self).store(word)
    }
    k.barrier()
    // Four columns by four rows of words a thread, turned in registers.
    let turnedColumn = (thread & 15) * 4, turnedRow = (thread >> 4) * 4
    let read = (0..<4).map { line in
      bytes[(turnedRow + line) * Self.pitch + turnedColumn].assuming(UInt32.self).load()
    }
    k.barrier()
    for (line, word) in transposedBytes(k, read).enumerated() {
      bytes[(turnedColumn + line) * Self.pitch + turnedRow].assuming(UInt32.self).store(word)
    }
    k.barrier()
    return (0..<4).map { start.advanced(by: 4 * $0).assuming(UInt32.self).load() }
  }
}

/// The transpose of four words of four bytes.
func transposedBytes(_ k: KernelBuilder, _ rows: [Value<UInt32>]) -> [Value<UInt32>] {
  let low = rows[0].permuted(with: rows[1], selector: Value(0x5140))
  let high = rows[0].permuted(with: rows[1], selector: Value(0x7362))
  let low2 = rows[2].permuted(with: rows[3], selector: Value(0x5140))
  let high2 = rows[2].permuted(with: rows[3], selector: Value(0x7362))
  return [
    low.permuted(with: low2, selector: Value(0x5410)),
    low.permuted(with: low2, selector: Value(0x7632)),
    high.permuted(with: high2, selector: Value(0x5410)),
    high.permuted(with: high2, selector: Value(0x7632)),
  ]
}

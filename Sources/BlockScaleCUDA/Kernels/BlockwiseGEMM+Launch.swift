// SPDX-License-Identifier: Apache-2.0

package import PTX

/// Rows of a matrix in a device's memory.
package struct DeviceRows: Hashable, Sendable {
  /// Of the first row.
  package var address: UInt64
  /// From one row to the next.
  package var rowBytes: Int

  package init(address: UInt64, rowBytes: Int) {
    self.address = address
    self.rowBytes = rowBytes
  }
}

extension BlockwiseGEMM {
  /// A product and where its parts lie.
  package struct Product: Hashable, Sendable {
    /// M, N and K: rows of A and Y, rows of B and columns of Y, columns of A and B.
    package var rows: Int
    package var columns: Int
    package var depth: Int
    /// E4M3 codes; rows at multiples of 16 bytes, as those of `b` and `y`.
    package var a: DeviceRows
    /// FP32 scales of A, a row of M for each 128 of K.
    package var aScales: DeviceRows
    package var b: DeviceRows
    /// FP32 scales of B, row by row of its blocks.
    package var bScales: UInt64
    /// BF16.
    package var y: DeviceRows

    package init(
      rows: Int, columns: Int, depth: Int, a: DeviceRows, aScales: DeviceRows, b: DeviceRows,
      bScales: UInt64, y: DeviceRows
    ) {
      self.rows = rows
      self.columns = columns
      self.depth = depth
      self.a = a
      self.aScales = aScales
      self.b = b
      self.bScales = bScales
      self.y = y
    }
  }

  /// The launch that computes a product.
  ///
  /// - Parameter multiprocessors: That the grid is to fill; at most so many blocks run, and each takes
  ///   one tile after the other.
  /// - Throws: ``KernelError`` if the target lacks what the kernel asks for, or an operand does not lie as
  ///   tensor maps want.
  package func launch(
    _ product: Product, target: Target, multiprocessors: Int
  ) throws(KernelError) -> KernelLaunch {
    let (m, n, k) = (product.rows, product.columns, product.depth)
    let depthBlocks = k.dividedUp(by: Self.blockDepth)
    return KernelLaunch(
      try tree(for: target),
      grid: GridShape(configuration.blocks(rows: m, columns: n, multiprocessors: multiprocessors)),
      arguments: [
        "a": .tensorMap(
          try configuration.aBox.tensorMap(
            base: product.a.address, rows: m, columns: k, rowBytes: product.a.rowBytes, operand: "A"
          )),
        "b": .tensorMap(
          try configuration.b.tensorMap(
            base: product.b.address, rows: n, columns: k, rowBytes: product.b.rowBytes, operand: "B"
          )),
        "aScales": .tensorMap(
          try configuration.aScales.tensorMap(
            base: product.aScales.address, rows: depthBlocks, columns: m,
            rowBytes: product.aScales.rowBytes, operand: "The scales of A")),
        "bScales": .pointer(product.bScales),
        "y": .tensorMap(
          try configuration.y.tensorMap(
            base: product.y.address, rows: m, columns: n, rowBytes: product.y.rowBytes, operand: "Y"
          )),
        "rows": .uint32(UInt32(m)), "columns": .uint32(UInt32(n)), "depth": .uint32(UInt32(k)),
      ])
  }
}

extension BlockwiseGEMM.Configuration {
  /// The configuration that should be done first.
  ///
  /// Its time is that of the block with the most tiles: their rows, which the tensor cores take alike in
  /// all configurations, and what each configuration lost against the best on an H100.
  package static func chosen(rows: Int, columns: Int, multiprocessors: Int) -> Self {
    all.filter { $0.clusterBlocks <= multiprocessors }.min {
      $0.time(rows: rows, columns: columns, multiprocessors: multiprocessors)
        < $1.time(rows: rows, columns: columns, multiprocessors: multiprocessors)
    } ?? small
  }

  private func time(rows: Int, columns: Int, multiprocessors: Int) -> Double {
    let blocks = blocks(rows: rows, columns: columns, multiprocessors: multiprocessors)
    let rounds = tiles(rows: rows, columns: columns).dividedUp(by: blocks)
    return Double(rounds * tileRows) * (tileRows == 128 ? 1.06 : clusterBlocks == 1 ? 1.02 : 1)
  }

  /// Tiles of a result, including those beyond its last column that clusters have.
  private func tiles(rows: Int, columns: Int) -> Int {
    let rowTiles = rows.dividedUp(by: tileRows)
    let width = BlockwiseGEMM.tileColumns * clusterBlocks
    return rowTiles * columns.dividedUp(by: width) * clusterBlocks
  }

  /// Blocks of a grid: whole clusters, as many as there are multiprocessors or tiles.
  func blocks(rows: Int, columns: Int, multiprocessors: Int) -> Int {
    let whole = max(multiprocessors / clusterBlocks, 1) * clusterBlocks
    return min(whole, tiles(rows: rows, columns: columns))
  }
}

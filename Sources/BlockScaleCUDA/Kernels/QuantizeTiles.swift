// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
package import PTX

/// Codes and scales of a row-major matrix, of its transpose, or of both from one read.
///
/// A block of the grid takes a tile of 128×128 values. It keeps them in registers for the rows and in
/// shared memory for the columns, which `ldmatrix` turns: a lane then holds neighbours of one column.
///
/// - Constraints: Any number of rows and columns. `isAligned` asks for columns in multiples of eight,
///   `isTransposeAligned` for rows in multiples of 16, and both for matrices that begin at multiples
///   of 16 bytes; without them values are read and codes written one by one.
/// - Numerics: Those of `rule`, whose bytes the reference gives. Nothing is rounded twice: both
///   results come from the values. Of square blocks the transpose has the same codes.
/// - Traffic: Each value is read once, each code and scale written once: 2 + 2·(1 + 4/128) bytes an
///   element from BF16 to E4M3 in 1×128 both ways.
package struct QuantizeTiles: Kernel {
  /// What is written.
  package enum Output: String, Sendable, Hashable, CaseIterable {
    case matrix, transpose, both
  }

  package var rule: QuantizeRule
  /// Values that share a scale along the rows of either result.
  package var blockLength = 128
  /// Whether blocks are 128×128 or 16×16 instead of 1×`blockLength`.
  package var isSquare = false
  package var output = Output.both
  package var scaleLayout = ScaleLayout.linear
  package var isAligned = true
  package var isTransposeAligned = true
  /// Whether values are rounded up or down at random, in proportion to their distance.
  package var isStochastic = false
  /// Whether groups of 16 values are rotated before, along the rows of each result.
  package var isRotated = false

  package init(
    _ rule: QuantizeRule, blockLength: Int = 128, isSquare: Bool = false, output: Output = .both,
    scaleLayout: ScaleLayout = .linear, isAligned: Bool = true, isTransposeAligned: Bool = true,
    isStochastic: Bool = false, isRotated: Bool = false
  ) {
    precondition([16, 32, 64, 128].contains(blockLength), "blocks of 16 to 128 values")
    precondition(
      !isSquare || [16, 128].contains(blockLength), "square blocks are 128 by 128 or 16 by 16")
    precondition(
      !isSquare || !isRotated && !isStochastic,
      "the codes of square blocks are those of both results: neither rotated nor drawn")
    precondition(!isRotated || rule.source == .bfloat16, "rotated values are BF16")
    self.rule = rule
    self.blockLength = blockLength
    self.isSquare = isSquare
    self.output = output
    self.scaleLayout = scaleLayout
    self.isAligned = isAligned
    self.isTransposeAligned = isTransposeAligned
    self.isStochastic = isStochastic
    self.isRotated = isRotated
  }

  /// Rows and columns of a tile.
  static let extent = 128
  static let threads = 256

  package var name: String {
    let blocks = isSquare ? "\(blockLength)x\(blockLength)" : "1x\(blockLength)"
    var parts = ["quantize_tiles_\(blocks)", rule.name, output.rawValue, scaleLayout.rawValue]
    if !isAligned { parts.append("unaligned") }
    if !isTransposeAligned { parts.append("unaligned_transpose") }
    if isStochastic { parts.append("stochastic") }
    if isRotated { parts.append("rotated") }
    return parts.joined(separator: "_")
  }

  /// See `QuantizeRows.bounds`; FP32 takes twice the registers, single values more addresses, and the
  /// codes of whole tiles are found when all their values are known.
  package var bounds: LaunchBounds {
    let isLight =
      rule.source != .float32 && rule.scale == .float32 && isAligned && isTransposeAligned
      && !(isSquare && output == .both)
    // Those that keep no values for the matrix leave room for more warps.
    let light = output == .transpose && !isSquare && !isRotated ? 4 : 3
    return LaunchBounds(
      threads: Self.threads, minimumBlocks: isStochastic ? nil : isLight ? light : 2)
  }

  package func body(_ k: KernelBuilder) {
    if !k.has(.float8Conversion) {
      // Converting by hand takes more registers.
      if rule.source == .float32 || output == .matrix {
        k.bounds.minimumBlocks = 1
      } else if output == .both, !isSquare {
        k.bounds.minimumBlocks = bounds.minimumBlocks.map { min($0, 2) }
      }
    }
    let values = k.pointer("values", to: UInt16.self)
    let (rows, columns) = (k.uint32("rows"), k.uint32("columns"))
    let tensor = rule.usesTensorMaximum ? TensorLevel(k, rule) : nil
    let random = isStochastic ? PlaceRandom(k) : nil
    let work = TileWork(
      k, self, rows: rows, columns: columns, random: random, tensorMaximum: tensor?.maximum)

    let reader = SourceReader(
      k: k, format: rule.source, isAligned: isAligned, values: values, rows: rows, columns: columns)
    let firstRow = work.firstRow + work.rowInTile
    let runs = (0..<TileWork.runsPerThread).map {
      reader.run(row: firstRow + 2 * $0, column: work.column)
    }
    let tile = output != .matrix ? TurnedTile(k, format: rule.source) : nil
    if let tile {
      let place = tile.place(row: work.rowInTile, chunk: work.lane & 15)
      for (index, run) in runs.enumerated() { place.store(run, below: 2 * index) }
    }
    let shared = isSquare && blockLength == Self.extent ? work.squareChoice(runs) : nil
    if output != .transpose {
      work.storeRows(runs, firstRow: firstRow, to: work.matrix(), shared)
    }
    if let tile {
      // Square blocks have waited for each other's maxima, and with them for the tile.
      if shared == nil { k.barrier() }
      work.storeColumns(of: tile, to: work.transpose(), shared)
    }
    tensor?.storeScale(
      isFirst: (work.firstRow .== 0) .& (work.firstColumn .== 0) .& (k.thread .== 0))
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
package import PTX

/// SwiGLU, `silu(gate) · up`, as FP8 codes in 1×128 blocks, and the same of its transpose.
///
/// A block of the grid makes a tile of 128×128 values. Rows are encoded as they are computed; the
/// columns are read again from shared memory (`TileWork`).
///
/// - Constraints: BF16 gate and up of any number of rows and columns; alignment as in
///   ``QuantizeTiles``. Rules without a tensor scale.
/// - Numerics: SiLU and the product in FP32, rounded to BF16, every NaN to the same one; then those of
///   the rule. The bytes are those of `swiGLUForward` and `quantizedBothWays` one after the other.
/// - Traffic: 4 bytes read and 2·(1 + 4/128) written an element.
package struct SwiGLUForward: Kernel {
  /// How results are quantized.
  package let tiles: QuantizeTiles

  package init(
    _ rule: QuantizeRule, scaleLayout: ScaleLayout = .linear, isAligned: Bool = true,
    isTransposeAligned: Bool = true
  ) {
    precondition(rule.source == .bfloat16, "the product is rounded to BF16")
    precondition(!rule.usesTensorMaximum && !rule.isPerTensor, "blocks have scales of their own")
    tiles = QuantizeTiles(
      rule, scaleLayout: scaleLayout, isAligned: isAligned, isTransposeAligned: isTransposeAligned)
  }

  /// Runs that a thread has in flight; more registers would leave fewer warps.
  private static let runsTogether = 2

  package var name: String { "swiglu_forward_" + tiles.name }
  package var bounds: LaunchBounds {
    LaunchBounds(threads: QuantizeTiles.threads, minimumBlocks: 4)
  }

  package func body(_ k: KernelBuilder) {
    // Converting by hand takes more registers, and where shared memory holds fewer blocks, each may have
    // more.
    let held = k.target.maximumSharedBytes / TurnedTile.byteCount(.bfloat16)
    k.bounds.minimumBlocks = min(k.has(.float8Conversion) ? 4 : 2, held)
    let sources = ["gate", "up"].map { k.pointer($0, to: UInt16.self) }
    let (rows, columns) = (k.uint32("rows"), k.uint32("columns"))
    let work = TileWork(k, tiles, rows: rows, columns: columns)
    let readers = sources.map {
      SourceReader(
        k: k, format: .bfloat16, isAligned: tiles.isAligned, values: $0, rows: rows,
        columns: columns)
    }
    let (matrix, transpose) = (work.matrix(), work.transpose())
    let tile = TurnedTile(k, format: .bfloat16)
    let kept = tile.place(row: work.rowInTile, chunk: work.lane & 15)
    k.repeated(Value(TileWork.runsPerThread / Self.runsTogether)) { step in
      let below = step * (2 * Self.runsTogether)
      let first = work.rowInTile + below
      let inputs = (0..<Self.runsTogether).map { index in
        readers.map { $0.run(row: work.firstRow + first + 2 * index, column: work.column) }
      }
      let products = inputs.map { input in
        let gate = input[0].floats()
        let values = zip(zip(gate, k.sigmoids(gate)), input[1].floats()).map { $0.0 * $0.1 * $1 }
        return SourceRun(k, rounding: values)
      }
      let place = kept.below(below)
      for (index, product) in products.enumerated() { place.store(product, below: 2 * index) }
      work.storeRows(products, firstRow: work.firstRow + first, to: matrix)
    }
    k.barrier()
    work.storeColumns(of: tile, to: transpose)
  }
}

extension SourceRun {
  /// Values rounded to BF16, every NaN to the same one.
  init(_ k: KernelBuilder, rounding values: [Value<Float>]) {
    self.init(
      k, .bfloat16,
      words: stride(from: 0, to: Self.count, by: 2).map {
        k.pair(low: values[$0], high: values[$0 + 1], as: BFloat16.self)
          .reinterpreted(as: UInt32.self)
      })
  }
}

// SPDX-License-Identifier: Apache-2.0

package import BlockScale
import Minifloat
package import PTX

/// The gradients of SwiGLU as FP8 codes in 1×128 blocks, and the same of their transposes, from the
/// gate and up in such blocks and the gradient of the product.
///
/// A block of the grid makes a tile of 128×128 values of both, as ``SwiGLUForward`` does.
///
/// - Constraints: E4M3 or E5M2 gate and up with FP32 scales, in the layout of the results' scales; BF16
///   gradient; any number of rows and columns, alignment as in ``QuantizeTiles``.
/// - Numerics: Gate and up are rounded to BF16, as if they were dequantized; `gradient · up · silu'` and
///   `silu · gradient` in FP32 are rounded to BF16, every NaN to the same one; then those of the rule.
/// - Traffic: 4 + 8/128 bytes read and 4·(1 + 4/128) written an element.
package struct SwiGLUBackward: Kernel {
  /// The format of gate and up.
  package let input: ElementFormat
  /// How results are quantized.
  package let tiles: QuantizeTiles

  package init(
    _ input: ElementFormat, _ rule: QuantizeRule, scaleLayout: ScaleLayout = .linear,
    isAligned: Bool = true, isTransposeAligned: Bool = true
  ) {
    precondition(input != .e2m1, "gate and up are FP8")
    precondition(rule.source == .bfloat16, "gradients are rounded to BF16")
    precondition(!rule.usesTensorMaximum && !rule.isPerTensor, "blocks have scales of their own")
    precondition(scaleLayout != .swizzled, "FP32 scales are not swizzled")
    self.input = input
    tiles = QuantizeTiles(
      rule, scaleLayout: scaleLayout, isAligned: isAligned, isTransposeAligned: isTransposeAligned)
  }

  /// Runs that a thread has in flight, and whose scales lanes share; more would leave fewer warps.
  private static let runsTogether = 2

  package var name: String { "swiglu_backward_\(input.rawValue)_" + tiles.name }
  package var bounds: LaunchBounds {
    // Reading and writing byte by byte takes more addresses than three blocks leave registers for.
    let isAligned = tiles.isAligned && tiles.isTransposeAligned
    return LaunchBounds(threads: QuantizeTiles.threads, minimumBlocks: isAligned ? 3 : nil)
  }

  package func body(_ k: KernelBuilder) {
    // Where shared memory holds fewer blocks, each may have more registers.
    if k.target.maximumSharedBytes < 3 * 2 * TurnedTile.byteCount(.bfloat16) {
      k.bounds.minimumBlocks = nil
    }
    let (rows, columns) = (k.uint32("rows"), k.uint32("columns"))
    let work = TileWork(k, tiles, rows: rows, columns: columns)
    let readers = ["gate", "up"].map {
      BlockReader(
        k: k, element: input, isAligned: tiles.isAligned,
        codes: k.pointer("\($0)Codes", to: UInt8.self),
        scales: k.pointer("\($0)Scales", to: Float.self), rows: rows, columns: columns,
        grid: ScaleGrid(tiles.scaleLayout, rows: rows, columns: columns.dividedUp(by: 128)))
    }
    let incoming = SourceReader(
      k: k, format: .bfloat16, isAligned: tiles.isAligned,
      values: k.pointer("gradient", to: UInt16.self), rows: rows, columns: columns)
    let names = ["gateGradient", "upGradient"]
    let matrices = names.map { work.matrix(codes: "\($0)Codes", scales: "\($0)Scales") }
    let transposes = names.map {
      work.transpose(codes: "\($0)TransposedCodes", scales: "\($0)TransposedScales")
    }
    let shared = names.map { _ in TurnedTile(k, format: .bfloat16) }
    let kept = shared.map { $0.place(row: work.rowInTile, chunk: work.lane & 15) }
    k.repeated(Value(TileWork.runsPerThread / Self.runsTogether)) { step in
      let below = step * (2 * Self.runsTogether)
      let firstRow = work.firstRow + work.rowInTile + below
      // All loads first.
      let inputs = (0..<Self.runsTogether).map { index in
        let row = firstRow + 2 * index
        return (
          readers.map { $0.values(row: row, column: work.column) },
          incoming.run(row: row, column: work.column)
        )
      }
      let runs = inputs.map { codes, gradient in
        gradients(k, gate: codes[0](), up: codes[1](), gradient.floats())
          .map { SourceRun(k, rounding: $0) }
      }
      for (result, place) in kept.enumerated() {
        let place = place.below(below)
        for (index, run) in runs.enumerated() { place.store(run[result], below: 2 * index) }
      }
      work.storeRows(
        names.indices.map { result in runs.map { $0[result] } }, firstRow: firstRow, to: matrices)
    }
    k.barrier()
    for (tile, transpose) in zip(shared, transposes) { work.storeColumns(of: tile, to: transpose) }
  }

  /// The gradients of gate and up.
  private func gradients(
    _ k: KernelBuilder, gate: [Value<Float>], up: [Value<Float>], _ gradient: [Value<Float>]
  ) -> [[Value<Float>]] {
    let sigmas = k.sigmoids(gate)
    let silus = zip(gate, sigmas).map { $0 * $1 }
    let slopes = zip(sigmas, silus).map { $0 + $1 * (1 - $0) }
    return [
      zip(zip(gradient, up), slopes).map { $0.0 * $0.1 * $1 },
      zip(silus, gradient).map { $0 * $1 },
    ]
  }
}

/// Reads FP8 codes in 1×128 blocks, eight neighbours at a time.
private struct BlockReader {
  let k: KernelBuilder
  let element: ElementFormat
  /// Whether rows begin at multiples of eight bytes and hold a multiple of eight codes.
  let isAligned: Bool
  let codes: GlobalPointer<UInt8>
  let scales: GlobalPointer<Float>
  let rows: Value<UInt32>
  let columns: Value<UInt32>
  let grid: ScaleGrid

  /// Starts loading, and gives what ends it: code times scale, rounded to BF16; zero outside the matrix.
  func values(row: Value<UInt32>, column: Value<UInt32>) -> () -> [Value<Float>] {
    let isRow = row .< rows
    let place = codes[column].advanced(rows: row, of: columns)
    let words: [Value<UInt32>] =
      isAligned
      ? place.assuming(UInt32.self).load(
        count: 2, cache: .readOnly, if: isRow .& (column .< columns), otherwise: Value(0))
      : [0, 4].map { first in
        k.gatheredBytes(
          (first..<first + 4).map { index in
            place.advanced(by: index).load(
              cache: .readOnly, if: isRow .& (column + index .< columns),
              otherwise: Value<UInt16>(bits: 0)
            ).widened
          })
      }
    let scale = scales[grid.index(row: row, column: column >> 7)].load(
      cache: .readOnly, if: isRow .& (column .< columns), otherwise: Value(0))
    return {
      let decoded = words.flatMap {
        element == .e4m3
          ? k.values(of: $0, as: Float8E4M3.self) : k.values(of: $0, as: Float8E5M2.self)
      }
      // With zero below it, a value rounded to BF16 is the same in FP32.
      return decoded.map {
        k.pair(low: Value(0), high: $0 * scale, as: BFloat16.self).reinterpreted(as: Float.self)
      }
    }
  }
}

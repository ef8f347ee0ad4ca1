// SPDX-License-Identifier: Apache-2.0

package import BlockScale
import Minifloat
package import PTX

/// Values divided by one scale, as codes, and their transpose: the second stage of COAT's flow, and its
/// division by itself.
///
/// A block of 256 threads turns a tile of 64 rows by 64 columns: each thread reads sixteen neighbours
/// of a row, encodes them, and lays them in shared memory; then it gathers sixteen neighbours of a
/// column.
///
/// - Constraints: M×N values; `isAligned` says that M and N are multiples of 16.
/// - Numerics: The IEEE quotient, rounded once, saturating; see ``Scaling`` for the divisor. At random,
///   a code is one of the quotient's neighbours, drawn from the seed and the element's place.
/// - Traffic: The values read and 1 byte written an element, 2 with the transpose.
/// - Source: COAT:coat/activation/real_quantization/_division.py, _division_transpose.py.
package struct TensorDivision<Output: ActivationElement>: Kernel {
  /// Where the scale comes from.
  package enum Scaling: String, Sendable, Hashable {
    /// The word `largest` holds the BF16 bits of the largest group scale.
    case groups
    /// From the largest magnitude, FP32 bits in the word `largest`.
    case computed
    /// The parameter `given`, BF16 bits; but where `largest` says that not all values are finite, NaN.
    case given
  }

  package var source: SourceFormat
  package var scaling: Scaling
  package var writesTranspose: Bool
  package var isStochastic: Bool
  package var recipe: ActivationRecipe
  package var isAligned: Bool

  package init(
    source: SourceFormat = .bfloat16, scaling: Scaling = .groups, writesTranspose: Bool = true,
    isStochastic: Bool = false, recipe: ActivationRecipe = .storedScale, isAligned: Bool = true
  ) {
    self.source = source
    self.scaling = scaling
    self.writesTranspose = writesTranspose
    self.isStochastic = isStochastic
    self.recipe = recipe
    self.isAligned = isAligned
  }

  package var name: String {
    kernelName(
      "divide", source == .bfloat16 ? "" : source.rawValue,
      scaling == .groups ? "" : scaling.rawValue,
      "to", Output.self, writesTranspose ? "both_ways" : "", isStochastic ? "stochastic" : "",
      recipe,
      isAligned ? "" : "tails")
  }
  /// Numbers of runs that begin anywhere take more registers.
  package var bounds: LaunchBounds {
    LaunchBounds(threads: CodeTile.threads, minimumBlocks: isStochastic && !isAligned ? 4 : 6)
  }

  package func body(_ k: KernelBuilder) {
    let values = k.pointer("values", to: UInt8.self)
    let codes = k.pointer("codes", to: Output.self)
    let transposed = writesTranspose ? k.pointer("transposed", to: Output.self) : nil
    let largest = k.pointer("largest", to: UInt32.self)
    let stored = k.pointer("scale", to: BFloat16.self)
    let rows = k.uint32("rows"), columns = k.uint32("columns")

    let place = CodeTile.Place(k, columns: columns)
    let (firstRow, firstColumn) = (place.firstRow, place.firstColumn)
    let chosen = k.tensorScale(scale(k, largest.load()), recipe)
    stored.store(chosen.stored, if: (k.special(.blockX) .== 0) .& (k.thread .== 0))

    let (row, column) = (place.row, place.column)
    let run = RowRun(
      k, row: firstRow + row, column: firstColumn + column, rows: rows, columns: columns,
      isAligned: isAligned)
    let inputs = run.values(values, source)
    let quotients =
      scaling == .groups
      ? k.quotients(inputs, chosen.divisor, recipe) : inputs.map { $0 / chosen.divisor }
    let words =
      isStochastic ? drawn(k, quotients, run) : k.codeWords(quotients, as: Output.self)
    run.store(codeWords: words, to: codes)
    guard let transposed else { return }
    let turned = CodeTile(k).turned(words)
    RowRun(
      k, row: firstColumn + row, column: firstRow + column, rows: columns, columns: rows,
      isAligned: isAligned
    ).store(codeWords: turned, to: transposed)
  }
}

extension TensorDivision {
  /// The BF16 bits of the scale.
  private func scale(_ k: KernelBuilder, _ largest: Value<UInt32>) -> Value<UInt32> {
    if scaling == .groups { return largest }
    let isFinite = largest .< 0x7F80_0000
    let scale =
      scaling == .given
      ? k.uint32("given")
      : k.computedScale(
        maximum: largest.floatFromBits, Output.elementFormat, source: source, recipe)
    return recipe == .coat
      ? scale : isFinite.select(scale, Value(Int(BFloat16.nan.bitPattern)))
  }

  /// Codes drawn from the neighbours of quotients, four in a word; NaN has no sign.
  private func drawn(
    _ k: KernelBuilder, _ quotients: [Value<Float>], _ run: RowRun
  ) -> [Value<UInt32>] {
    let random = PlaceRandom(k)
    return stride(from: 0, to: quotients.count, by: SourceRun.count).flatMap { start in
      let part = Array(quotients[start..<start + SourceRun.count])
      let draws = random.draws(
        at: RunPlace(first: run.index + Value(start), isAligned: isAligned))
      let magnitudes = random.magnitudes(part, draws, as: Output.self)
      return magnitudes.enumerated().map { index, word in
        let isNaN = (word + 0x0101_0101) & 0x8080_8080
        return word | k.signs(Array(part[4 * index..<4 * index + 4])) & isNaN.inverted
      }
    }
  }
}

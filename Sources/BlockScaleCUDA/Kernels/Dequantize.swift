// SPDX-License-Identifier: Apache-2.0

package import BlockScale
import Minifloat
package import PTX

/// The values of codes: code times scale, times the tensor scale where there is one.
///
/// - Constraints: Any number of rows and columns; blocks of a power of two columns, or whole rows.
///   `isAligned` as for `QuantizeRows`.
/// - Numerics: In FP32 from the left, rounded once to `result`.
/// - Traffic: Each code and scale is read once and each value written once.
package struct Dequantize: Kernel {
  /// What multiplies or divides beyond the scale of a block.
  package enum SecondLevel: String, Sendable, Hashable, CaseIterable {
    case none, multiplier, divisor
  }

  package var element: ElementFormat
  package var scale: ScaleFormat
  package var result: SourceFormat
  package var blocking: Blocking
  package var secondLevel = SecondLevel.none
  package var scaleLayout = ScaleLayout.linear
  package var isAligned = true

  package init(
    _ element: ElementFormat, scale: ScaleFormat, to result: SourceFormat, blocking: Blocking,
    secondLevel: SecondLevel = .none, scaleLayout: ScaleLayout = .linear, isAligned: Bool = true
  ) {
    self.element = element
    self.scale = scale
    self.result = result
    self.blocking = blocking
    self.secondLevel = secondLevel
    self.scaleLayout = scaleLayout
    self.isAligned = isAligned
  }

  static let threads = 256
  static let columnsPerWarp = 256
  static let rowsPerThread = 4
  static let rowsPerBlock = threads / 32 * rowsPerThread

  package var name: String {
    let rows = blocking.rows == .max ? "all" : "\(blocking.rows)"
    let columns = blocking.columns == .max ? "all" : "\(blocking.columns)"
    var parts = [
      "dequantize_\(rows)x\(columns)", element.rawValue, scale.rawValue, result.rawValue,
      scaleLayout.rawValue,
    ]
    if secondLevel != .none { parts.append(secondLevel.rawValue) }
    if !isAligned { parts.append("unaligned") }
    return parts.joined(separator: "_")
  }

  /// Reading byte by byte takes more addresses.
  package var bounds: LaunchBounds {
    LaunchBounds(threads: Self.threads, minimumBlocks: isAligned ? 4 : 3)
  }

  package func body(_ k: KernelBuilder) {
    let codes = k.pointer("codes", to: UInt8.self)
    let scales = k.pointer("scales", to: UInt8.self)
    let values = k.pointer("values", to: UInt16.self)
    let (rows, columns) = (k.uint32("rows"), k.uint32("columns"))
    let second = secondLevel == .none ? nil : k.float("tensorScale")
    let grid = ScaleGrid(
      scaleLayout, rows: blocks(rows, of: blocking.rows),
      columns: blocks(columns, of: blocking.columns))

    let column = k.special(.blockX).multiplied(
      by: Value(Self.columnsPerWarp), adding: k.lane << 3)
    let group = k.special(.blockZ).multiplied(by: k.special(.blocksY), adding: k.special(.blockY))
    let firstRow = (group << 3 | k.warp) * Self.rowsPerThread
    let places = (0..<Self.rowsPerThread).map { firstRow + $0 }

    let words = places.map { load(codes, row: $0, column: column, rows: rows, columns: columns) }
    let factors = places.map { row in
      scaleFactors(
        k, scales, grid, row: row, column: column, isInside: row .< rows, columns: columns)
    }
    for (index, row) in places.enumerated() {
      let decoded = decode(k, words[index]).enumerated().map { position, value in
        let scaled = value * factors[index][position % factors[index].count]
        guard let second else { return scaled }
        return secondLevel == .divisor ? scaled / second : scaled * second
      }
      store(k, decoded, values, row: row, column: column, rows: rows, columns: columns)
    }
  }

  private func blocks(_ extent: Value<UInt32>, of block: Int) -> Value<UInt32> {
    block == .max ? Value(1) : extent.dividedUp(by: block)
  }

  /// Eight codes: two words of eight bits or one of four.
  private func load(
    _ codes: GlobalPointer<UInt8>, row: Value<UInt32>, column: Value<UInt32>, rows: Value<UInt32>,
    columns: Value<UInt32>
  ) -> [Value<UInt32>] {
    let isNarrow = element == .e2m1
    let rowBytes = isNarrow ? (columns + 1) >> 1 : columns
    let firstByte = isNarrow ? column >> 1 : column
    let place = codes[row.multipliedWide(by: rowBytes, adding: firstByte.widened)]
    let count = isNarrow ? 1 : 2
    let isRow = row .< rows
    if isAligned {
      return place.assuming(UInt32.self).load(
        count: count, cache: .readOnly, if: isRow .& (column .< columns), otherwise: Value(0))
    }
    return (0..<count).map { word in
      (0..<4).map { byte in
        let index = 4 * word + byte
        let code = place.advanced(by: index).load(
          cache: .readOnly, if: isRow .& (firstByte + index .< rowBytes),
          otherwise: Value<UInt16>(bits: 0)
        ).widened
        return byte == 0 ? code : code << (8 * byte)
      }.reduce(Value<UInt32>(0)) { total, byte in
        if case .immediate = total.operand { return byte }
        return total | byte
      }
    }
  }

  /// The scale of the run, or of each of its columns.
  private func scaleFactors(
    _ k: KernelBuilder, _ scales: GlobalPointer<UInt8>, _ grid: ScaleGrid, row: Value<UInt32>,
    column: Value<UInt32>, isInside: Value<Bool>, columns: Value<UInt32>
  ) -> [Value<Float>] {
    let isNarrow = blocking.columns < SourceRun.count
    let blockRow = blocking.rows == .max ? Value<UInt32>(0).materialized(k) : row / blocking.rows
    return (0..<(isNarrow ? SourceRun.count : 1)).map { index in
      let place = column + index
      let blockColumn =
        blocking.columns == .max ? Value<UInt32>(0).materialized(k) : place / blocking.columns
      let isInside = isInside .& (place .< columns)
      let at = grid.index(row: blockRow, column: blockColumn)
      switch scale {
      case .float32:
        return scales.assuming(Float.self)[at]
          .load(cache: .readOnly, if: isInside, otherwise: Value(0))
      case .bfloat16:
        return scales.assuming(BFloat16.self)[at]
          .load(cache: .readOnly, if: isInside, otherwise: Value(bits: 0)).float
      case .float16:
        return scales.assuming(Half.self)[at]
          .load(cache: .readOnly, if: isInside, otherwise: Value(bits: 0)).float
      case .e4m3:
        let code = scales[at].load(
          cache: .readOnly, if: isInside, otherwise: Value<UInt16>(bits: 0))
        return k.value(ofCode: code.widened, as: Float8E4M3.self)
      case .e8m0:
        let code = scales[at].load(
          cache: .readOnly, if: isInside, otherwise: Value<UInt16>(bits: 0)
        ).widened
        // 2^-127 is subnormal, and the last code is NaN.
        let bits = maximum(code << 23, Value(0x0040_0000))
        return (code .== 255).select(Value<UInt32>(0x7FFF_FFFF), bits).floatFromBits
      }
    }
  }

  private func decode(_ k: KernelBuilder, _ words: [Value<UInt32>]) -> [Value<Float>] {
    switch element {
    case .e4m3: words.flatMap { k.values(of: $0, as: Float8E4M3.self) }
    case .e5m2: words.flatMap { k.values(of: $0, as: Float8E5M2.self) }
    case .e2m1: k.e2m1Values(of: words[0])
    }
  }

  private func store(
    _ k: KernelBuilder, _ decoded: [Value<Float>], _ values: GlobalPointer<UInt16>,
    row: Value<UInt32>, column: Value<UInt32>, rows: Value<UInt32>, columns: Value<UInt32>
  ) {
    let place = values.assuming(UInt8.self)[
      row.multipliedWide(by: columns, adding: column.widened)
        .multiplied(by: Value(result.byteCount), adding: Value(0))]
    let isRow = row .< rows
    guard isAligned else {
      for (index, value) in decoded.enumerated() {
        let inside = isRow .& (column + index .< columns)
        let place = place.advanced(by: index * result.byteCount)
        switch result {
        case .float32: place.assuming(Float.self).store(value, if: inside)
        case .bfloat16: place.assuming(BFloat16.self).store(value.bfloat16, if: inside)
        case .float16: place.assuming(Half.self).store(value.half, if: inside)
        }
      }
      return
    }
    let inside = isRow .& (column .< columns)
    let words =
      switch result {
      case .float32: decoded.map(\.bits)
      case .bfloat16: pairs(k, decoded, BFloat16.self)
      case .float16: pairs(k, decoded, Half.self)
      }
    for first in stride(from: 0, to: words.count, by: 4) {
      place.advanced(by: 4 * first).assuming(UInt32.self)
        .store(Array(words[first..<first + 4]), if: inside)
    }
  }

  private func pairs<Element: PairElement>(
    _ k: KernelBuilder, _ values: [Value<Float>], _ element: Element.Type
  ) -> [Value<UInt32>] {
    stride(from: 0, to: values.count, by: 2).map {
      k.pair(low: values[$0], high: values[$0 + 1], as: element).reinterpreted(as: UInt32.self)
    }
  }
}

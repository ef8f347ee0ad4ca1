// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import _BlockScaleShims

/// One panel on its way through the kernels.
///
/// It is not copied, so that nothing that it refers to is retained between two kernels.
///
/// All addresses are computed from rows and columns inside the panel, whose extents its quantizer has
/// checked, and from blocks inside the workspace, which is sized for them.
@safe struct PanelRun: ~Copyable {
  let rule: BlockRule
  let source: SourceFormat
  let blocking: Blocking
  let wholeTensorChoice: BlockRule.Choice?
  let kernels: Kernels
  let panel: BlockQuantizer.Panel
  let workspace: Workspace
  let measures: Bool
  var kernelRule: bs_rule_t
  /// The errors of finished rows of blocks.
  var metrics: [ErrorMetrics] = []
  private var errors = bs_errors_t()

  /// The blocks along a row, and the columns of one that is not at the edge.
  let blockCount: Int
  let block: Int
  private let codeRowBytes: Int
  let valueRowBytes: Int

  /// How many bytes of values a step works on, so that they stay in the cache between two kernels; and
  /// how far ahead memory is fetched, so that it is there when the next steps begin.
  private static let (stepBytes, aheadBytes) = (1 << 12, 3 << 11)
  /// The columns of a step over tall blocks, whose rows lie apart.
  private static let stripColumns = 1 << 10

  init(
    quantizer: PanelQuantizer, kernels: Kernels, panel: BlockQuantizer.Panel, workspace: Workspace,
    measures: Bool
  ) {
    rule = quantizer.rule
    source = quantizer.source
    blocking = quantizer.blocking
    wholeTensorChoice = quantizer.reference.wholeTensorChoice
    kernelRule = quantizer.kernelRule
    self.kernels = kernels
    self.panel = panel
    self.workspace = workspace
    self.measures = measures
    blockCount = blocking.grid(rows: panel.rows, columns: panel.columns).columns
    block = min(blocking.columns, panel.columns)
    codeRowBytes = rule.element.format.byteCount(panel.columns)
    valueRowBytes = panel.columns * source.byteCount
  }

  // MARK: Places

  func values(_ row: Int, _ column: Int) -> UnsafeRawPointer {
    unsafe panel.values.baseAddress.unsafelyUnwrapped + row * valueRowBytes
      + column * source.byteCount
  }

  /// The code of an even column.
  func codes(_ row: Int, _ column: Int) -> UnsafeMutablePointer<UInt8> {
    unsafe (panel.codes.baseAddress.unsafelyUnwrapped + row * codeRowBytes
      + rule.element.format.byteCount(column)).assumingMemoryBound(to: UInt8.self)
  }

  private func store(
    _ code: UInt32, _ index: Int, in scales: UnsafeMutableRawBufferPointer
  ) {
    let address = unsafe scales.baseAddress.unsafelyUnwrapped
    switch rule.scaleFormat.byteCount {
    case 4: unsafe address.storeBytes(of: code, toByteOffset: index * 4, as: UInt32.self)
    case 2:
      unsafe address.storeBytes(
        of: UInt16(truncatingIfNeeded: code), toByteOffset: index * 2, as: UInt16.self)
    default:
      unsafe address.storeBytes(
        of: UInt8(truncatingIfNeeded: code), toByteOffset: index, as: UInt8.self)
    }
  }

  private mutating func flush() {
    guard measures else { return }
    var part = ErrorMetrics()
    errors.flush(into: &part)
    metrics.append(part)
  }

  // MARK: Choices

  /// What the rule says of a block, `magnitude` being its largest one in the bits of the source.
  private func choice(
    _ magnitude: UInt32, rows: Range<Int>, columns: Range<Int>
  ) -> (choice: BlockRule.Choice, maximum: Float) {
    let maximum = source.value(ofMagnitude: magnitude)
    if maximum.isFinite { return (rule.choose(maximum), maximum) }
    guard rule.hidesNonFinite else { return (rule.nonFiniteChoice, .infinity) }
    var withoutNaN: Float = 0
    for row in rows {
      for column in columns {
        // `maximum` ignores NaN.
        withoutNaN = .maximum(withoutNaN, unsafe source.load(values(row, column)).magnitude)
      }
    }
    return (rule.choose(withoutNaN), withoutNaN)
  }

  /// Finds scales and factors of blocks from their maxima, the first ones in the workspace, and stores
  /// the scales.
  ///
  /// - Parameters:
  ///   - scale: The index of the first block's scale.
  ///   - step: How far apart scales are.
  ///   - place: The rows and columns of a block.
  /// - Returns: The blocks to be erased.
  @inline(__always)
  func chooseAll(
    _ count: Int, scale firstScale: Int, step: Int = 1, in scales: UnsafeMutableRawBufferPointer,
    place: (_ index: Int) -> (rows: Range<Int>, columns: Range<Int>)
  ) -> [Int] {
    var erased: [Int] = []
    // Constants of the loop, so that nothing is retained in it.
    let maxima = unsafe workspace.maxima
    let factors = unsafe workspace.factors
    let known = unsafe workspace.known
    let isWide = source == .float32
    let scaleWidth = rule.scaleFormat.byteCount
    let address = unsafe scales.baseAddress.unsafelyUnwrapped
    for index in 0..<count {
      let magnitude = unsafe maxima[index]
      let scaleIndex = firstScale + index * step
      if !isWide {
        let choice = unsafe known[Int(magnitude)]
        if unsafe choice.scale != 0 {
          unsafe factors[index] = choice.factor
          switch scaleWidth {
          case 4:
            unsafe address.storeBytes(
              of: ~choice.scale, toByteOffset: scaleIndex * 4, as: UInt32.self)
          case 2:
            unsafe address.storeBytes(
              of: UInt16(truncatingIfNeeded: ~choice.scale), toByteOffset: scaleIndex * 2,
              as: UInt16.self)
          default:
            unsafe address.storeBytes(
              of: UInt8(truncatingIfNeeded: ~choice.scale), toByteOffset: scaleIndex,
              as: UInt8.self)
          }
          continue
        }
      }
      let (rows, columns) = place(index)
      if unsafe choose(
        at: index, scaleIndex: scaleIndex, in: scales, rows: rows, columns: columns)
      {
        erased.append(index)
      }
    }
    return erased
  }

  /// Finds scale and factor of one block, at `index` in the workspace.
  ///
  /// - Returns: Whether the block is to be erased.
  @inline(never)
  func choose(
    at index: Int, scaleIndex: Int, in scales: UnsafeMutableRawBufferPointer, rows: Range<Int>,
    columns: Range<Int>
  ) -> Bool {
    let magnitude = unsafe workspace.maxima[index]
    if source != .float32 {
      let known = unsafe workspace.known[Int(magnitude)]
      if unsafe known.scale != 0 {
        unsafe use(~known.scale, known.factor, at: index, scaleIndex: scaleIndex, in: scales)
        return false
      }
    }
    let (choice, maximum) = choice(magnitude, rows: rows, columns: columns)
    var factor = unsafe bs_factor_t(choice, divides: rule.element.divides, maximum: maximum)
    // What depends on more than the maximum is asked for again.
    if source != .float32, !choice.isErased,
      magnitude < source.infinityBits || !rule.hidesNonFinite
    {
      if let tabulate = unsafe kernels.functions.tabulate_float8 {
        // Every magnitude has a place for its table.
        var rule = kernelRule
        _ = unsafe tabulate(
          &rule, magnitude, &factor,
          workspace.float8Tables + Int(magnitude) * Workspace.float8TableBytes)
      }
      unsafe workspace.learn(
        bs_choice_t(scale: ~choice.scaleCode, factor: factor), for: magnitude)
    }
    unsafe use(choice.scaleCode, factor, at: index, scaleIndex: scaleIndex, in: scales)
    return choice.isErased
  }

  @inline(__always)
  private func use(
    _ code: UInt32, _ factor: bs_factor_t, at index: Int, scaleIndex: Int,
    in scales: UnsafeMutableRawBufferPointer
  ) {
    unsafe store(code, scaleIndex, in: scales)
    unsafe workspace.factors[index] = factor
  }

  // MARK: Encoding

  /// Encodes a run with the factors from `index` on.
  mutating func encode(_ row: Int, _ column: Int, count: Int, block: Int, at index: Int) {
    unsafe kernels.functions.encode(
      &kernelRule, values(row, column), count, block, workspace.factors + index,
      codes(row, column))
  }

  /// Adds up the errors of some rows, whose blocks have the scales from `scale` on.
  private mutating func measure(
    _ rows: Range<Int>, _ columns: Range<Int>, block: Int, scale: Int
  ) {
    // The workspace has room for the blocks of a step.
    unsafe kernels.loadScales(
      panel.scales.baseAddress.unsafelyUnwrapped + scale * rule.scaleFormat.byteCount,
      rule.scaleFormat, count: (columns.count + block - 1) / block, into: workspace.scales)
    unsafe kernels.functions.measure(
      &kernelRule, values(rows.lowerBound, columns.lowerBound), valueRowBytes, rows.count,
      columns.count, block, workspace.scales, codes(rows.lowerBound, columns.lowerBound),
      codeRowBytes, &errors)
  }

  /// Overwrites codes that decode to zeros of either sign with +0.
  func erase(_ row: Int, _ columns: Range<Int>) {
    let bytes = rule.element.format.byteCount(columns.count)
    unsafe codes(row, columns.lowerBound).update(repeating: 0, count: bytes)
  }

  /// The columns of a block.
  func columns(_ blockColumn: Int) -> Range<Int> {
    blockColumn * block..<min(panel.columns, (blockColumn + 1) * block)
  }

  // MARK: Kinds of blocks

  /// One scale for the whole tensor, which was found beforehand.
  mutating func quantizeWithOneScale() {
    guard let choice = wholeTensorChoice else { return }
    workspace.reserve(blocks: 1)
    // Nothing is known of the maximum here, so nothing is refined.
    unsafe use(
      choice.scaleCode,
      bs_factor_t(choice, divides: rule.element.divides, maximum: .infinity), at: 0,
      scaleIndex: 0, in: panel.scales)
    for row in 0..<panel.rows {
      encode(row, 0, count: panel.columns, block: panel.columns, at: 0)
      if choice.isErased { erase(row, 0..<panel.columns) }
    }
    if measures {
      measure(0..<panel.rows, 0..<panel.columns, block: panel.columns, scale: 0)
    }
    flush()
  }

  /// How many rows blocks of one row lie in, how long these are, and how many values of one a step works on.
  private func steps() -> (rows: Int, values: Int, step: Int) {
    // Rows of whole blocks follow each other without a gap, as one long row.
    let joins = panel.columns % block == 0 && block % 16 == 0 && !measures
    let values = joins ? panel.rows * panel.columns : panel.columns
    // Error sums begin anew at the same places whatever the step.
    let unit = block * max(1, 128 / block)
    let step = max(1, Self.stepBytes / (unit * source.byteCount)) * unit
    workspace.reserve(blocks: (min(step, values) + block - 1) / block)
    return (joins ? 1 : panel.rows, values, step)
  }

  /// Blocks of one row, in three phases.
  mutating func quantizeRows() {
    let (rows, rowValues, step) = steps()
    kernelRule.ahead = UInt32(Self.aheadBytes)
    // Constants, so that the closure below does not hold a copy of all this.
    let (block, blockCount, columnCount) = (block, blockCount, panel.columns)
    for row in 0..<rows {
      for first in stride(from: 0, to: rowValues, by: step) {
        let count = min(step, rowValues - first)
        unsafe kernels.functions.block_maxima(
          source.byteCount, values(row, first), count, block, workspace.maxima)
        let firstBlock = first / block
        func place(_ index: Int) -> (rows: Range<Int>, columns: Range<Int>) {
          // A joined run goes on over the ends of rows.
          let at = row + (firstBlock + index) / blockCount
          let column = (firstBlock + index) % blockCount * block
          return (at..<at + 1, column..<min(columnCount, column + block))
        }
        let erased = unsafe chooseAll(
          (count + block - 1) / block, scale: row * blockCount + firstBlock, in: panel.scales,
          place: place)
        encode(row, first, count: count, block: block, at: 0)
        for index in erased {
          let place = place(index)
          erase(place.rows.lowerBound, place.columns)
        }
        if measures {
          measure(
            row..<row + 1, first..<first + count, block: block,
            scale: row * blockCount + firstBlock)
        }
      }
      flush()
    }
  }

  /// Blocks of several rows.
  mutating func quantizeTallBlocks() {
    let height = min(blocking.rows, panel.rows)
    for first in stride(from: 0, to: panel.rows, by: height) {
      quantizeTallBlocks(first..<min(panel.rows, first + height), 0..<panel.columns)
      flush()
    }
  }

  /// Some blocks of one row of blocks, a strip of columns at a time.
  mutating func quantizeTallBlocks(_ rows: Range<Int>, _ allColumns: Range<Int>) {
    let blocksAtOnce = max(1, Self.stripColumns / block)
    workspace.reserve(blocks: blocksAtOnce)
    let firstScale = rows.lowerBound / min(blocking.rows, panel.rows) * blockCount
    // Constants, so that the closures below hold no copy of all this.
    let (block, columnCount) = (block, panel.columns)
    let width = blocksAtOnce * block
    // The next row of a strip, whose codes are to be written.
    kernelRule.ahead = UInt32(truncatingIfNeeded: valueRowBytes)
    for first in stride(from: allColumns.lowerBound, to: allColumns.upperBound, by: width) {
      let strip = first..<min(allColumns.upperBound, first + width)
      let blocks = first / block..<(strip.upperBound + block - 1) / block
      findMaxima(rows, strip)
      let erased = unsafe chooseAll(
        blocks.count, scale: firstScale + blocks.lowerBound, in: panel.scales
      ) {
        let first = (blocks.lowerBound + $0) * block
        return (rows, first..<min(columnCount, first + block))
      }
      for row in rows { encode(row, strip.lowerBound, count: strip.count, block: block, at: 0) }
      for index in erased {
        for row in rows { erase(row, columns(blocks.lowerBound + index)) }
      }
      guard measures else { continue }
      // Errors add up block by block.
      for blockColumn in blocks {
        measure(rows, columns(blockColumn), block: block, scale: firstScale + blockColumn)
      }
    }
  }

  /// Finds the largest magnitudes of tall blocks.
  func findMaxima(_ rows: Range<Int>, _ strip: Range<Int>) {
    findColumnMaxima(rows, strip)
    unsafe kernels.functions.block_maxima(
      source.byteCount, workspace.columns, strip.count, block, workspace.maxima)
  }

  /// Finds the largest magnitudes of columns.
  func findColumnMaxima(_ rows: Range<Int>, _ columns: Range<Int>) {
    let width = source.byteCount
    workspace.clearColumns(byteCount: columns.count * width)
    unsafe kernels.functions.column_maxima(
      width, values(rows.lowerBound, columns.lowerBound), valueRowBytes, rows.count,
      columns.count, workspace.columns)
  }

  /// E2M1 of 16-bit values by thresholds that belong to each maximum.
  mutating func quantizeByThresholds() {
    let table = unsafe bs_e2m1_table_t(
      scales: workspace.e2m1Scales, entries: workspace.e2m1Entries, cells: workspace.e2m1Cells)
    let (rows, rowValues, step) = steps()
    for row in 0..<rows {
      for first in stride(from: 0, to: rowValues, by: step) {
        let count = min(step, rowValues - first)
        let blocks = (count + block - 1) / block
        unsafe kernels.functions.block_maxima(2, values(row, first), count, block, workspace.maxima)
        var done = 0
        while true {
          let column = first + done * block
          let scale = row * blockCount + column / block
          let scales = unsafe (panel.scales.baseAddress.unsafelyUnwrapped + scale)
            .assumingMemoryBound(to: UInt8.self)
          let words = unsafe values(row, column).assumingMemoryBound(to: UInt16.self)
          done += unsafe kernels.functions.quantize_e2m1(
            &kernelRule, words, count - done * block, block, workspace.maxima + done, [table],
            codes(row, column), scales)
          guard done < blocks else { break }
          // A joined run goes on over the ends of rows.
          let next = first / block + done
          let place = (row: row + next / blockCount, columns: columns(next % blockCount))
          if !learn(place.row, place.columns, at: done, scaleIndex: row * blockCount + next) {
            done += 1
            guard done < blocks else { break }
          }
        }
        if measures {
          measure(
            row..<row + 1, first..<first + count, block: block,
            scale: row * blockCount + first / block)
        }
      }
      flush()
    }
  }

  /// Enters what the kernel did not know about a block into its table; or, where that depends on more
  /// than the maximum, quantizes the block.
  ///
  /// - Returns: Whether the kernel now knows.
  private mutating func learn(
    _ row: Int, _ columns: Range<Int>, at index: Int, scaleIndex: Int
  ) -> Bool {
    let magnitude = unsafe workspace.maxima[index]
    let (choice, maximum) = choice(magnitude, rows: row..<row + 1, columns: columns)
    guard choice.isErased || magnitude >= source.infinityBits && rule.hidesNonFinite else {
      workspace.learn(
        choice.scaleCode, bs_e2m1_entry_t(choice, rule: rule, source: source), for: magnitude)
      return true
    }
    unsafe use(
      choice.scaleCode, bs_factor_t(choice, divides: rule.element.divides, maximum: maximum),
      at: index, scaleIndex: scaleIndex, in: panel.scales)
    encode(row, columns.lowerBound, count: columns.count, block: columns.count, at: index)
    if choice.isErased { erase(row, columns) }
    return false
  }
}

extension SourceFormat {
  /// One value, which need not be aligned.
  fileprivate func load(_ address: UnsafeRawPointer) -> Float {
    // The caller vouches for the extent of the memory.
    switch self {
    case .float32: unsafe Float.load(address)
    case .bfloat16: unsafe BFloat16.load(address)
    case .float16: unsafe Float16.load(address)
    }
  }
}

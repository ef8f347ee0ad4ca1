// SPDX-License-Identifier: Apache-2.0

public import BlockScale
public import Minifloat
import _BlockScaleShims

extension CPUBackend {
  /// Lays out the right operand of products.
  ///
  /// - Parameter operand: N×K; the transpose of a weight for `dX = dY·W`.
  /// - Throws: ``BlockScaleError`` if the scales of a transposed NVFP4 or MX matrix cover fewer than
  ///   sixteen outputs.
  /// - Complexity: O(N·K).
  public func pack(_ operand: Operand) throws(BlockScaleError) -> PackedMatrix {
    var format = ColumnFormat(codes: operand.codeFormat)
    let depth = operand.columns
    let paddedDepth = (depth + 31) / 32 * 32
    let blockCount = (operand.rows + 15) / 16
    let wordBytes = paddedDepth * operand.codeBits / 8
    let codes = AlignedBuffer(byteCount: blockCount * 16 * wordBytes)
    packCodes(of: operand, into: codes, wordBytes: wordBytes)

    var foldedScales: AlignedBuffer?
    var scaleBlockBytes = 0
    var partScales: [Float] = []
    var partRows = 1
    var outputScales: [Float] = []
    var factor = operand.factor
    switch operand.scaling {
    case .none: break
    case .folded(let scales, let scaleFormat, let blocking):
      format.scalesArePowers = scaleFormat == .e8m0
      format.powerOffset = scaleFormat == .e8m0 ? powerOffset(scales) : 0
      factor *= Float(sign: .plus, exponent: format.powerOffset, significand: 1)
      let byK = blocking.columns == 1
      guard !byK || blocking.rows % 16 == 0 else {
        throw BlockScaleError(
          .wrongShape,
          "Blocks of \(blocking) cannot be multiplied from the right; a scale along the outputs "
            + "must cover a multiple of sixteen.")
      }
      format.scalePlace = byK ? BS_SCALES_BY_K : BS_SCALES_BY_OUTPUT
      format.scaleBlock = byK ? 16 : blocking.columns
      scaleBlockBytes =
        byK ? paddedDepth : (paddedDepth + blocking.columns - 1) / blocking.columns * 16
      let buffer = AlignedBuffer(byteCount: blockCount * scaleBlockBytes)
      buffer.clear()
      let grid = blocking.grid(rows: operand.rows, columns: depth)
      // Every index stays inside the block's bytes.
      let place = unsafe buffer.pointer(to: UInt8.self)
      for output in stride(from: 0, to: operand.rows, by: byK ? 16 : 1) {
        let gridRow = output / min(blocking.rows, operand.rows) * grid.columns
        let start = output / 16 * scaleBlockBytes
        for column in 0..<grid.columns {
          unsafe place[byK ? start + column : start + column * 16 + output % 16] =
            scales[gridRow + column]
        }
      }
      foldedScales = buffer
    case .parts(let partDepth, let scales, let blocking):
      let parts = (depth + partDepth - 1) / partDepth
      let blockRows = min(blocking.rows, operand.rows)
      partRows = blocking.rows
      // A tile may have one block of outputs more than there are.
      partScales = [Float](repeating: 0, count: (blockCount + 1) * parts * 16)
      for output in 0..<operand.rows {
        let source = output / blockRows * parts
        let target = output / 16 * parts * 16 + output % 16
        for part in 0..<parts { partScales[target + part * 16] = scales[source + part] }
      }
    case .rows:
      outputScales = (0..<blockCount * 16).map {
        $0 < operand.rows ? operand.rowScale($0) : 0
      }
    }
    return PackedMatrix(
      outputs: operand.rows, depth: depth, format: format, codes: codes,
      codeBlockBytes: 16 * wordBytes, foldedScales: foldedScales,
      scaleBlockBytes: scaleBlockBytes, partScales: partScales, partDepth: operand.partDepth,
      partRows: partRows,
      outputScales: outputScales, factor: factor)
  }

  /// Lays out the transpose of a matrix as the right operand of products, from one read.
  ///
  /// - Parameter matrix: K×N: products sum along its columns.
  /// - Complexity: O(N·K).
  public func packTransposed(_ matrix: Matrix<BFloat16>) -> PackedMatrix {
    let (depth, outputs) = (matrix.rows, matrix.columns)
    let paddedDepth = (depth + 31) / 32 * 32
    let blockWords = paddedDepth / 2 * 16
    let codes = AlignedBuffer(byteCount: (outputs + 15) / 16 * blockWords * 4)
    if depth < paddedDepth || outputs % 16 != 0 { codes.clear() }
    let words = codes.output(of: UInt32.self)
    // Some pairs at a time, so that each block's words are written in runs.
    let run = 16
    parallelFor(((depth + 1) / 2 + run - 1) / run, threads: threads) { index in
      // The array is alive during the call; every pair of rows has words of its own in each block.
      unsafe matrix.values.withUnsafeBytes { values in
        let from = unsafe values.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt16.self)
        let to = unsafe words.pointer(0, count: (outputs + 15) / 16 * blockWords)
        for pair in index * run..<min((depth + 1) / 2, (index + 1) * run) {
          let first = unsafe from + 2 * pair * outputs
          unsafe bs_pack_row_pairs(
            first, 2 * pair + 1 < depth ? first + outputs : nil, outputs, to + pair * 16,
            blockWords)
        }
      }
    }
    return PackedMatrix(
      outputs: outputs, depth: depth, format: ColumnFormat(codes: BS_CODES_BF16), codes: codes,
      codeBlockBytes: blockWords * 4, foldedScales: nil, scaleBlockBytes: 0, partScales: [],
      partDepth: nil, partRows: 1, outputScales: [], factor: 1)
  }

  /// Rearranges codes into 32-bit words of sixteen outputs side by side.
  private func packCodes(of operand: Operand, into buffer: AlignedBuffer, wordBytes: Int) {
    let rowBytes = operand.rowBytes
    let wholeWords = rowBytes / 4
    let kernels = FP32Kernels(tier)
    parallelFor((operand.rows + 15) / 16, threads: threads) { block in
      unsafe operand.withCodes { codes in
        let rows = min(16, operand.rows - block * 16)
        // The block's own part of the buffer, and rows inside the operand.
        let words = unsafe buffer.pointer(to: UInt32.self) + block * 4 * wordBytes
        let source = unsafe codes.baseAddress.unsafelyUnwrapped + block * 16 * rowBytes
        unsafe kernels.packWords(
          source, rowBytes: rowBytes, rowCount: rows, wordCount: wholeWords, into: words)
        for word in wholeWords..<wordBytes / 4 {
          for row in 0..<16 {
            var value: UInt32 = 0
            if row < rows {
              for byte in word * 4..<max(word * 4, min(rowBytes, word * 4 + 4)) {
                value |=
                  UInt32(unsafe source.load(fromByteOffset: row * rowBytes + byte, as: UInt8.self))
                  << UInt32(8 * (byte % 4))
              }
            }
            unsafe words[word * 16 + row] = value
          }
        }
      }
    }
  }
}

/// What is subtracted from the codes of E8M0 scales before they are folded into BF16, so that
/// neither the largest overflows nor the smallest that matters is lost.
func powerOffset(_ scales: some Collection<UInt8>) -> Int {
  let present = scales.lazy.filter { $0 != 0xFF }
  guard let largest = present.max(), let smallest = present.min() else { return 0 }
  return largest > 127 + 48 || smallest < 127 - 48 ? Int(largest) - 127 : 0
}

extension Operand {
  var codeFormat: bs_codes_t {
    switch codes {
    case .bfloat16: BS_CODES_BF16
    case .element(.e4m3, _): BS_CODES_E4M3
    case .element(.e5m2, _): BS_CODES_E5M2
    case .element(.e2m1, _): BS_CODES_E2M1
    }
  }

  var codeBits: Int {
    switch codes {
    case .bfloat16: 16
    case .element(let format, _): format.bitWidth
    }
  }

  /// The bytes of one row of codes.
  var rowBytes: Int {
    switch codes {
    case .bfloat16: columns * 2
    case .element(let format, _): format.byteCount(columns)
    }
  }

  /// Calls `body` with all codes, row by row.
  func withCodes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    // The array is alive during the call.
    switch codes {
    case .bfloat16(let values): unsafe values.withUnsafeBytes { unsafe body($0) }
    case .element(_, let bytes): unsafe bytes.withUnsafeBytes { unsafe body($0) }
    }
  }
}

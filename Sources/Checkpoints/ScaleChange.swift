// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat

/// What happens to the block scales of a tensor that is stored in another layout.
enum ScaleChange: Sendable {
  /// They stay.
  case none
  /// They are multiplied, because the tensor scale that they relate to changes by the reciprocal.
  case rescale(by: Float)
  /// Each E8M0 scale of 32 becomes two E4M3 scales of 16, relative to a power of two.
  case splitMX(tensorScale: Float)

  /// How many block scales changed, and how many of them could not be kept exactly.
  struct Counts: Sendable, Hashable {
    var rescaled = 0
    var inexact = 0
    var requantized = 0

    mutating func add(_ other: Counts) {
      rescaled += other.rescaled
      inexact += other.inexact
      requantized += other.requantized
    }

    var notes: [String] {
      var notes: [String] = []
      if rescaled > 0 {
        notes.append(
          "\(rescaled) block scales rescaled to the partners' tensor scale, \(inexact) of them "
            + "rounded")
      }
      if requantized > 0 {
        notes.append("\(requantized) blocks too small for the tensor scale were quantized again")
      }
      return notes
    }
  }

  init(
    from source: QuantizedTensor, to target: BlockScaledShape, own: TensorScale?,
    shared: TensorScale?, form: StoredForm
  ) throws {
    if source.scheme == .mxfp4, target.scheme == .nvfp4 {
      guard let shared else { preconditionFailure("NVFP4 made of MXFP4 has a tensor scale") }
      self = .splitMX(tensorScale: shared.value)
    } else if let own, form.tensorScale == nil {
      // Only planned where it is exact: see `foldsExactly`.
      self = .rescale(by: own.multiplier)
    } else if let own, let shared, own != shared {
      self = .rescale(by: own.multiplier / shared.multiplier)
    } else {
      self = .none
    }
  }

  /// Changes the scales of a panel, and the codes of blocks that lose their scale.
  func apply(to panel: inout CodePanel, columns: Int) -> Counts {
    var counts = Counts()
    switch self {
    case .none: break
    case .rescale(let factor):
      for index in panel.scales.indices {
        let old = Float(Float8E4M3(bitPattern: panel.scales[index]))
        guard !old.isNaN else { continue }
        let exact = old * factor
        let new = Float8E4M3(exact, overflow: .saturate)
        panel.scales[index] = new.bitPattern
        counts.rescaled += 1
        if Float(new) != exact { counts.inexact += 1 }
      }
    case .splitMX(let tensorScale):
      split(&panel, tensorScale: tensorScale, columns: columns, counts: &counts)
    }
    return counts
  }

  private func split(
    _ panel: inout CodePanel, tensorScale: Float, columns: Int, counts: inout Counts
  ) {
    var scales: [UInt8] = []
    scales.reserveCapacity(panel.scales.count * 2)
    for (block, code) in panel.scales.enumerated() {
      // The last block of a row may be partial only in whole blocks of 16, as its layout stores it.
      for half in 0..<2 {
        guard code != 0xFF else {
          scales.append(0x7F)
          continue
        }
        let bytes = block * 16 + half * 8..<block * 16 + half * 8 + 8
        let power = Float(Float8E8M0(bitPattern: code))
        let relative = Double(power) / Double(tensorScale)
        let scale = Float8E4M3(relative, ties: .even, overflow: .saturate)
        if Double(scale) == relative || panel.codes[bytes].allSatisfy({ $0 & 0x77 == 0 }) {
          scales.append(max(scale.bitPattern, 0x01))
          continue
        }
        scales.append(requantize(&panel.codes, bytes, relative: relative))
        counts.requantized += 1
      }
    }
    panel.scales = scales
  }

  /// Quantizes sixteen codes anew whose scale lies below E4M3's range.
  private func requantize(
    _ codes: inout [UInt8], _ bytes: Range<Int>, relative: Double
  ) -> UInt8 {
    func value(_ nibble: UInt8) -> Double {
      Double(Float4E2M1(bitPattern: nibble)) * relative
    }
    let maximum = bytes.reduce(0.0) {
      max($0, value(codes[$1] & 0x0F).magnitude, value(codes[$1] >> 4).magnitude)
    }
    let scale = max(
      Float8E4M3(maximum / 6, ties: .even, overflow: .saturate).bitPattern, 0x01)
    let divisor = Double(Float8E4M3(bitPattern: scale))
    for index in bytes {
      let low = Float4E2M1(value(codes[index] & 0x0F) / divisor).bitPattern
      let high = Float4E2M1(value(codes[index] >> 4) / divisor).bitPattern
      codes[index] = low | high << 4
    }
    return scale
  }

  /// Whether a tensor scale can be multiplied into the block scales without rounding.
  static func foldsExactly(_ tensor: QuantizedTensor) throws -> Bool {
    guard let scale = try tensor.readTensorScale() else { return true }
    let reader = PanelReader(tensor: tensor)
    for (matrix, rows) in reader.panels() {
      for code in reader.panel(matrix: matrix, rows: rows).scales {
        let old = Float(Float8E4M3(bitPattern: code))
        if old.isNaN { continue }
        let folded = scale.applied(to: old)
        if Float(Float8E4M3(folded, overflow: .saturate)) != folded { return false }
      }
    }
    return true
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import PTX

extension KernelCheck {
  /// Scales from one layout to the other and back.
  static var scaleLayouts: [KernelCheck] {
    [(1, 1), (33, 64), (130, 9), (300, 68)].flatMap { shape in
      [
        scaleLayout(.swizzled, byteCount: 1, shape), scaleLayout(.blockMajor, byteCount: 1, shape),
        scaleLayout(.blockMajor, byteCount: 2, shape),
        scaleLayout(.blockMajor, byteCount: 4, shape),
      ]
    }
  }

  private static func scaleLayout(
    _ layout: ScaleLayout, byteCount: Int, _ shape: Shape
  ) -> KernelCheck {
    let (rows, columns) = shape
    return KernelCheck("scale layout \(layout.rawValue) \(byteCount)-byte \(rows)x\(columns)") {
      executor in
      var samples = Samples(seed: 11)
      // Zero stands for padding alone.
      let linear = (0..<rows * columns * byteCount).map { _ in UInt8(samples.next() % 255) + 1 }
      let stored = try executor.convertedScales(
        linear, rows: rows, columns: columns, byteCount: byteCount, from: .linear, to: layout)
      let back = try executor.convertedScales(
        stored, rows: rows, columns: columns, byteCount: byteCount, from: layout, to: .linear)
      try expectEqual(
        "the layout", stored, expectedBytes(linear, rows, columns, byteCount, layout),
        columns: byteCount)
      try expectEqual("the way back", back, linear, columns: columns * byteCount)
    }
  }
}

/// The bytes of a layout by its definition.
private func expectedBytes(
  _ linear: [UInt8], _ rows: Int, _ columns: Int, _ byteCount: Int, _ layout: ScaleLayout
) throws -> [UInt8] {
  switch layout {
  case .linear: return linear
  case .swizzled: return try SwizzledScales(linear: linear, rows: rows, columns: columns).bytes
  case .blockMajor:
    let paddedRows = rows.rounded(upTo: 4)
    var bytes = [UInt8](repeating: 0, count: paddedRows * columns * byteCount)
    for row in 0..<rows {
      for column in 0..<columns {
        let (from, to) = (row * columns + column, column * paddedRows + row)
        for byte in 0..<byteCount {
          bytes[to * byteCount + byte] = linear[from * byteCount + byte]
        }
      }
    }
    return bytes
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

/// E5M2 codes under FP32 scales.
private typealias WideMatrix = BlockScaledMatrix<Float8E5M2, Float>

extension KernelCheck {
  /// Values of codes against the reference, bits for bits; NaN of any kind is NaN.
  static var dequantizing: [KernelCheck] {
    let codes = [everyCode(Float8E4M3.self), everyCode(Float8E5M2.self)]
    return codes + [(1, 1), (17, 129)].flatMap { everyScheme($0) }
      + [(2051, 3001)].flatMap { everyScheme($0, needsGPU: takesMinutes) }
  }

  private static func everyScheme(_ shape: Shape, needsGPU: String? = nil) -> [KernelCheck] {
    func check<Element, Scale>(
      _ type: BlockScaledMatrix<Element, Scale>.Type, _ recipe: Recipe, _ blocking: Blocking
    ) -> KernelCheck { dequantize(type, recipe, blocking, shape, needsGPU: needsGPU) }
    return [
      Blocking(rows: 1, columns: 128), Blocking(rows: 128, columns: 1),
      Blocking(rows: 128, columns: 128), .row, .tensor,
    ].map { check(Float8Matrix.self, .deepseek, $0) } + [
      check(WideMatrix.self, .deepseek, Blocking(rows: 1, columns: 16)),
      check(WideMatrix.self, .deepseek, Blocking(rows: 1, columns: 32)),
      check(NVFP4Matrix.self, .modelopt, Blocking(rows: 1, columns: 16)),
      check(NVFP4Matrix.self, .modelopt, Blocking(rows: 16, columns: 16)),
      check(NVFP4Matrix.self, .compressedTensors, Blocking(rows: 1, columns: 16)),
      check(MXFP8Matrix.self, .rceil, Blocking(rows: 1, columns: 32)),
      check(MXFP4Matrix.self, .ocp, Blocking(rows: 1, columns: 32)),
    ]
  }

  private static func dequantize<Element, Scale>(
    _ type: BlockScaledMatrix<Element, Scale>.Type, _ recipe: Recipe, _ blocking: Blocking,
    _ shape: Shape, needsGPU: String?
  ) -> KernelCheck {
    let formats = "\(Element.elementFormat.rawValue) \(Scale.scaleFormat.rawValue)"
    return KernelCheck(
      "dequantize \(blocking) \(formats) \(recipe.rawValue) \(shape.rows)x\(shape.columns)",
      needsGPU: needsGPU
    ) { executor in
      let values = try Samples.corners(Float.self, rows: shape.rows, columns: shape.columns)
      let matrix = try type.quantized(
        values.values, rows: shape.rows, columns: shape.columns, recipe: recipe, blocking: blocking
      ).matrix
      try expectValues(matrix, matrix.dequantized(), on: executor)
    }
  }

  /// All codes of a format of eight bits, under the scale 1.
  private static func everyCode<Element: BlockElement>(_ type: Element.Type) -> KernelCheck {
    KernelCheck("dequantize every code of \(Element.elementFormat.rawValue)") { executor in
      let codes = (0...255).map { UInt8($0) }
      let matrix = try BlockScaledMatrix<Element, Float>(
        rows: 1, columns: 256, blocking: Blocking(rows: 1, columns: 128), codes: codes,
        scales: [1, 1])
      try expectValues(matrix, codes.map { Float(Element(bitPattern: $0)) }, on: executor)
    }
  }

  private static func expectValues<Element, Scale>(
    _ matrix: BlockScaledMatrix<Element, Scale>, _ expected: [Float],
    on executor: any KernelExecutor
  ) throws {
    // Kinds of NaN are not told apart.
    func bits(_ value: Float) -> UInt32 { value.isNaN ? Float.nan.bitPattern : value.bitPattern }
    let values = try executor.dequantized(matrix, as: Float.self)
    let rounded = try executor.dequantized(matrix, as: BFloat16.self)
    try expectEqual(
      "the FP32 bits", values.map(bits), expected.map(bits), columns: matrix.columns)
    try expectEqual(
      "the BF16 bits, as FP32,", rounded.map { bits(Float($0)) },
      expected.map { bits(Float(BFloat16(rounding: $0))) }, columns: matrix.columns)
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

/// E5M2 codes under FP32 scales.
private typealias WideMatrix = BlockScaledMatrix<Float8E5M2, Float>

extension KernelCheck {
  /// Quantizers against the reference, bytes for bytes.
  static var quantizing: [KernelCheck] {
    let shapes = [(1, 1), (3, 127), (16, 264)]
    return shapes.flatMap { rowBlocks($0) + shortBlocks($0) }
      + [(1, 1), (130, 37)].flatMap(columnsAndSquares)
      + Recipe.allCases.flatMap(everyFormat)
      + wholeRows + large
  }

  /// FP8 in blocks of one row.
  private static func rowBlocks(_ shape: Shape) -> [KernelCheck] {
    let row = Blocking(rows: 1, columns: 128)
    return [ScaleLayout.linear, .blockMajor].flatMap { layout in
      [16, 32, 64, 128].map {
        quantize(
          Float8Matrix.self, from: BFloat16.self, .deepseek, Blocking(rows: 1, columns: $0), layout,
          shape)
      }
    } + [
      quantize(Float8Matrix.self, from: Float16.self, .deepseekUE8M0, row, .linear, shape),
      quantize(Float8Matrix.self, from: Float.self, .torchao, row, .linear, shape),
      quantize(WideMatrix.self, from: BFloat16.self, .deepseek, row, .linear, shape),
      quantize(Float8Matrix.self, from: BFloat16.self, .deepseek, .tensor, .linear, shape),
    ]
  }

  /// NVFP4 and MX, whose scales the tensor cores read swizzled.
  private static func shortBlocks(_ shape: Shape) -> [KernelCheck] {
    [ScaleLayout.linear, .swizzled].flatMap { layout in
      [
        quantize(
          NVFP4Matrix.self, from: BFloat16.self, .transformerEngine, Blocking(rows: 1, columns: 16),
          layout, shape),
        quantize(
          NVFP4Matrix.self, from: BFloat16.self, .modelopt, Blocking(rows: 16, columns: 16), layout,
          shape),
        quantize(
          MXFP8Matrix.self, from: BFloat16.self, .rceil, Blocking(rows: 1, columns: 32), layout,
          shape),
        quantize(
          MXFP4Matrix.self, from: BFloat16.self, .ocp, Blocking(rows: 1, columns: 32), layout, shape
        ),
      ]
    }
  }

  private static func columnsAndSquares(_ shape: Shape) -> [KernelCheck] {
    [Blocking(rows: 128, columns: 1), Blocking(rows: 128, columns: 128)].flatMap { blocking in
      [
        quantize(Float8Matrix.self, from: BFloat16.self, .deepseek, blocking, .linear, shape),
        quantize(
          Float8Matrix.self, from: Float16.self, .transformerEngine, blocking, .linear, shape),
        quantize(Float8Matrix.self, from: Float.self, .modelopt, blocking, .blockMajor, shape),
      ]
    }
  }

  /// A recipe in every format that kernels have it for, from every source.
  private static func everyFormat(_ recipe: Recipe) -> [KernelCheck] {
    let row = Blocking(rows: 1, columns: 128)
    return SourceFormat.allCases.flatMap { source -> [KernelCheck] in
      switch source {
      case .float32: everyFormat(recipe, Float.self, row)
      case .bfloat16: everyFormat(recipe, BFloat16.self, row)
      case .float16: everyFormat(recipe, Float16.self, row)
      }
    }
  }

  private static func everyFormat<Source: SourceValue>(
    _ recipe: Recipe, _ source: Source.Type, _ row: Blocking
  ) -> [KernelCheck] {
    func check<Element, Scale>(
      _ type: BlockScaledMatrix<Element, Scale>.Type, _ blocking: Blocking
    ) -> KernelCheck? {
      guard
        (try? QuantizeRule(
          recipe, element: Element.elementFormat, scale: Scale.scaleFormat,
          source: Source.sourceFormat, isPerTensor: blocking == .tensor)) != nil
      else { return nil }
      return quantize(type, from: source, recipe, blocking, .linear, (17, 176))
    }
    let checks: [KernelCheck?] =
      [
        check(NVFP4Matrix.self, Blocking(rows: 1, columns: 16)),
        check(MXFP4Matrix.self, Blocking(rows: 1, columns: 32)),
        check(MXFP8Matrix.self, Blocking(rows: 1, columns: 32)),
      ]
      + [row, .row, .tensor].flatMap { blocking in
        [
          check(Float8Matrix.self, blocking),
          check(BlockScaledMatrix<Float8E4M3, BFloat16>.self, blocking),
          check(BlockScaledMatrix<Float8E4M3, Float16>.self, blocking),
          check(WideMatrix.self, blocking),
        ]
      }
    return checks.compactMap(\.self)
  }

  /// One scale a row: rows that one, two, four and eight warps keep in registers, and longer ones; with tails.
  private static var wholeRows: [KernelCheck] {
    let shapes = [
      (1, 1), (3, 127), (16, 264), (9, 2048), (3, 2056), (3, 2049), (5, 4_104), (2, 16_648),
      (2, 16_387),
    ]
    return shapes.flatMap { shape in
      [
        quantize(Float8Matrix.self, from: BFloat16.self, .torchaoFloat8, .row, .linear, shape),
        quantize(WideMatrix.self, from: Float.self, .deepseek, .row, .linear, shape),
      ]
    }
      + [
        quantize(
          Float8Matrix.self, from: BFloat16.self, .torchaoFloat8, .row, .linear, (300, 40_001),
          needsGPU: takesMinutes),
        quantize(
          Float8Matrix.self, from: BFloat16.self, .torchaoFloat8, .row, .linear, (300, 40_000),
          needsGPU: takesMinutes),
      ]
  }

  /// More tiles than a GPU runs at once, and offsets of more than 16 bits.
  private static var large: [KernelCheck] {
    let shapes = [(130, 257), (33, 512), (2051, 3001), (2176, 3072)]
    return shapes.flatMap { shape in
      [(1, 128), (128, 1), (128, 128), (1, Int.max), (Int.max, Int.max)].map { rows, columns in
        quantize(
          Float8Matrix.self, from: BFloat16.self, .deepseek, Blocking(rows: rows, columns: columns),
          .linear, shape, needsGPU: takesMinutes)
      } + [
        quantize(
          NVFP4Matrix.self, from: BFloat16.self, .transformerEngine, Blocking(rows: 1, columns: 16),
          .swizzled, shape, needsGPU: takesMinutes),
        quantize(
          MXFP8Matrix.self, from: BFloat16.self, .rceil, Blocking(rows: 1, columns: 32), .swizzled,
          shape, needsGPU: takesMinutes),
      ]
    }
  }

  /// One quantizer on one shape.
  private static func quantize<Element, Scale, Source: SourceValue>(
    _ type: BlockScaledMatrix<Element, Scale>.Type, from source: Source.Type, _ recipe: Recipe,
    _ blocking: Blocking, _ layout: ScaleLayout, _ shape: Shape, needsGPU: String? = nil
  ) -> KernelCheck {
    let name = quantizeName("quantize", type, source, recipe, blocking, layout, shape)
    return KernelCheck(name, needsGPU: needsGPU) { executor in
      let matrix = try Samples.corners(source, rows: shape.rows, columns: shape.columns)
      let result = try executor.quantized(
        matrix, as: type, recipe: recipe, blocking: blocking,
        options: QuantizeOptions(scaleLayout: layout))
      let expected = try type.quantized(
        matrix.values, rows: matrix.rows, columns: matrix.columns, recipe: recipe,
        blocking: blocking
      ).matrix
      try expectEqual("the matrix", result, expected)
    }
  }

  /// The name of a check: operation, blocks, formats, recipe, source, layout and shape.
  static func quantizeName<Element, Scale, Source: SourceValue>(
    _ operation: String, _ type: BlockScaledMatrix<Element, Scale>.Type, _ source: Source.Type,
    _ recipe: Recipe, _ blocking: Blocking, _ layout: ScaleLayout, _ shape: Shape
  ) -> String {
    let formats = "\(Element.elementFormat.rawValue) \(Scale.scaleFormat.rawValue)"
    let scales = layout == .linear ? "" : " \(layout.rawValue)"
    return "\(operation) \(blocking) \(formats) \(recipe.rawValue) from "
      + "\(Source.sourceFormat.rawValue)\(scales) \(shape.rows)x\(shape.columns)"
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

extension KernelCheck {
  /// A matrix and its transpose from one read, and the transpose alone.
  static var quantizingBothWays: [KernelCheck] {
    let shapes = [(1, 1), (3, 127), (48, 72)]
    return shapes.flatMap { eightBits($0) + shortBlocks($0) }
      + [(130, 257), (144, 264), (2051, 3001), (2176, 3072)].map {
        bothWays(
          Float8Matrix.self, from: BFloat16.self, .deepseek, Blocking(rows: 1, columns: 128),
          .blockMajor, $0, needsGPU: takesMinutes)
      }
  }

  private static func eightBits(_ shape: Shape) -> [KernelCheck] {
    [Blocking(rows: 1, columns: 128), Blocking(rows: 128, columns: 128)].flatMap { blocking in
      [ScaleLayout.linear, .blockMajor].flatMap { layout in
        [
          bothWays(Float8Matrix.self, from: BFloat16.self, .deepseek, blocking, layout, shape),
          bothWays(
            Float8Matrix.self, from: Float16.self, .transformerEnginePowerOfTwo, blocking, layout,
            shape),
          bothWays(Float8Matrix.self, from: Float.self, .torchao, blocking, layout, shape),
        ]
      }
    }
  }

  private static func shortBlocks(_ shape: Shape) -> [KernelCheck] {
    [ScaleLayout.linear, .swizzled].flatMap { layout in
      [
        bothWays(
          MXFP8Matrix.self, from: BFloat16.self, .rceil, Blocking(rows: 1, columns: 32), layout,
          shape),
        bothWays(
          MXFP4Matrix.self, from: Float.self, .ocp, Blocking(rows: 1, columns: 32), layout, shape),
        bothWays(
          NVFP4Matrix.self, from: BFloat16.self, .transformerEngine, Blocking(rows: 1, columns: 16),
          layout, shape),
        bothWays(
          NVFP4Matrix.self, from: Float16.self, .modelopt, Blocking(rows: 16, columns: 16), layout,
          shape),
      ]
    }
  }

  private static func bothWays<Element, Scale, Source: SourceValue>(
    _ type: BlockScaledMatrix<Element, Scale>.Type, from source: Source.Type, _ recipe: Recipe,
    _ blocking: Blocking, _ layout: ScaleLayout, _ shape: Shape, needsGPU: String? = nil
  ) -> KernelCheck {
    let name = quantizeName("quantize both ways", type, source, recipe, blocking, layout, shape)
    return KernelCheck(name, needsGPU: needsGPU) { executor in
      let matrix = try Samples.corners(source, rows: shape.rows, columns: shape.columns)
      let options = QuantizeOptions(scaleLayout: layout)
      let results = try executor.quantizedBothWays(
        matrix, as: type, recipe: recipe, blocking: blocking, options: options)
      let alone = try executor.quantizedTranspose(
        of: matrix, as: type, recipe: recipe, blocking: blocking, options: options)
      let expected = try type.quantizedBothWays(
        matrix.values, rows: shape.rows, columns: shape.columns, recipe: recipe, blocking: blocking)
      try expectEqual("the matrix", results.matrix, expected.matrix)
      try expectEqual("the transpose", results.transposed, expected.transposed)
      try expectEqual("the transpose alone", alone, expected.transposed)
    }
  }
}

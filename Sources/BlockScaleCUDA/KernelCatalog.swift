// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
package import PTX

/// A kernel in a configuration that the library may launch.
package struct KernelCatalogEntry: Sendable {
  package let kernel: any Kernel
  /// The targets that it is built for.
  package let targets: [Target]

  package init(_ kernel: any Kernel, targets: [Target] = Target.all) {
    self.kernel = kernel
    self.targets = targets
  }

  package var name: String { kernel.name }
}

/// Every kernel that the library may launch, for the assembly check, `doctor` and `ptx`.
///
/// Recipes multiply with sources, layouts and alignments into thousands of configurations that differ
/// in a few instructions; of those each recipe stands once, and the recipes of training stand in every
/// configuration.
package enum KernelCatalog {
  package static let entries: [KernelCatalogEntry] =
    quantizers + tiles + wholeRows + tensors + dequantizers + scaleConversions + swiGLU
    + activation + norms + blockwiseProducts

  /// The entry of this name, or nothing.
  package static func named(_ name: String) -> KernelCatalogEntry? {
    entries.first { $0.name == name }
  }

  // MARK: Quantizing

  /// The rule of a recipe, if kernels have it.
  private static func rule(
    _ recipe: Recipe, _ element: ElementFormat, _ scale: ScaleFormat,
    _ source: SourceFormat = .bfloat16, isPerTensor: Bool = false
  ) -> QuantizeRule? {
    try? QuantizeRule(
      recipe, element: element, scale: scale, source: source, isPerTensor: isPerTensor)
  }

  /// The formats that codes and scales come in together.
  private static let formats: [(element: ElementFormat, scale: ScaleFormat, block: Int)] = [
    (.e4m3, .float32, 128), (.e5m2, .float32, 128), (.e4m3, .bfloat16, 16), (.e4m3, .e8m0, 32),
    (.e2m1, .e8m0, 32), (.e2m1, .e4m3, 16),
  ]

  private static var quantizers: [KernelCatalogEntry] {
    var kernels: [QuantizeRows] = []
    for format in formats {
      let layouts: [ScaleLayout] = format.scale.byteCount == 1 ? [.linear, .swizzled] : [.linear]
      for recipe in Recipe.allCases {
        guard let rule = rule(recipe, format.element, format.scale) else { continue }
        kernels += layouts.map {
          QuantizeRows(rule, blockColumns: format.block, scaleLayout: $0)
        }
      }
    }
    for source in SourceFormat.allCases {
      for isAligned in [true, false] {
        if let rule = rule(.deepseek, .e4m3, .float32, source) {
          for (block, layout) in [(16, ScaleLayout.linear), (32, .linear), (128, .blockMajor)] {
            kernels.append(
              QuantizeRows(
                rule, blockColumns: block, scaleLayout: layout, isAligned: isAligned))
          }
        }
        if let rule = rule(.rceil, .e4m3, .e8m0, source) {
          kernels.append(
            QuantizeRows(
              rule, blockColumns: 32, scaleLayout: .swizzled, isAligned: isAligned))
        }
        if let rule = rule(.transformerEngine, .e2m1, .e4m3, source) {
          kernels.append(
            QuantizeRows(
              rule, blockRows: 16, blockColumns: 16, isAligned: isAligned))
          kernels.append(
            QuantizeRows(
              rule, blockColumns: 16, isAligned: isAligned, isStochastic: true))
        }
      }
    }
    if let rule = rule(.deepseek, .e4m3, .float32) {
      kernels += [true, false].map {
        QuantizeRows(rule, blockColumns: 128, isAligned: $0, isStochastic: true)
      }
    }
    if let rule = rule(.transformerEngine, .e2m1, .e4m3) {
      kernels += [true, false].map {
        QuantizeRows(
          rule, blockColumns: 16, scaleLayout: .swizzled, isStochastic: $0, isRotated: true)
      }
    }
    return distinct(kernels)
  }

  private static var tiles: [KernelCatalogEntry] {
    var kernels: [QuantizeTiles] = []
    var columns: [QuantizeColumns] = []
    for source in SourceFormat.allCases {
      for isAligned in [true, false] {
        if let rule = rule(.deepseek, .e4m3, .float32, source) {
          for output in QuantizeTiles.Output.allCases {
            kernels += [false, true].map {
              QuantizeTiles(
                rule, isSquare: $0, output: output,
                scaleLayout: $0 ? .linear : .blockMajor, isAligned: isAligned,
                isTransposeAligned: isAligned)
            }
          }
          columns.append(QuantizeColumns(rule, isAligned: isAligned))
        }
        if let rule = rule(.rceil, .e4m3, .e8m0, source) {
          kernels.append(
            QuantizeTiles(
              rule, blockLength: 32, scaleLayout: .swizzled, isAligned: isAligned,
              isTransposeAligned: isAligned))
        }
        if let rule = rule(.transformerEngine, .e2m1, .e4m3, source) {
          kernels += [false, true].map {
            QuantizeTiles(
              rule, blockLength: 16, isSquare: $0, scaleLayout: .swizzled, isAligned: isAligned,
              isTransposeAligned: isAligned)
          }
        }
      }
    }
    if let rule = rule(.transformerEngine, .e2m1, .e4m3) {
      kernels.append(
        QuantizeTiles(
          rule, blockLength: 16, output: .transpose, scaleLayout: .swizzled, isStochastic: true,
          isRotated: true))
    }
    return distinct(kernels) + distinct(columns)
  }

  /// SwiGLU with its results in both orientations.
  private static var swiGLU: [KernelCatalogEntry] {
    let recipes = [Recipe.torchao, .transformerEngine, .transformerEnginePowerOfTwo]
    var forward = recipes.compactMap { rule($0, .e4m3, .float32).map { SwiGLUForward($0) } }
    var backward = recipes.compactMap {
      rule($0, .e5m2, .float32).map { SwiGLUBackward(.e5m2, $0) }
    }
    for element in [ElementFormat.e4m3, .e5m2] {
      guard let rule = rule(.deepseek, element, .float32) else { continue }
      for (layout, isAligned) in [
        (ScaleLayout.blockMajor, true), (.linear, true), (.linear, false),
      ] {
        forward.append(
          SwiGLUForward(
            rule, scaleLayout: layout, isAligned: isAligned, isTransposeAligned: isAligned))
        backward.append(
          SwiGLUBackward(
            .e4m3, rule, scaleLayout: layout, isAligned: isAligned, isTransposeAligned: isAligned))
      }
    }
    return distinct(forward) + distinct(backward)
  }

  // MARK: The FP8 activation flow

  /// COAT's flow, E4M3 forward and E5M2 backward.
  private static var activation: [KernelCatalogEntry] {
    var kernels: [any Kernel] = [TransposeCodes(), TransposeCodes(isAligned: false)]
    for recipe in ActivationRecipe.allCases {
      for isAligned in [true, false] {
        for groupSize in isAligned ? [16, 128] : [16] {
          kernels += chunked(groupSize: groupSize, recipe, isAligned: isAligned)
        }
        for (scaling, source, isStochastic) in [
          (TensorDivision<Float8E4M3>.Scaling.groups, SourceFormat.bfloat16, false),
          (.groups, .bfloat16, true),
          (.groups, .float32, false), (.computed, .bfloat16, false), (.computed, .float32, false),
          (.given, .bfloat16, false), (.given, .bfloat16, true),
        ] {
          kernels += [true, false].map {
            TensorDivision<Float8E4M3>(
              source: source, scaling: scaling, writesTranspose: $0, isStochastic: isStochastic,
              recipe: recipe, isAligned: isAligned)
          }
        }
        kernels += [true, false].map {
          TensorDivision<Float8E5M2>(writesTranspose: $0, recipe: recipe, isAligned: isAligned)
        }
      }
    }
    return kernels.map { KernelCatalogEntry($0) }
  }

  /// RMSNorm and LayerNorm from FP8.
  private static var norms: [KernelCatalogEntry] {
    var kernels: [any Kernel] = [PanelTotals()]
    for isAligned in [true, false] {
      for kind in [NormKind.rms, .layer] {
        kernels += (isAligned ? [16, 128] : [16]).flatMap { groupSize -> [any Kernel] in
          [
            NormBackward<Float8E4M3>(kind, groupSize: groupSize, isAligned: isAligned),
            NormColumnSums<Float8E4M3>(kind, groupSize: groupSize, isAligned: isAligned),
          ]
        }
        for recipe in ActivationRecipe.allCases {
          kernels.append(
            NormForward<Float8E4M3, Float8E4M3>(
              kind, hasBias: kind == .layer, recipe: recipe, isAligned: isAligned))
        }
      }
      kernels.append(
        NormForward<Float8E4M3, Float8E4M3>(.layer, hasWeight: false, isAligned: isAligned))
      kernels.append(NormForward<Float8E4M3, Float8E4M3>(.layer, isAligned: isAligned))
      kernels.append(NormBackward<Float8E4M3>(.layer, hasWeight: false, isAligned: isAligned))
    }
    return kernels.map { KernelCatalogEntry($0) }
  }

  /// Kernels whose threads have a chunk of a row each.
  private static func chunked(
    groupSize: Int, _ recipe: ActivationRecipe, isAligned: Bool
  ) -> [any Kernel] {
    typealias E4M3 = Float8E4M3
    typealias E5M2 = Float8E5M2
    let settings = ActivationSettings(groupSize: groupSize, recipe: recipe, isAligned: isAligned)
    var kernels: [any Kernel] = [
      MultiplyForward<E4M3, E4M3, E4M3>(settings),
      MultiplyBackward<E4M3, E4M3, E5M2>(settings),
      SiLUForward<E4M3, E4M3>(settings),
      GELUForward<E4M3, E4M3>(settings),
      ActivationBackward<E4M3, E5M2>(.silu, settings),
      ActivationBackward<E4M3, E5M2>(.gelu, settings),
      SwiGLUProduct<E4M3, E4M3>(settings),
      SwiGLUGradientsStage<E4M3, E5M2>(settings, isWhole: true),
      SwiGLUGradientsStage<E4M3, E5M2>(settings, isWhole: false),
      AddForward<E4M3, E4M3>(settings),
      AddForward<E4M3, E4M3>(settings, residualIsFloat8: true),
      AddBackward<E5M2>(settings),
    ]
    for source in SourceFormat.allCases {
      kernels += [true, false].map {
        QuantizeGroups<E4M3>(settings, source: source, scalesAlone: $0)
      }
    }
    return kernels
  }

  private static var tensors: [KernelCatalogEntry] {
    var quantizers: [QuantizeTensor] = []
    var maxima: [ScaleMaximum] = []
    for source in SourceFormat.allCases {
      maxima += ScaleMaximum.Kind.allCases.map { ScaleMaximum(source, kind: $0) }
      maxima.append(ScaleMaximum(source, isAligned: false))
    }
    for recipe in Recipe.allCases {
      for scale in [ScaleFormat.float32, .bfloat16] {
        guard let rule = rule(recipe, .e4m3, scale, isPerTensor: true) else { continue }
        quantizers += [true, false].map { QuantizeTensor(rule, isAligned: $0) }
      }
    }
    return distinct(quantizers) + distinct(maxima)
  }

  // MARK: Dequantizing

  private static var dequantizers: [KernelCatalogEntry] {
    var kernels: [Dequantize] = []
    let schemes: [(ElementFormat, ScaleFormat, Blocking, Dequantize.SecondLevel)] = [
      (.e4m3, .float32, Blocking(rows: 1, columns: 128), .none),
      (.e4m3, .float32, Blocking(rows: 128, columns: 1), .none),
      (.e4m3, .float32, Blocking(rows: 128, columns: 128), .none),
      (.e5m2, .float32, Blocking(rows: 1, columns: 128), .none),
      (.e4m3, .bfloat16, Blocking(rows: 1, columns: 16), .none),
      (.e4m3, .float32, .tensor, .none),
      (.e4m3, .e8m0, Blocking(rows: 1, columns: 32), .none),
      (.e2m1, .e8m0, Blocking(rows: 1, columns: 32), .none),
      (.e2m1, .e4m3, Blocking(rows: 1, columns: 16), .multiplier),
      (.e2m1, .e4m3, Blocking(rows: 1, columns: 16), .divisor),
    ]
    for (element, scale, blocking, second) in schemes {
      for result in [SourceFormat.bfloat16, .float32] {
        kernels += [true, false].map {
          Dequantize(
            element, scale: scale, to: result, blocking: blocking, secondLevel: second,
            isAligned: $0)
        }
      }
    }
    return distinct(kernels)
  }

  private static var scaleConversions: [KernelCatalogEntry] {
    distinct([
      ScaleSwizzle(.intoTiles), ScaleSwizzle(.intoTiles, isAligned: false),
      ScaleSwizzle(.outOfTiles), ScaleSwizzle(.outOfTiles, isAligned: false),
      ScaleTranspose<UInt8>(.intoBlockMajor), ScaleTranspose<UInt8>(.outOfBlockMajor),
      ScaleTranspose<UInt16>(.intoBlockMajor), ScaleTranspose<UInt16>(.outOfBlockMajor),
      ScaleTranspose<UInt32>(.intoBlockMajor), ScaleTranspose<UInt32>(.outOfBlockMajor),
    ])
  }

  /// Entries for all targets, each name once.
  static func distinct(_ kernels: [any Kernel]) -> [KernelCatalogEntry] {
    var names: Set<String> = []
    return kernels.filter { names.insert($0.name).inserted }.map { KernelCatalogEntry($0) }
  }
}

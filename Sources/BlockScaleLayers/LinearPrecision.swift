// SPDX-License-Identifier: Apache-2.0

public import BlockScale

/// The numerics of a linear layer's three products.
public enum LinearPrecision: Sendable, Hashable {
  /// Inputs, gradients and the weight in BF16.
  case bfloat16
  /// All three in FP8 blocks.
  case float8Blocks(Float8BlockwiseConfiguration)
  /// All three in FP8 under one scale each, gradients in E5M2: COAT's linear layers.
  case float8Tensor(ActivationRecipe)
  /// The weight in NVFP4, inputs and gradients in BF16.
  case nvfp4(Recipe)

  /// FP8 blocks as DeepSeek-V3 and torchao have them.
  public static let float8Blocks = float8Blocks(Float8BlockwiseConfiguration())
  /// COAT's linear layers, with codes that follow the stored scale.
  public static let float8Tensor = float8Tensor(.storedScale)
  /// NVFP4 as ModelOpt quantizes it.
  public static let nvfp4 = nvfp4(.modelopt)

  /// How inputs enter the products; layers that agree in it share an input.
  var inputForm: LinearInputForm {
    switch self {
    case .bfloat16, .nvfp4: .bfloat16
    case .float8Blocks(let configuration): .float8Blocks(configuration)
    case .float8Tensor(let recipe): .float8Tensor(recipe)
    }
  }
}

/// The numerics of layers in FP8 blocks.
public struct Float8BlockwiseConfiguration: Sendable, Hashable {
  /// What turns values into codes and scales; recipes of powers of two are
  /// `deepseek-ue8m0` and `transformer-engine-pow2`.
  public var recipe: Recipe
  /// The format of gradients.
  public var gradientFormat: GradientFormat

  /// Creates a configuration.
  public init(recipe: Recipe = .torchao, gradientFormat: GradientFormat = .e4m3) {
    self.recipe = recipe
    self.gradientFormat = gradientFormat
  }

  /// The element formats of gradients.
  public enum GradientFormat: Sendable, Hashable, CaseIterable {
    /// Three bits of precision more, as DeepSeek-V3 trains.
    case e4m3
    /// A wider range, as TransformerEngine's hybrid recipes have it.
    case e5m2
  }

  /// Whether the scales of inputs and gradients do not tell that a value was not finite.
  ///
  /// - Throws: ``BlockScaleError`` if the recipe does not define FP8 blocks with FP32 scales.
  func hidesNonFinite() throws(BlockScaleError) -> Bool {
    // Inputs and gradients come in BF16, for which a recipe may have other scales than for FP32.
    guard
      let rule = recipe.rule(
        element: .e4m3, scale: .float32, source: .bfloat16, tensorMaximum: 1, perTensor: false)
    else {
      throw BlockScaleError(
        .unsupportedRecipe,
        "The recipe '\(recipe.rawValue)' does not define FP8 blocks of BF16 values with FP32 "
          + "scales.")
    }
    return rule.hidesNonFinite
  }
}

/// How inputs and gradients enter products.
package enum LinearInputForm: Sendable, Hashable {
  case bfloat16
  case float8Blocks(Float8BlockwiseConfiguration)
  case float8Tensor(ActivationRecipe)
}

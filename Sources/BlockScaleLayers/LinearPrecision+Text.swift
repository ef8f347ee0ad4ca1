// SPDX-License-Identifier: Apache-2.0

import BlockScale

extension LinearPrecision: LosslessStringConvertible {
  /// Reads a precision as options and files have it: `bf16`, `fp8-block`, `fp8-tensor` or `nvfp4`,
  /// where a recipe may follow after a colon, and `e5m2` for the gradients of `fp8-block` after
  /// another.
  public init?(_ description: String) {
    let parts = description.split(separator: ":", omittingEmptySubsequences: false).map(
      String.init)
    switch (parts[0], parts.count) {
    case ("bf16", 1): self = .bfloat16
    case ("fp8-block", 1): self = .float8Blocks
    case ("fp8-block", 2...3):
      guard let recipe = Recipe(rawValue: parts[1]), parts.count == 2 || parts[2] == "e5m2" else {
        return nil
      }
      self = .float8Blocks(
        Float8BlockwiseConfiguration(
          recipe: recipe, gradientFormat: parts.count == 3 ? .e5m2 : .e4m3))
    case ("fp8-tensor", 1): self = .float8Tensor
    case ("fp8-tensor", 2):
      guard let recipe = ActivationRecipe(rawValue: parts[1]) else { return nil }
      self = .float8Tensor(recipe)
    case ("nvfp4", 1): self = .nvfp4
    case ("nvfp4", 2):
      guard let recipe = Recipe(rawValue: parts[1]) else { return nil }
      self = .nvfp4(recipe)
    default: return nil
    }
  }

  /// The text that ``init(_:)`` reads.
  public var description: String {
    switch self {
    case .bfloat16: "bf16"
    case .float8Blocks(let configuration):
      "fp8-block:\(configuration.recipe.rawValue)"
        + (configuration.gradientFormat == .e5m2 ? ":e5m2" : "")
    case .float8Tensor(let recipe): "fp8-tensor:\(recipe.rawValue)"
    case .nvfp4(let recipe): "nvfp4:\(recipe.rawValue)"
    }
  }
}

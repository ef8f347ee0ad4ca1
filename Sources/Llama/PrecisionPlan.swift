// SPDX-License-Identifier: Apache-2.0

public import BlockScaleLayers

/// Which linear layers of a model have which numerics.
///
///     var plan = PrecisionPlan.float8
///     plan.rules.insert(.init("model.layers.0.*", .bfloat16), at: 0)
public struct PrecisionPlan: Sendable, Hashable {
  /// A pattern of module names and the numerics of what matches.
  public struct Rule: Sendable, Hashable {
    /// Hugging Face's name of a module, where `*` stands for any run of characters.
    public var pattern: String
    /// The numerics.
    public var precision: LinearPrecision

    /// Creates a rule.
    public init(_ pattern: String, _ precision: LinearPrecision) {
      self.pattern = pattern
      self.precision = precision
    }

    /// Whether the rule is about a module.
    package func matches(_ module: String) -> Bool { PrecisionPlan.matches(pattern, module) }
  }

  /// The first rule that matches a module counts.
  public var rules: [Rule]
  /// The numerics of modules that none matches.
  public var otherwise: LinearPrecision

  /// Creates a plan.
  public init(rules: [Rule], otherwise: LinearPrecision = .bfloat16) {
    self.rules = rules
    self.otherwise = otherwise
  }

  /// Everything in BF16.
  public static let bfloat16 = PrecisionPlan(rules: [])
  /// The linear layers of attention and MLP in FP8 blocks, the head in BF16.
  public static let float8 = PrecisionPlan(rules: [Rule("model.layers.*", .float8Blocks)])
  /// The linear layers of attention and MLP in FP8 under one scale each, with COAT's activation flow
  /// around them; the head in BF16.
  public static let coat = PrecisionPlan(rules: [Rule("model.layers.*", .float8Tensor)])
  /// The weights of attention and MLP in NVFP4.
  public static let nvfp4 = PrecisionPlan(rules: [Rule("model.layers.*", .nvfp4)])

  /// The numerics of a module, such as `model.layers.0.mlp.up_proj` or `lm_head`.
  public func precision(of module: String) -> LinearPrecision {
    rules.first { $0.matches(module) }?.precision ?? otherwise
  }

  /// Whether a name fits a pattern.
  static func matches(_ pattern: String, _ name: String) -> Bool {
    let parts = pattern.split(separator: "*", omittingEmptySubsequences: false)
    guard parts.count > 1 else { return pattern == name }
    guard name.hasPrefix(parts[0]) else { return false }
    var rest = name.dropFirst(parts[0].count)
    // The first occurrence of each part leaves the most for those after it.
    for part in parts.dropFirst().dropLast() where !part.isEmpty {
      guard let start = rest.indices.first(where: { rest[$0...].hasPrefix(part) }) else {
        return false
      }
      rest = rest[start...].dropFirst(part.count)
    }
    return rest.hasSuffix(parts[parts.count - 1])
  }
}

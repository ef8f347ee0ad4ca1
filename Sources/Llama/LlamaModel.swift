// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import BlockScaleLayers
import Minifloat

/// A Llama 3 model whose weights are prepared for the products of a back end.
///
/// A model for training keeps each weight in the orientations of all three products; its master weights
/// are a ``ParameterStore`` that whoever trains owns, and ``update(_:)`` prepares them anew after an
/// optimizer step. A model for inference keeps each weight once, quantized ones as they were stored.
///
///     let model = try LlamaModel(
///       configuration, weights: weights, plan: .float8, on: CPUBackend())
///     let loss = try model.loss(tokens, addingGradientsTo: &gradients)
public struct LlamaModel<Compute: TransformerBackend>: Sendable {
  /// The shape of the model.
  public let configuration: LlamaConfiguration
  /// The numerics of its linear layers; of stored quantized weights, that of the other layers.
  public let plan: PrecisionPlan
  /// Whether weights are prepared for gradients.
  public let trains: Bool
  /// The longest sequence that the model takes.
  public var contextLength: Int { rotary.positions }
  let backend: Compute
  var embedding: Matrix<BFloat16>
  var layers: [DecoderLayer<Compute>]
  var norm: [Float]
  var head: NamedLinear<Compute>
  let rotary: RotaryTable

  /// Prepares a model for training, or for inference.
  ///
  /// - Parameters:
  ///   - weights: FP32 values of all parameters.
  ///   - plan: The numerics of linear layers.
  ///   - trains: Whether to prepare for gradients, which doubles the memory.
  ///   - contextLength: The longest sequence; the configuration's positions, 4096 at most, if nil.
  ///   - backend: Where the model runs.
  /// - Throws: ``LlamaError`` if the weights are those of another configuration or not finite.
  public init(
    _ configuration: LlamaConfiguration, weights: ParameterStore, plan: PrecisionPlan,
    trains: Bool = true, contextLength: Int? = nil, on backend: Compute
  ) throws {
    try Self.check(weights, configuration)
    try self.init(
      configuration, plan: plan, trains: trains, contextLength: contextLength, on: backend,
      values: { weights[$0] }, operand: { _ in nil })
  }

  /// Prepares a model whose weights come one by one, by the names of their parameters.
  ///
  /// - Parameters:
  ///   - values: FP32 values, decoded where they are stored in blocks.
  ///   - operand: A linear layer's weight as it is stored in blocks; nil for those that are not.
  init(
    _ configuration: LlamaConfiguration, plan: PrecisionPlan, trains: Bool, contextLength: Int?,
    on backend: Compute, values: (String) throws -> Matrix<Float>,
    operand: (String) throws -> Operand?
  ) throws {
    let heads = configuration.heads
    let positions = contextLength ?? min(configuration.maximumPositions, 4096)
    guard positions > 0, positions <= configuration.maximumPositions else {
      throw LlamaError(
        .wrongInput,
        "A context of \(positions) tokens does not lie within the model's "
          + "\(configuration.maximumPositions) positions.")
    }
    self.configuration = configuration
    self.plan = plan
    self.trains = trains
    self.backend = backend
    rotary = try at("rotary embedding") { () throws(BlockScaleError) in
      try RotaryTable(
        dimension: heads.dimension, base: configuration.rotaryBase,
        scaling: configuration.rotaryScaling, positions: positions)
    }
    func vector(_ name: String) throws -> [Float] {
      try Self.checked(try values("\(name).weight").values, of: name)
    }
    func linear(_ name: String, parameter: String? = nil) throws -> NamedLinear<Compute> {
      let parameter = parameter ?? "\(name).weight"
      let linear: PreparedLinear<Compute>
      if let operand = try operand(parameter) {
        linear = try at(name) { () throws(BlockScaleError) in
          try PreparedLinear(weight: operand, on: backend)
        }
      } else {
        let weight = try values(parameter)
        linear = try at(name) { () throws(BlockScaleError) in
          try PreparedLinear(
            weight: weight, precision: plan.precision(of: name), trains: trains, on: backend)
        }
      }
      return NamedLinear(name: name, parameter: parameter, linear: linear)
    }
    embedding = try Self.embedding(of: try values("model.embed_tokens.weight"), on: backend)
    layers = try (0..<configuration.layerCount).map { index in
      let names = LayerNames(index)
      return DecoderLayer(
        names: names, backend: backend, heads: heads, epsilon: Float(configuration.normEpsilon),
        inputNorm: try vector(names.inputNorm), postNorm: try vector(names.postNorm),
        projections: SharedLinears(
          backend, [try linear(names.query), try linear(names.key), try linear(names.value)]),
        output: SharedLinears(backend, [try linear(names.output)]),
        expansions: SharedLinears(backend, [try linear(names.gate), try linear(names.up)]),
        down: SharedLinears(backend, [try linear(names.down)]))
    }
    norm = try vector("model.norm")
    head = try linear(
      "lm_head", parameter: configuration.tiesHead ? "model.embed_tokens.weight" : nil)
  }

  private static func check(
    _ weights: ParameterStore, _ configuration: LlamaConfiguration
  ) throws(LlamaError) {
    guard weights.parameters == configuration.parameters else {
      throw LlamaError(
        .wrongParameter, "The weights are those of a model of another configuration.")
    }
  }

  /// The table of the embedding as it is looked up; a row that no token asks for is checked as well.
  private static func embedding(
    of weight: Matrix<Float>, on backend: Compute
  ) throws(LlamaError) -> Matrix<BFloat16> {
    let rounded = backend.rounded(weight)
    try at("model.embed_tokens") { () throws(BlockScaleError) in
      try backend.checkFinite(rounded, "The weight, rounded to BF16,")
    }
    return rounded
  }

  /// The weight of a normalization.
  private static func checked(
    _ weights: ParameterStore, of name: String
  ) throws(LlamaError) -> [Float] {
    try checked(weights["\(name).weight"].values, of: name)
  }

  private static func checked(_ weight: [Float], of name: String) throws(LlamaError) -> [Float] {
    guard weight.allSatisfy(\.isFinite) else {
      throw LlamaError(.nonFinite, "\(name): The weight holds a NaN or an infinity.")
    }
    return weight
  }

  /// Prepares all weights anew, as after an optimizer step.
  ///
  /// - Throws: ``LlamaError`` if the weights are those of another configuration or not finite; then some
  ///   may be new.
  /// - Complexity: O(parameters).
  public mutating func update(_ weights: ParameterStore) throws(LlamaError) {
    try Self.check(weights, configuration)
    embedding = try Self.embedding(of: weights["model.embed_tokens.weight"], on: backend)
    for index in layers.indices {
      let names = layers[index].names
      layers[index].inputNorm = try Self.checked(weights, of: names.inputNorm)
      layers[index].postNorm = try Self.checked(weights, of: names.postNorm)
      for path in [
        \DecoderLayer<Compute>.projections, \.output, \.expansions, \.down,
      ] {
        for member in layers[index][keyPath: path].members.indices {
          try prepare(&layers[index][keyPath: path].members[member], weights)
        }
      }
    }
    norm = try Self.checked(weights, of: "model.norm")
    try prepare(&head, weights)
  }

  private func prepare(
    _ linear: inout NamedLinear<Compute>, _ weights: ParameterStore
  ) throws(LlamaError) {
    let (name, parameter) = (linear.name, linear.parameter)
    linear.linear = try at(name) { () throws(BlockScaleError) in
      try PreparedLinear(
        weight: weights[parameter], precision: plan.precision(of: name), trains: trains,
        on: backend)
    }
  }
}

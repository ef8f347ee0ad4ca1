// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleLayers
import Minifloat

/// One decoder layer: attention and MLP, each behind a normalization and around a residual.
struct DecoderLayer<Compute: TransformerBackend>: Sendable {
  let names: LayerNames
  let backend: Compute
  let heads: AttentionHeads
  let epsilon: Float
  var inputNorm: [Float]
  var postNorm: [Float]
  /// Query, key and value.
  var projections: SharedLinears<Compute>
  var output: SharedLinears<Compute>
  /// Gate and up.
  var expansions: SharedLinears<Compute>
  var down: SharedLinears<Compute>

  /// COAT's scales, if all linear layers take FP8 under one scale: then activations between them are
  /// FP8 too.
  var activationRecipe: ActivationRecipe? {
    let forms = Set(
      (projections.members + output.members + expansions.members + down.members).map(
        \.linear.inputForm))
    guard forms.count == 1, case .float8Tensor(let recipe)? = forms.first else { return nil }
    return recipe
  }

  /// What attention leaves for its backward call.
  struct SavedAttention: Sendable {
    let query: BFloat16Tensor
    let key: BFloat16Tensor
    let value: BFloat16Tensor
    let forward: AttentionOutput

    var byteCount: Int {
      2 * (query.matrix.values.count * 2 + key.matrix.values.count * 2)
        + 4 * forward.logSums.count
    }
  }

  /// What a layer leaves for its backward call.
  enum Saved: Sendable {
    case plain(SavedPlain)
    case activationFlow(SavedActivationFlow)

    var byteCount: Int {
      switch self {
      case .plain(let saved): saved.byteCount
      case .activationFlow(let saved): saved.byteCount
      }
    }
  }

  struct SavedPlain: Sendable {
    let input: BFloat16Tensor
    let projections: SharedLinears<Compute>.Saved
    let attention: SavedAttention
    let output: SharedLinears<Compute>.Saved
    let middle: BFloat16Tensor
    let expansions: SharedLinears<Compute>.Saved
    let gate: BFloat16Tensor
    let up: BFloat16Tensor
    let down: SharedLinears<Compute>.Saved

    var byteCount: Int {
      projections.byteCount + attention.byteCount + output.byteCount + expansions.byteCount
        + down.byteCount
        + 2 * [input, middle, gate, up].reduce(0) { $0 + $1.matrix.values.count }
    }
  }

  /// Where the keys and values of a sequence lie that is being generated.
  struct Place {
    let rotary: RotaryTable
    /// The position of the first token.
    let offset: Int
  }

  //MARK: Forward

  /// The residual stream after this layer.
  ///
  /// - Parameter cache: Takes the keys and values, and gives those of earlier tokens; nil where a
  ///   sequence is whole.
  func forward(
    _ x: BFloat16Tensor, _ place: Place, cache: inout LayerCache?
  ) throws(LlamaError) -> (BFloat16Tensor, Saved) {
    if let recipe = activationRecipe {
      let (result, saved) = try forwardInFloat8(x, place, cache: &cache, recipe)
      return (result, .activationFlow(saved))
    }
    let normalized = try at(names.inputNorm) { () throws(BlockScaleError) in
      try backend.rmsNormForward(x, weight: inputNorm, epsilon: epsilon)
    }
    let (projected, savedProjections) = try projections.forward(normalized)
    let attention = try attend(projected, place, cache: &cache)
    let (attended, savedOutput) = try output.forward(attention.forward.output)
    let middle = try at(names.attention) { () throws(BlockScaleError) in
      try backend.add(x, attended[0])
    }
    let normalizedMiddle = try at(names.postNorm) { () throws(BlockScaleError) in
      try backend.rmsNormForward(middle, weight: postNorm, epsilon: epsilon)
    }
    let (expanded, savedExpansions) = try expansions.forward(normalizedMiddle)
    let product = try at(names.mlp) { () throws(BlockScaleError) in
      try backend.swiGLUForward(gate: expanded[0], up: expanded[1])
    }
    let (reduced, savedDown) = try down.forward(product)
    let result = try at(names.mlp) { () throws(BlockScaleError) in
      try backend.add(middle, reduced[0])
    }
    let saved = SavedPlain(
      input: x, projections: savedProjections, attention: attention, output: savedOutput,
      middle: middle, expansions: savedExpansions, gate: expanded[0], up: expanded[1],
      down: savedDown)
    return (result, .plain(saved))
  }

  /// Attention of projected queries, keys and values.
  func attend(
    _ projected: [BFloat16Tensor], _ place: Place, cache: inout LayerCache?
  ) throws(LlamaError) -> SavedAttention {
    try at(names.attention) { () throws(BlockScaleError) in
      let query = try backend.rotate(
        projected[0], by: place.rotary, offset: place.offset, inverse: false)
      var key = try backend.rotate(
        projected[1], by: place.rotary, offset: place.offset, inverse: false)
      var value = projected[2]
      if cache != nil { (key, value) = try cache!.appending(key, value) }
      let forward = try backend.attentionForward(
        query: query, key: key, value: value, heads: heads)
      return SavedAttention(query: query, key: key, value: value, forward: forward)
    }
  }

  //MARK: Backward

  /// The gradient of the residual stream before this layer; those of parameters are added.
  func backward(
    _ gradient: BFloat16Tensor, saved: Saved, rotary: RotaryTable,
    into store: inout ParameterStore
  ) throws(LlamaError) -> BFloat16Tensor {
    switch saved {
    case .plain(let saved):
      try backward(gradient, saved: saved, rotary: rotary, into: &store)
    case .activationFlow(let saved):
      try backwardInFloat8(gradient, saved: saved, rotary: rotary, into: &store)
    }
  }

  private func backward(
    _ gradient: BFloat16Tensor, saved: SavedPlain, rotary: RotaryTable,
    into store: inout ParameterStore
  ) throws(LlamaError) -> BFloat16Tensor {
    let productGradient = try down.backward([gradient], saved: saved.down, into: &store)
    let expanded = try at(names.mlp) { () throws(BlockScaleError) in
      try backend.swiGLUBackward(gate: saved.gate, up: saved.up, gradient: productGradient)
    }
    let normalizedMiddle = try expansions.backward(
      [expanded.gate, expanded.up], saved: saved.expansions, into: &store)
    let middle = try at(names.postNorm) { () throws(BlockScaleError) in
      try backend.rmsNormBackward(
        saved.middle, weight: postNorm, gradient: normalizedMiddle, residual: gradient,
        epsilon: epsilon, weightGradient: &store["\(names.postNorm).weight"].values)
    }
    let attended = try output.backward([middle], saved: saved.output, into: &store)
    let projected = try attentionGradients(attended, saved: saved.attention, rotary: rotary)
    let normalized = try projections.backward(
      projected, saved: saved.projections, into: &store)
    return try at(names.inputNorm) { () throws(BlockScaleError) in
      try backend.rmsNormBackward(
        saved.input, weight: inputNorm, gradient: normalized, residual: middle, epsilon: epsilon,
        weightGradient: &store["\(names.inputNorm).weight"].values)
    }
  }

  /// The gradients of projected queries, keys and values.
  func attentionGradients(
    _ gradient: BFloat16Tensor, saved: SavedAttention, rotary: RotaryTable
  ) throws(LlamaError) -> [BFloat16Tensor] {
    try at(names.attention) { () throws(BlockScaleError) in
      let gradients = try backend.attentionBackward(
        query: saved.query, key: saved.key, value: saved.value, heads: heads,
        forward: saved.forward, gradient: gradient)
      return [
        try backend.rotate(gradients.query, by: rotary, offset: 0, inverse: true),
        try backend.rotate(gradients.key, by: rotary, offset: 0, inverse: true),
        gradients.value,
      ]
    }
  }
}

/// The keys and values of one layer.
struct LayerCache: Sendable {
  private var keys: [BFloat16] = []
  private var values: [BFloat16] = []

  /// Takes the keys and values of more tokens of a sequence, and gives those of all.
  mutating func appending(
    _ key: BFloat16Tensor, _ value: BFloat16Tensor
  ) throws(BlockScaleError) -> (BFloat16Tensor, BFloat16Tensor) {
    precondition(key.shape.count == 3 && key.shape[0] == 1, "A cache is of one sequence")
    keys += key.matrix.values
    values += value.matrix.values
    let columns = key.matrix.columns
    let shape = [1, keys.count / columns, columns]
    return (
      try Tensor(Matrix(keys, rows: shape[1], columns: columns), shape: shape),
      try Tensor(Matrix(values, rows: shape[1], columns: columns), shape: shape)
    )
  }

  /// Makes room for tokens.
  mutating func reserve(_ tokens: Int, columns: Int) {
    keys.reserveCapacity(tokens * columns)
    values.reserveCapacity(tokens * columns)
  }
}

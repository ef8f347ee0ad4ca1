// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleLayers
import Minifloat

// COAT's activation flow: normalizations and SwiGLU take and give FP8, and what is kept for the
// backward pass is FP8. Attention and the residual stream are BF16.
// Source: COAT:coat/models/coat_llama.py, VILA:llava/model/coat.

extension DecoderLayer {
  struct SavedActivationFlow: Sendable {
    let input: Float8Tensor<Float8E4M3>
    let projections: SharedLinears<Compute>.Saved
    let attention: SavedAttention
    let output: SharedLinears<Compute>.Saved
    let middle: Float8Tensor<Float8E4M3>
    let expansions: SharedLinears<Compute>.Saved
    let gate: Float8Tensor<Float8E4M3>
    let up: Float8Tensor<Float8E4M3>
    let down: SharedLinears<Compute>.Saved

    var byteCount: Int {
      projections.byteCount + attention.byteCount + output.byteCount + expansions.byteCount
        + down.byteCount
        + [input, middle, gate, up].reduce(0) {
          $0 + $1.matrix.codes.count + 2 * $1.matrix.scales.count
        }
    }
  }

  /// The length of groups, COAT's.
  private var groupSize: Int { 16 }

  func forwardInFloat8(
    _ x: BFloat16Tensor, _ place: Place, cache: inout LayerCache?, _ recipe: ActivationRecipe
  ) throws(LlamaError) -> (BFloat16Tensor, SavedActivationFlow) {
    let input = try at(names.inputNorm) { () throws(BlockScaleError) in
      try groups(x, recipe)
    }
    let (projected, savedProjections) = try projections.forward(
      normalized(names.inputNorm, input, weight: inputNorm, recipe))
    let attention = try attend(projected, place, cache: &cache)
    let (attended, savedOutput) = try output.forward(attention.forward.output)
    let middle = try at(names.postNorm) { () throws(BlockScaleError) in
      try backend.addForward(
        x, attended[0], as: Float8E4M3.self, groupSize: groupSize, recipe: recipe)
    }
    let (expanded, savedExpansions) = try expansions.forward(
      normalized(names.postNorm, middle.quantized, weight: postNorm, recipe))
    let gate = try at(names.gate) { () throws(BlockScaleError) in
      try groups(expanded[0], recipe)
    }
    let up = try at(names.up) { () throws(BlockScaleError) in
      try groups(expanded[1], recipe)
    }
    let product = try at(names.mlp) { () throws(BlockScaleError) in
      let product = try backend.swiGLUForward(
        gate: gate, up: up, as: Float8E4M3.self, outputQuantizedTranspose: true, recipe: recipe)
      try product.checkFinite("The product of the gate")
      return try LinearInput(product)
    }
    let (reduced, savedDown) = try down.forward(product)
    let result = try at(names.mlp) { () throws(BlockScaleError) in
      try backend.add(middle.sum, reduced[0])
    }
    let saved = SavedActivationFlow(
      input: input, projections: savedProjections, attention: attention, output: savedOutput,
      middle: middle.quantized, expansions: savedExpansions, gate: gate, up: up, down: savedDown)
    return (result, saved)
  }

  private func groups(
    _ x: BFloat16Tensor, _ recipe: ActivationRecipe
  ) throws(BlockScaleError) -> Float8Tensor<Float8E4M3> {
    try backend.quantizeGroups(x, as: Float8E4M3.self, groupSize: groupSize, recipe: recipe)
  }

  private func normalized(
    _ name: String, _ x: Float8Tensor<Float8E4M3>, weight: [Float], _ recipe: ActivationRecipe
  ) throws(LlamaError) -> LinearInput {
    try at(name) { () throws(BlockScaleError) in
      let result = try backend.rmsNormForward(
        x, weight: weight, epsilon: epsilon, as: Float8E4M3.self, outputQuantizedTranspose: true,
        recipe: recipe)
      try result.checkFinite("The normalized input")
      return try LinearInput(result)
    }
  }

  func backwardInFloat8(
    _ gradient: BFloat16Tensor, saved: SavedActivationFlow, rotary: RotaryTable,
    into store: inout ParameterStore
  ) throws(LlamaError) -> BFloat16Tensor {
    guard let recipe = activationRecipe else {
      preconditionFailure("The layer is not the one that the saved values are from")
    }
    let productGradient = try down.backward([gradient], saved: saved.down, into: &store)
    let expanded = try at(names.mlp) { () throws(BlockScaleError) in
      let gradients = try backend.swiGLUBackward(
        gate: saved.gate, up: saved.up, gradient: productGradient, as: Float8E5M2.self,
        outputQuantizedTranspose: true, recipe: recipe)
      try gradients.gate.checkFinite("The gradient of the gate")
      try gradients.up.checkFinite("The gradient of the up projection")
      return [
        try LinearOutputGradient(gradients.gate), try LinearOutputGradient(gradients.up),
      ]
    }
    let normalizedMiddle = try expansions.backward(
      expanded, saved: saved.expansions, into: &store)
    let middle = try normGradient(
      names.postNorm, saved.middle, weight: postNorm, gradient: normalizedMiddle,
      residual: gradient, into: &store)
    let attended = try output.backward([middle], saved: saved.output, into: &store)
    let projected = try attentionGradients(attended, saved: saved.attention, rotary: rotary)
    let normalized = try projections.backward(
      projected, saved: saved.projections, into: &store)
    return try normGradient(
      names.inputNorm, saved.input, weight: inputNorm, gradient: normalized, residual: middle,
      into: &store)
  }

  private func normGradient(
    _ name: String, _ x: Float8Tensor<Float8E4M3>, weight: [Float], gradient: BFloat16Tensor,
    residual: BFloat16Tensor, into store: inout ParameterStore
  ) throws(LlamaError) -> BFloat16Tensor {
    try at(name) { () throws(BlockScaleError) in
      let gradients = try backend.rmsNormBackward(
        x, weight: weight, gradient: gradient, epsilon: epsilon)
      let parameter = "\(name).weight"
      for (index, value) in (gradients.weight ?? []).enumerated() {
        store[parameter].values[index] += value
      }
      return try backend.add(gradients.input, residual)
    }
  }
}

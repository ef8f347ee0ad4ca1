// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleLayers

/// A linear layer of the model, with its module's name.
struct NamedLinear<Compute: TransformerBackend>: Sendable {
  let name: String
  /// The name of its weight, which for a tied head is another module's.
  let parameter: String
  var linear: PreparedLinear<Compute>
}

/// Linear layers that have the same input: it is prepared once for all that take it in one form.
struct SharedLinears<Compute: TransformerBackend>: Sendable {
  let backend: Compute
  var members: [NamedLinear<Compute>]

  /// The input as each form keeps it.
  struct Saved: Sendable {
    fileprivate var inputs: [(form: LinearInputForm, input: SavedLinearInput)] = []
    /// The bytes that are kept.
    var byteCount: Int { inputs.reduce(0) { $0 + $1.input.byteCount } }
  }

  init(_ backend: Compute, _ members: [NamedLinear<Compute>]) {
    self.backend = backend
    self.members = members
  }

  /// The outputs of all layers.
  func forward(
    _ x: BFloat16Tensor
  ) throws(LlamaError) -> (outputs: [BFloat16Tensor], saved: Saved) {
    var prepared: [(form: LinearInputForm, input: LinearInput)] = []
    var outputs: [BFloat16Tensor] = []
    for member in members {
      let output = try at(member.name) { () throws(BlockScaleError) in
        let form = member.linear.inputForm
        let input: LinearInput
        if let known = prepared.first(where: { $0.form == form }) {
          input = known.input
        } else {
          input = try member.linear.prepare(input: x)
          prepared.append((form, input))
        }
        return try member.linear.forward(input)
      }
      outputs.append(output)
    }
    return (outputs, Saved(inputs: prepared.map { ($0.form, $0.input.saved) }))
  }

  /// The outputs for an input that comes quantized.
  func forward(
    _ input: LinearInput
  ) throws(LlamaError) -> (outputs: [BFloat16Tensor], saved: Saved) {
    var outputs: [BFloat16Tensor] = []
    for member in members {
      outputs.append(
        try at(member.name) { () throws(BlockScaleError) in try member.linear.forward(input) })
    }
    return (outputs, Saved(inputs: [(members[0].linear.inputForm, input.saved)]))
  }

  /// The gradient of the input, given those of the outputs.
  func backward(
    _ gradients: [BFloat16Tensor], saved: Saved, into store: inout ParameterStore
  ) throws(LlamaError) -> BFloat16Tensor {
    var prepared: [LinearOutputGradient] = []
    for (member, gradient) in zip(members, gradients) {
      prepared.append(
        try at(member.name) { () throws(BlockScaleError) in
          try member.linear.prepare(gradient: gradient, rows: gradient.matrix.rows)
        })
    }
    return try backward(prepared, saved: saved, into: &store)
  }

  /// The gradient of the input, given those of the outputs as products take them.
  func backward(
    _ gradients: [LinearOutputGradient], saved: Saved, into store: inout ParameterStore
  ) throws(LlamaError) -> BFloat16Tensor {
    var packed: [(form: LinearInputForm, input: Compute.PackedOperand)] = []
    var sum: Matrix<Float>?
    for (member, gradient) in zip(members, gradients) {
      try at(member.name) { () throws(BlockScaleError) in
        let form = member.linear.inputForm
        let input: Compute.PackedOperand
        if let known = packed.first(where: { $0.form == form }) {
          input = known.input
        } else {
          guard let kept = saved.inputs.first(where: { $0.form == form }) else {
            preconditionFailure("The input was not kept in the form of \(member.name)")
          }
          input = try kept.input.packed(on: backend)
          packed.append((form, input))
        }
        try store.accumulate(member.parameter) { sum, adding throws(BlockScaleError) in
          try member.linear.addWeightGradient(gradient, input: input, to: &sum, adding: adding)
        }
        if members.count > 1 { try member.linear.addInputGradient(gradient, to: &sum) }
      }
    }
    let (first, gradient) = (members[0], gradients[0])
    return try at(first.name) { () throws(BlockScaleError) in
      guard let sum else { return try first.linear.inputGradient(gradient) }
      return try Tensor(
        backend.rounded(sum), shape: gradient.leadingDimensions + [first.linear.inputs])
    }
  }
}

extension LinearOutputGradient {
  fileprivate var leadingDimensions: [Int] { Array(shape.dropLast()) }
}

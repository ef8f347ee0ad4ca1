// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

extension KernelCheck {
  /// The FP8 activation flow but for norms.
  static var activation: [KernelCheck] {
    awkwardShapes.flatMap { shape in
      ActivationCase.variants.flatMap { variant in
        operations.map { name, operation in
          let size = "\(shape.rows)x\(shape.columns)"
          return KernelCheck("\(name) \(size) \(variant.description)") { executor in
            try operation(ActivationCase(shape, variant), executor)
          }
        }
      }
    }
  }

  private typealias Operation = @Sendable (ActivationCase, any KernelExecutor) throws -> Void

  private static let reference = ReferenceBackend()

  private static var operations: [(name: String, operation: Operation)] {
    functions + products + additions + quantizers
  }

  private static let functions: [(name: String, operation: Operation)] = [
    (
      "silu forward",
      { a, executor in
        let result: Float8Tensor<Float8E4M3> = try executor.siluForward(a.first, recipe: a.recipe)
        let expected: Float8Tensor<Float8E4M3> = try reference.siluForward(
          a.first, recipe: a.recipe)
        try expectEqual("the result", result.matrix, expected.matrix)
      }
    ),
    (
      "silu backward",
      { a, executor in
        let result: GroupScaledActivation<Float8E5M2> = try executor.siluBackward(
          a.first, gradient: a.gradient, recipe: a.recipe)
        let expected: GroupScaledActivation<Float8E5M2> = try reference.siluBackward(
          a.first, gradient: a.gradient, recipe: a.recipe)
        try expectEqual("the gradient", result, expected)
        try expectEqual(
          "the gradient",
          executor.siluBackward(
            a.first, gradient: a.gradient, as: Float8E5M2.self, outputQuantizedTranspose: true,
            recipe: a.recipe),
          reference.siluBackward(
            a.first, gradient: a.gradient, as: Float8E5M2.self, outputQuantizedTranspose: true,
            recipe: a.recipe))
      }
    ),
    (
      "gelu forward",
      { a, executor in
        try expectEqual(
          "the result", executor.geluForward(a.first, as: Float8E4M3.self, recipe: a.recipe),
          reference.geluForward(a.first, as: Float8E4M3.self, recipe: a.recipe))
      }
    ),
    (
      "gelu backward",
      { a, executor in
        try expectEqual(
          "the gradient",
          executor.geluBackward(
            a.first, gradient: a.gradient, as: Float8E5M2.self, recipe: a.recipe),
          reference.geluBackward(
            a.first, gradient: a.gradient, as: Float8E5M2.self, recipe: a.recipe))
      }
    ),
  ]

  private static let products: [(name: String, operation: Operation)] = [
    (
      "swiglu forward",
      { a, executor in
        try expectEqual(
          "the product",
          executor.swiGLUForward(
            gate: a.first, up: a.second, as: Float8E4M3.self, recipe: a.recipe),
          reference.swiGLUForward(
            gate: a.first, up: a.second, as: Float8E4M3.self, recipe: a.recipe))
      }
    ),
    (
      "multiply backward silu forward",
      { a, executor in
        let result = try executor.multiplyBackwardSiLUForward(
          gate: a.first, up: a.second, gradient: a.gradient, as: Float8E5M2.self, recipe: a.recipe)
        let expected = try reference.multiplyBackwardSiLUForward(
          gate: a.first, up: a.second, gradient: a.gradient, as: Float8E5M2.self, recipe: a.recipe)
        try expectEqual("the gradient of the SiLU", result.first, expected.first)
        try expectEqual("the gradient of up", result.second, expected.second)
      }
    ),
    (
      "swiglu backward",
      { a, executor in
        let result = try executor.swiGLUBackward(
          gate: a.first, up: a.second, gradient: a.gradient, as: Float8E5M2.self, recipe: a.recipe)
        let expected = try reference.swiGLUBackward(
          gate: a.first, up: a.second, gradient: a.gradient, as: Float8E5M2.self, recipe: a.recipe)
        try expectEqual("the gradient of the gate", result.gate, expected.gate)
        try expectEqual("the gradient of up", result.up, expected.up)
      }
    ),
    (
      "multiply forward",
      { a, executor in
        try expectEqual(
          "the product",
          executor.multiplyForward(a.first, a.second, as: Float8E4M3.self, recipe: a.recipe),
          reference.multiplyForward(a.first, a.second, as: Float8E4M3.self, recipe: a.recipe))
      }
    ),
    (
      "multiply backward",
      { a, executor in
        let result = try executor.multiplyBackward(
          a.first, a.second, gradient: a.gradient, as: Float8E5M2.self, recipe: a.recipe)
        let expected = try reference.multiplyBackward(
          a.first, a.second, gradient: a.gradient, as: Float8E5M2.self, recipe: a.recipe)
        try expectEqual("the first gradient", result.first, expected.first)
        try expectEqual("the second gradient", result.second, expected.second)
      }
    ),
  ]

  private static let additions: [(name: String, operation: Operation)] = [
    (
      "add forward",
      { a, executor in
        try expectEqual(
          "the sum",
          executor.addForward(
            a.values, a.gradient, as: Float8E4M3.self, groupSize: a.groupSize, recipe: a.recipe),
          reference.addForward(
            a.values, a.gradient, as: Float8E4M3.self, groupSize: a.groupSize, recipe: a.recipe))
      }
    ),
    (
      "add forward, residual",
      { a, executor in
        try expectEqual(
          "the sum",
          executor.addForward(residual: a.first, a.gradient, as: Float8E4M3.self, recipe: a.recipe),
          reference.addForward(residual: a.first, a.gradient, as: Float8E4M3.self, recipe: a.recipe)
        )
      }
    ),
    (
      "add backward",
      { a, executor in
        let result = try executor.addBackward(
          a.values, a.gradient, as: Float8E5M2.self, groupSize: a.groupSize,
          outputQuantizedTranspose: true, recipe: a.recipe)
        let expected = try reference.addBackward(
          a.values, a.gradient, as: Float8E5M2.self, groupSize: a.groupSize,
          outputQuantizedTranspose: true, recipe: a.recipe)
        try expectEqual("the sum", result.sum, expected.sum)
        try expectEqual("the scales", result.groupScales, expected.groupScales)
        try expectEqual("the codes", result.quantized, expected.quantized)
      }
    ),
  ]

  private static let quantizers: [(name: String, operation: Operation)] = [
    (
      "quantize groups",
      { a, executor in
        func check<Source: SourceValue>(_ values: Tensor<Matrix<Source>>) throws {
          let result: Float8Tensor<Float8E4M3> = try executor.quantizeGroups(
            values, groupSize: a.groupSize, recipe: a.recipe)
          let expected: Float8Tensor<Float8E4M3> = try reference.quantizeGroups(
            values, groupSize: a.groupSize, recipe: a.recipe)
          try expectEqual("\(Source.sourceFormat) codes", result.matrix, expected.matrix)
        }
        try check(a.values)
        try check(a.floats)
      }
    ),
    (
      "quantize per tensor",
      { a, executor in
        for rounding in [ActivationRounding.nearest, .stochastic(seed: 7)] {
          let result: PerTensorQuantization<Float8E5M2> = try executor.quantizePerTensor(
            a.floats, as: Float8E5M2.self, groupSize: a.groupSize, outputQuantizedTranspose: true,
            recipe: a.recipe,
            rounding: rounding)
          let expected: PerTensorQuantization<Float8E5M2> = try reference.quantizePerTensor(
            a.floats, as: Float8E5M2.self, groupSize: a.groupSize, outputQuantizedTranspose: true,
            recipe: a.recipe,
            rounding: rounding)
          try expectEqual("the codes, \(rounding),", result.quantized, expected.quantized)
          try expectEqual("the scales", result.groupScales, expected.groupScales)
        }
      }
    ),
    (
      "division",
      { a, executor in
        for scale in [nil, BFloat16(Float(0.3)), BFloat16(Float(1e-38)), .nan] {
          for rounding in [ActivationRounding.nearest, .stochastic(seed: 8)] {
            let result: Float8Tensor<Float8E4M3> = try executor.division(
              a.values, by: scale, recipe: a.recipe, rounding: rounding)
            let expected: Float8Tensor<Float8E4M3> = try reference.division(
              a.values, by: scale, recipe: a.recipe, rounding: rounding)
            try expectEqual(
              "the codes under \(scale.map { "\($0)" } ?? "a computed scale"), \(rounding),",
              result.matrix, expected.matrix)
          }
        }
      }
    ),
    (
      "division and transpose",
      { a, executor in
        try expectEqual(
          "the codes",
          executor.divisionTranspose(a.floats, as: Float8E5M2.self, recipe: a.recipe),
          reference.divisionTranspose(a.floats, as: Float8E5M2.self, recipe: a.recipe))
      }
    ),
    (
      "transpose and dequantize",
      { a, executor in
        try expectEqual("the transpose", executor.transpose(a.first), reference.transpose(a.first))
        try expectEqual("the values", executor.dequantize(a.first), reference.dequantize(a.first))
      }
    ),
  ]
}

/// Operands of the activation flow.
struct ActivationCase {
  /// What differs among cases of one shape.
  struct Variant: CustomStringConvertible {
    let recipe: ActivationRecipe
    let groupSize: Int
    let isFinite: Bool

    var description: String {
      "g\(groupSize) \(recipe.rawValue)" + (isFinite ? "" : " with NaN")
    }
  }

  static let variants = [
    Variant(recipe: .storedScale, groupSize: 16, isFinite: true),
    Variant(recipe: .coat, groupSize: 32, isFinite: true),
    Variant(recipe: .storedScale, groupSize: 128, isFinite: false),
    Variant(recipe: .coat, groupSize: 16, isFinite: false),
  ]

  let recipe: ActivationRecipe
  let groupSize: Int
  let values: BFloat16Tensor
  let floats: Tensor<Matrix<Float>>
  let first: Float8Tensor<Float8E4M3>
  let second: Float8Tensor<Float8E4M3>
  let gradient: BFloat16Tensor
  let weight: [Float]
  let bias: [Float]

  init(_ shape: KernelCheck.Shape, _ variant: Variant) throws(BlockScaleError) {
    recipe = variant.recipe
    groupSize = variant.groupSize
    var samples = Samples(seed: UInt64(shape.rows * 1000 + shape.columns))
    func codes(_ values: BFloat16Tensor) throws(BlockScaleError) -> Float8Tensor<Float8E4M3> {
      try ReferenceBackend().quantizeGroups(
        values, groupSize: variant.groupSize, recipe: variant.recipe)
    }
    values = try samples.matrix(shape, isFinite: variant.isFinite)
    gradient = try samples.matrix(shape, isFinite: variant.isFinite)
    first = try codes(values)
    second = try codes(samples.matrix(shape, isFinite: variant.isFinite))
    floats = Tensor(
      try Matrix(
        zip(values.matrix.values, gradient.matrix.values).map { Float($0) + Float($1) / 1000 },
        rows: shape.rows, columns: shape.columns))
    weight = (0..<shape.columns).map { _ in 1 + samples.normal() / 8 }
    bias = (0..<shape.columns).map { _ in samples.normal() / 8 }
  }
}

func expectEqual(_ name: String, _ result: BFloat16Tensor, _ expected: BFloat16Tensor) throws {
  try expectEqual(
    name, result.matrix.values.map(\.bitPattern), expected.matrix.values.map(\.bitPattern),
    columns: expected.matrix.columns)
}

func expectEqual<Element>(
  _ name: String, _ result: GroupScaledActivation<Element>,
  _ expected: GroupScaledActivation<Element>
) throws {
  try expectEqual(name, result.values, expected.values)
  try expectEqual("\(name)'s scales", result.groupScales, expected.groupScales)
}

private func expectEqual<Element>(
  _ name: String, _ result: AddOutput<Element>, _ expected: AddOutput<Element>
) throws {
  try expectEqual(name, result.sum, expected.sum)
  try expectEqual("\(name) in FP8", result.quantized.matrix, expected.quantized.matrix)
}

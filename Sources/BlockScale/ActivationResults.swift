// SPDX-License-Identifier: Apache-2.0

public import Minifloat

/// A tensor in FP8 under one scale, and its transpose for the product that needs it.
public struct PerTensorActivation<Element: Float8Element>: Sendable, Hashable {
  /// Codes under one BF16 scale.
  public let tensor: Float8Tensor<Element>
  /// The same codes as an N×M matrix, where they were asked for.
  public let transposed: BlockScaledMatrix<Element, BFloat16>?

  package init(
    tensor: Float8Tensor<Element>, transposed: BlockScaledMatrix<Element, BFloat16>?
  ) {
    self.tensor = tensor
    self.transposed = transposed
  }

  /// What every code is multiplied by.
  public var scale: BFloat16 { tensor.matrix.scales[0] }
}

/// Values in BF16 with the scales that their 1×QB groups would have as codes of `Element`.
///
/// The first of the two stages in which a tensor gets one scale; the second is a division by the
/// largest group scale.
public struct GroupScaledActivation<Element: Float8Element>: Sendable, Hashable {
  /// M×N values.
  public let values: BFloat16Tensor
  /// M×⌈N/QB⌉ scales, taken from the values in FP32.
  public let groupScales: BFloat16Tensor

  package init(values: BFloat16Tensor, groupScales: BFloat16Tensor) {
    self.values = values
    self.groupScales = groupScales
  }
}

/// A tensor in FP8 under one scale, and the scales of its groups, the largest of which that is.
public struct PerTensorQuantization<Element: Float8Element>: Sendable, Hashable {
  /// The codes, and the transpose if it was asked for.
  public let quantized: PerTensorActivation<Element>
  /// M×⌈N/QB⌉ scales.
  public let groupScales: BFloat16Tensor

  package init(quantized: PerTensorActivation<Element>, groupScales: BFloat16Tensor) {
    self.quantized = quantized
    self.groupScales = groupScales
  }
}

/// A sum in BF16 and in FP8.
public struct AddOutput<Element: Float8Element>: Sendable, Hashable {
  /// The sum, rounded to BF16.
  public let sum: BFloat16Tensor
  /// The sum in 1×QB groups, rounded once from FP32.
  public let quantized: Float8Tensor<Element>

  package init(sum: BFloat16Tensor, quantized: Float8Tensor<Element>) {
    self.sum = sum
    self.quantized = quantized
  }
}

/// The sum of two gradients, in BF16 and in FP8 under one scale.
public struct AddGradient<Element: Float8Element>: Sendable, Hashable {
  /// The sum, rounded to BF16.
  public let sum: BFloat16Tensor
  /// The BF16 sum as codes.
  public let quantized: PerTensorActivation<Element>
  /// The scales of the sum's 1×QB groups; the largest is that of the codes.
  public let groupScales: BFloat16Tensor

  package init(
    sum: BFloat16Tensor, quantized: PerTensorActivation<Element>, groupScales: BFloat16Tensor
  ) {
    self.sum = sum
    self.quantized = quantized
    self.groupScales = groupScales
  }
}

/// The gradients of a product with the second in BF16.
public struct MultiplyGradients<Element: Float8Element>: Sendable, Hashable {
  /// Of the first factor.
  public let first: BFloat16Tensor
  /// Of the second factor, with the scales of its groups.
  public let second: GroupScaledActivation<Element>

  package init(first: BFloat16Tensor, second: GroupScaledActivation<Element>) {
    self.first = first
    self.second = second
  }
}

/// The gradients of a product with the second in FP8 under one scale.
public struct QuantizedMultiplyGradients<Element: Float8Element>: Sendable, Hashable {
  /// Of the first factor.
  public let first: BFloat16Tensor
  /// Of the second factor.
  public let second: PerTensorActivation<Element>

  package init(first: BFloat16Tensor, second: PerTensorActivation<Element>) {
    self.first = first
    self.second = second
  }
}

/// The gradients of SwiGLU, ready for the products of its two linear layers.
public struct SwiGLUGradients<Element: Float8Element>: Sendable, Hashable {
  /// Of the gate, the argument of SiLU.
  public let gate: PerTensorActivation<Element>
  /// Of the other factor.
  public let up: PerTensorActivation<Element>

  package init(gate: PerTensorActivation<Element>, up: PerTensorActivation<Element>) {
    self.gate = gate
    self.up = up
  }
}

/// The gradients of a normalization.
public struct NormGradients: Sendable, Hashable {
  /// M×N.
  public let input: BFloat16Tensor
  /// N values, the sums over all rows; nil without a weight.
  public let weight: [Float]?
  /// N values, the sums over all rows; nil without a bias.
  public let bias: [Float]?

  package init(input: BFloat16Tensor, weight: [Float]?, bias: [Float]?) {
    self.input = input
    self.weight = weight
    self.bias = bias
  }
}

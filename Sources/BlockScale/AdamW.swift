// SPDX-License-Identifier: Apache-2.0

import RealModule

/// The settings of AdamW.
public struct AdamW: Sendable, Hashable {
  /// The step size.
  public var learningRate: Float
  /// How much of the first moment a step keeps.
  public var beta1: Float
  /// How much of the second moment a step keeps.
  public var beta2: Float
  /// What is added to the root of the second moment.
  public var epsilon: Float
  /// The share of a parameter that a step takes off, times the step size.
  public var weightDecay: Float
  /// The steps per unit in which the exponent of a range expansion is chosen (COAT's `expand_min`).
  public var expandMinimum: Int

  /// Creates settings, by default those of PyTorch.
  ///
  /// - Precondition: `expandMinimum` is positive.
  public init(
    learningRate: Float = 1e-3, beta1: Float = 0.9, beta2: Float = 0.999, epsilon: Float = 1e-8,
    weightDecay: Float = 1e-2, expandMinimum: Int = 16
  ) {
    precondition(expandMinimum > 0, "Exponents are chosen in at least one step per unit")
    self.learningRate = learningRate
    self.beta1 = beta1
    self.beta2 = beta2
    self.epsilon = epsilon
    self.weightDecay = weightDecay
    self.expandMinimum = expandMinimum
  }
}

/// A moment of AdamW in the format in which it is kept between steps.
public protocol AdamWMoment: Sendable {
  /// The elements that are stored together; slices begin on multiples of it.
  static var groupSize: Int { get }

  /// A moment of zeros.
  init(count: Int)

  /// A moment of given values.
  ///
  /// - Parameter expandMinimum: As in ``AdamW``.
  init(encoding values: [Float], expandMinimum: Int)

  /// The number of elements.
  var count: Int { get }

  /// The values in FP32.
  func decoded() -> [Float]

  /// The part of a range that begins on a multiple of the group size, and ends on one or at the end.
  func slice(_ range: Range<Int>) -> Self

  /// Puts a slice back.
  mutating func replace(_ range: Range<Int>, with slice: Self)
}

/// What AdamW remembers of the parameters between steps.
public struct AdamWState<First: AdamWMoment, Second: AdamWMoment>: Sendable {
  /// The mean of the gradients.
  public var first: First
  /// The mean of their squares.
  public var second: Second
  /// The number of steps taken.
  public var step: Int

  /// The state before the first step.
  public init(count: Int) {
    first = First(count: count)
    second = Second(count: count)
    step = 0
  }

  /// A stored state.
  ///
  /// - Throws: ``BlockScaleError`` if the moments differ in their counts.
  public init(first: First, second: Second, step: Int) throws(BlockScaleError) {
    guard first.count == second.count else {
      throw BlockScaleError(
        .wrongCount,
        "The first moment has \(first.count) elements and the second \(second.count).")
    }
    self.first = first
    self.second = second
    self.step = step
  }
}

/// Moments in E4M3 with range expansion: two bytes a parameter and 24 for every 128.
public typealias Float8AdamWState = AdamWState<RangeExpandedMoment, RangeExpandedMoment>
/// Moments in BF16: four bytes a parameter.
public typealias BFloat16AdamWState = AdamWState<BFloat16Moment, BFloat16Moment>
/// Moments in FP32: eight bytes a parameter.
public typealias Float32AdamWState = AdamWState<Float32Moment, Float32Moment>

extension AdamWState: Equatable where First: Equatable, Second: Equatable {}
extension AdamWState: Hashable where First: Hashable, Second: Hashable {}

/// One step of AdamW with what is the same for all parameters.
package struct AdamWStep: Sendable {
  package let options: AdamW
  package let firstCorrection: Float
  package let rootOfSecondCorrection: Float
  /// What gradients are multiplied by first.
  package let gradientFactor: Float

  /// Prepares the step of a number, one for the first.
  package init(_ options: AdamW, step: Int, gradientFactor: Float) {
    self.options = options
    self.gradientFactor = gradientFactor
    firstCorrection = Float(1 - Double.pow(Double(options.beta1), Double(step)))
    rootOfSecondCorrection = Float(
      (1 - Double.pow(Double(options.beta2), Double(step))).squareRoot())
  }

  /// Checks the counts of a step's operands.
  package static func check<First, Second>(
    parameters: Int, gradients: Int, _ state: AdamWState<First, Second>
  ) throws(BlockScaleError) {
    guard parameters > 0 else {
      throw BlockScaleError(.emptyMatrix, "There are no parameters to take a step with.")
    }
    guard gradients == parameters else {
      throw BlockScaleError(
        .wrongCount, "There are \(gradients) gradients for \(parameters) parameters.")
    }
    guard state.first.count == parameters, state.second.count == parameters else {
      throw BlockScaleError(
        .wrongCount, "The state is of \(state.first.count) parameters, not \(parameters).")
    }
  }

  /// Takes the step for some parameters.
  ///
  /// m = β₁m + (1 − β₁)g; v = β₂v + (1 − β₂)g²; p −= α(m / ((√v/√c₂ + ε)·c₁) + λp), in FP32, where
  /// the moments count as they are before they are encoded. Source:
  /// COAT:coat/optimizer/kernels/fp8_adamw_expand_cuda_kernel.cu.
  package func take<First: AdamWMoment, Second: AdamWMoment>(
    _ parameters: inout [Float], gradients: ArraySlice<Float>, first: inout First,
    second: inout Second
  ) {
    var firstValues = first.decoded()
    var secondValues = second.decoded()
    for (index, unscaled) in gradients.enumerated() {
      let gradient = unscaled * gradientFactor
      let m = options.beta1 * firstValues[index] + (1 - options.beta1) * gradient
      let v = options.beta2 * secondValues[index] + (1 - options.beta2) * gradient * gradient
      let denominator = (v.squareRoot() / rootOfSecondCorrection + options.epsilon)
      let direction =
        m / (denominator * firstCorrection) + options.weightDecay * parameters[index]
      parameters[index] -= options.learningRate * direction
      firstValues[index] = m
      secondValues[index] = v
    }
    first = First(encoding: firstValues, expandMinimum: options.expandMinimum)
    second = Second(encoding: secondValues, expandMinimum: options.expandMinimum)
  }
}

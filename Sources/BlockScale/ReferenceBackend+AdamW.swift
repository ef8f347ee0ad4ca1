// SPDX-License-Identifier: Apache-2.0

extension ReferenceBackend {
  /// Takes one step of AdamW.
  ///
  /// Decoupled weight decay and bias correction, in FP32; the moments are kept in the formats of the
  /// state. Source: COAT:coat/optimizer/kernels/fp8_adamw_expand_cuda_kernel.cu.
  ///
  /// - Parameters:
  ///   - parameters: FP32 values, which are changed.
  ///   - gradients: As many values.
  ///   - state: The moments and the number of steps, which are changed.
  ///   - gradientFactor: What gradients are multiplied by first.
  /// - Throws: ``BlockScaleError`` if there are no parameters or the counts differ.
  /// - Complexity: O(parameters).
  public func adamWStep<First, Second>(
    parameters: inout [Float], gradients: [Float], state: inout AdamWState<First, Second>,
    _ options: AdamW = AdamW(), gradientFactor: Float = 1
  ) throws(BlockScaleError) {
    try AdamWStep.check(
      parameters: parameters.count, gradients: gradients.count, state)
    state.step += 1
    AdamWStep(options, step: state.step, gradientFactor: gradientFactor).take(
      &parameters, gradients: gradients[...], first: &state.first, second: &state.second)
  }
}

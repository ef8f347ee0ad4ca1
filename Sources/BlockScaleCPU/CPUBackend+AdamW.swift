// SPDX-License-Identifier: Apache-2.0

public import BlockScale

extension CPUBackend {
  /// Takes one step of AdamW.
  ///
  /// Decoupled weight decay and bias correction, in FP32; the moments are kept in the formats of the
  /// state. Groups are spread over the threads; the bytes are those of `ReferenceBackend`, whatever
  /// the number of threads. Source: COAT:coat/optimizer/kernels/fp8_adamw_expand_cuda_kernel.cu.
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
    try AdamWStep.check(parameters: parameters.count, gradients: gradients.count, state)
    state.step += 1
    let step = AdamWStep(options, step: state.step, gradientFactor: gradientFactor)
    if step.takeWithKernels(&parameters, gradients: gradients, &state, on: self) { return }
    let count = parameters.count
    let (one, other) = (First.groupSize, Second.groupSize)
    let groups = one.isMultiple(of: other) ? one : other.isMultiple(of: one) ? other : one * other
    let chunk = (Self.stepElements + groups - 1) / groups * groups
    // Moved out and back, so that nothing is copied as a whole. A thread takes its part, works on it
    // for long, and puts it back.
    let work = Guarded((parameters: parameters, first: state.first, second: state.second))
    parameters = []
    (state.first, state.second) = (First(count: 0), Second(count: 0))
    parallelFor((count - 1) / chunk + 1, threads: threads) { index in
      let range = index * chunk..<min(count, (index + 1) * chunk)
      var (values, first, second) = work.withLock {
        (Array($0.parameters[range]), $0.first.slice(range), $0.second.slice(range))
      }
      step.take(&values, gradients: gradients[range], first: &first, second: &second)
      work.withLock {
        $0.parameters.replaceSubrange(range, with: values)
        $0.first.replace(range, with: first)
        $0.second.replace(range, with: second)
      }
    }
    (parameters, state.first, state.second) = work.withLock { $0 }
  }

  /// The elements that a thread takes at once.
  private static var stepElements: Int { 1 << 15 }
}

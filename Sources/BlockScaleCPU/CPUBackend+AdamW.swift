// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import Synchronization
import _BlockScaleShims

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
    if step.takePlain(&parameters, gradients: gradients, &state, on: self) { return }
    let count = parameters.count
    let (one, other) = (First.groupSize, Second.groupSize)
    let groups = one.isMultiple(of: other) ? one : other.isMultiple(of: one) ? other : one * other
    let chunk = (Self.stepElements + groups - 1) / groups * groups
    // Moved out and back, so that nothing is copied as a whole. A thread takes its part, works on it
    // for long, and puts it back.
    let work = Mutex((parameters: parameters, first: state.first, second: state.second))
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

extension AdamWStep {
  /// What kernels need to know of the step.
  fileprivate var kernelStep: bs_adamw_t {
    bs_adamw_t(
      learning_rate: options.learningRate, beta1: options.beta1, beta2: options.beta2,
      epsilon: options.epsilon, weight_decay: options.weightDecay,
      first_correction: firstCorrection, root_of_second_correction: rootOfSecondCorrection,
      gradient_factor: gradientFactor)
  }

  /// Takes the step where both moments are plain numbers of the same format.
  ///
  /// - Returns: Whether they are.
  fileprivate func takePlain<First, Second>(
    _ parameters: inout [Float], gradients: [Float], _ state: inout AdamWState<First, Second>,
    on backend: CPUBackend
  ) -> Bool {
    let kernels = LayerKernels(backend.tier)
    let kernelStep = kernelStep
    let count = parameters.count
    // Buffers of arrays that are alive during the calls; runs do not overlap.
    func run<Value>(
      _ first: inout [Value], _ second: inout [Value],
      _ take:
        @Sendable (
          Int, UnsafeMutablePointer<Float>, UnsafePointer<Float>, UnsafeMutablePointer<Value>,
          UnsafeMutablePointer<Value>
        ) -> Void
    ) {
      unsafe parameters.withUnsafeMutableBufferPointer { parameters in
        unsafe gradients.withUnsafeBufferPointer { gradients in
          unsafe first.withUnsafeMutableBufferPointer { first in
            unsafe second.withUnsafeMutableBufferPointer { second in
              let parameters = unsafe UncheckedPointer(parameters.baseAddress.unsafelyUnwrapped)
              let gradients = unsafe UncheckedValue(gradients.baseAddress.unsafelyUnwrapped)
              let first = unsafe UncheckedPointer(first.baseAddress.unsafelyUnwrapped)
              let second = unsafe UncheckedPointer(second.baseAddress.unsafelyUnwrapped)
              backend.forEachRun(count) { run in
                let start = run.lowerBound
                unsafe take(
                  run.count, parameters.value + start, gradients.value + start,
                  first.value + start, second.value + start)
              }
            }
          }
        }
      }
    }
    if var first = state.first as? Float32Moment, var second = state.second as? Float32Moment {
      // The only references from here on, so that nothing is copied.
      (state.first, state.second) = (First(count: 0), Second(count: 0))
      unsafe run(&first.values, &second.values) { count, p, g, m, v in
        unsafe withUnsafePointer(to: kernelStep) {
          unsafe kernels.functions.adamw_float32($0, count, p, g, m, v)
        }
      }
      state.first = first as! First
      state.second = second as! Second
      return true
    }
    if var first = state.first as? BFloat16Moment, var second = state.second as? BFloat16Moment {
      (state.first, state.second) = (First(count: 0), Second(count: 0))
      unsafe run(&first.values, &second.values) { count, p, g, m, v in
        unsafe withUnsafePointer(to: kernelStep) {
          // A BF16 value is its sixteen bits.
          unsafe kernels.functions.adamw_bfloat16(
            $0, count, p, g, UnsafeMutableRawPointer(m).assumingMemoryBound(to: UInt16.self),
            UnsafeMutableRawPointer(v).assumingMemoryBound(to: UInt16.self))
        }
      }
      state.first = first as! First
      state.second = second as! Second
      return true
    }
    return false
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import _BlockScaleShims

extension AdamWStep {
  /// What kernels need to know of the step.
  private var kernelStep: bs_adamw_t {
    bs_adamw_t(
      learning_rate: options.learningRate, beta1: options.beta1, beta2: options.beta2,
      epsilon: options.epsilon, weight_decay: options.weightDecay,
      first_correction: firstCorrection, root_of_second_correction: rootOfSecondCorrection,
      gradient_factor: gradientFactor)
  }

  /// Takes the step where both moments have the same format and kernels.
  ///
  /// - Returns: Whether they are.
  func takeWithKernels<First, Second>(
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
              nonisolated(unsafe) let parameters = unsafe parameters.baseAddress.unsafelyUnwrapped
              nonisolated(unsafe) let gradients = unsafe gradients.baseAddress.unsafelyUnwrapped
              nonisolated(unsafe) let first = unsafe first.baseAddress.unsafelyUnwrapped
              nonisolated(unsafe) let second = unsafe second.baseAddress.unsafelyUnwrapped
              backend.forEachRun(count) { run in
                let start = run.lowerBound
                unsafe take(
                  run.count, parameters + start, gradients + start,
                  first + start, second + start)
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
    if var first = state.first as? RangeExpandedMoment,
      var second = state.second as? RangeExpandedMoment
    {
      (state.first, state.second) = (First(count: 0), Second(count: 0))
      takeExpanded(&parameters, gradients: gradients, &first, &second, on: backend)
      state.first = first as! First
      state.second = second as! Second
      return true
    }
    return false
  }

  /// Takes the step group by group, each in the cache.
  private func takeExpanded(
    _ parameters: inout [Float], gradients: [Float], _ first: inout RangeExpandedMoment,
    _ second: inout RangeExpandedMoment, on backend: CPUBackend
  ) {
    let kernels = LayerKernels(backend.tier)
    let kernelStep = kernelStep
    let steps = Float(options.expandMinimum)
    let count = parameters.count
    let size = RangeExpandedMoment.groupSize
    // Buffers of arrays that are alive during the calls; groups do not overlap.
    unsafe parameters.withUnsafeMutableBufferPointer { parameters in
      unsafe gradients.withUnsafeBufferPointer { gradients in
        nonisolated(unsafe) let parameters = unsafe parameters.baseAddress.unsafelyUnwrapped
        nonisolated(unsafe) let gradients = unsafe gradients.baseAddress.unsafelyUnwrapped
        first.withGroups { first in
          second.withGroups { second in
            let groupsAtOnce = 64
            let groups = (count + size - 1) / size
            parallelFor(
              (groups + groupsAtOnce - 1) / groupsAtOnce, threads: backend.threads,
              scratch: { AlignedBuffer(byteCount: 2 * size * 4) }
            ) { index, scratch in
              let m = unsafe scratch.pointer(to: Float.self)
              let v = unsafe m + size
              for group in index * groupsAtOnce..<min(groups, (index + 1) * groupsAtOnce) {
                let start = group * size
                let length = min(size, count - start)
                unsafe first.contract(group, length, into: m, kernels)
                unsafe second.contract(group, length, into: v, kernels)
                unsafe withUnsafePointer(to: kernelStep) {
                  unsafe kernels.functions.adamw_float32(
                    $0, length, parameters + start, gradients + start, m, v)
                }
                unsafe first.expand(group, length, from: m, steps: steps, kernels)
                unsafe second.expand(group, length, from: v, steps: steps, kernels)
              }
            }
          }
        }
      }
    }
  }
}

/// The memory of a range-expanded moment that threads change group by group.
// Sendable in spite of its pointers: each group belongs to one thread at a time.
@safe private struct ExpandedGroups: @unchecked Sendable {
  let codes: UnsafeMutablePointer<UInt8>
  let scales: UnsafeMutablePointer<Float>
  let exponents: UnsafeMutablePointer<Float>
  let centers: UnsafeMutablePointer<Float>

  /// Decodes a group.
  func contract(
    _ group: Int, _ count: Int, into values: UnsafeMutablePointer<Float>, _ kernels: LayerKernels
  ) {
    // A group of the moment, and room for it.
    unsafe kernels.functions.contract(
      codes + group * RangeExpandedMoment.groupSize, count, scales[group], 1 / exponents[group],
      centers[group], values)
  }

  /// Encodes a group.
  func expand(
    _ group: Int, _ count: Int, from values: UnsafePointer<Float>, steps: Float,
    _ kernels: LayerKernels
  ) {
    // A group of the moment, and as many values.
    let place = unsafe codes + group * RangeExpandedMoment.groupSize
    var (largest, smallest): (Float, Float) = (0, 0)
    unsafe kernels.functions.extremes(values, count, &largest, &smallest)
    let expansion = RangeExpansion(largest: largest, smallest: smallest, steps: steps)
    unsafe scales[group] = expansion.scale
    unsafe exponents[group] = expansion.exponent
    unsafe centers[group] = expansion.center
    guard expansion.scale > 0 else {
      unsafe place.update(repeating: 0, count: count)
      return
    }
    unsafe kernels.functions.expand(
      values, count, expansion.scale, expansion.exponent, expansion.center, place)
  }
}

extension RangeExpandedMoment {
  /// Calls `body` with the moment's memory.
  fileprivate mutating func withGroups(_ body: (ExpandedGroups) -> Void) {
    // Four arrays that are alive during the call.
    unsafe codes.withUnsafeMutableBufferPointer { codes in
      unsafe scales.withUnsafeMutableBufferPointer { scales in
        unsafe exponents.withUnsafeMutableBufferPointer { exponents in
          unsafe centers.withUnsafeMutableBufferPointer { centers in
            unsafe body(
              ExpandedGroups(
                codes: codes.baseAddress.unsafelyUnwrapped,
                scales: scales.baseAddress.unsafelyUnwrapped,
                exponents: exponents.baseAddress.unsafelyUnwrapped,
                centers: centers.baseAddress.unsafelyUnwrapped))
          }
        }
      }
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

public import BlockScale
public import Minifloat
import _BlockScaleShims

// Between the calls of `withInput` and `filled` and the kernels, pointers reach as far as the runs
// that are handed out, and `Input` and `Output` check that these lie inside their memory.

extension CPUBackend: TransformerBackend {
  /// The nearest BF16 values, ties to even.
  public func rounded(_ matrix: Matrix<Float>) -> Matrix<BFloat16> {
    let kernels = LayerKernels(tier)
    let count = matrix.values.count
    let values: [BFloat16] = filled(count) { output in
      matrix.values.withInput { source in
        forEachRun(count) { run in
          unsafe kernels.functions.round(
            source.pointer(run.lowerBound, count: run.count), run.count,
            output.bits(run.lowerBound, count: run.count))
        }
      }
    }
    return Matrix(unchecked: values, rows: matrix.rows, columns: matrix.columns)
  }

  /// The sum of two tensors, rounded once.
  public func add(
    _ first: BFloat16Tensor, _ second: BFloat16Tensor
  ) throws(BlockScaleError) -> BFloat16Tensor {
    try second.check("second summand", hasShapeOf: first, "first")
    return unsafe elementwise(first, second, LayerKernels(tier).functions.add)
  }

  /// What a kernel gives for each pair of values.
  private func elementwise(
    _ first: BFloat16Tensor, _ second: BFloat16Tensor,
    _ kernel:
      @convention(c) (
        UnsafePointer<UInt16>, UnsafePointer<UInt16>, Int, UnsafeMutablePointer<UInt16>
      ) -> Void
  ) -> BFloat16Tensor {
    // A function of the program, without state.
    nonisolated(unsafe) let kernel = unsafe kernel
    return first.matrix.values.withInput { left in
      second.matrix.values.withInput { right in
        elementwise(like: first) { result, run in
          let (start, count) = (run.lowerBound, run.count)
          unsafe kernel(
            left.bits(start, count: count), right.bits(start, count: count), count,
            result.bits(start, count: count))
        }
      }
    }
  }

  //MARK: Rotation

  /// Turns the pairs of each head by the angles of their positions.
  public func rotate(
    _ tensor: BFloat16Tensor, by table: RotaryTable, offset: Int, inverse: Bool
  ) throws(BlockScaleError) -> BFloat16Tensor {
    try table.check(tensor, offset: offset)
    let kernels = LayerKernels(tier)
    let (rows, columns) = (tensor.matrix.rows, tensor.matrix.columns)
    let half = table.dimension / 2
    let length = tensor.shape[1]
    let values: [BFloat16] = filled(rows * columns) { output in
      tensor.matrix.values.withInput { input in
        table.cosines.withInput { cosines in
          table.sines.withInput { sines in
            forEachRows(rows, columns: columns) { group in
              for row in group {
                let place = unsafe output.bits(row * columns, count: columns)
                unsafe place.update(
                  from: input.bits(row * columns, count: columns), count: columns)
                let angles = (offset + row % length) * half
                unsafe kernels.functions.rotate(
                  place, columns / table.dimension, table.dimension,
                  cosines.pointer(angles, count: half), sines.pointer(angles, count: half),
                  inverse ? -1 : 1)
              }
            }
          }
        }
      }
    }
    return Tensor(Matrix(unchecked: values, rows: rows, columns: columns), like: tensor)
  }

  //MARK: SwiGLU

  /// `silu(gate) · up`.
  public func swiGLUForward(
    gate: BFloat16Tensor, up: BFloat16Tensor
  ) throws(BlockScaleError) -> BFloat16Tensor {
    try up.check("up projection", hasShapeOf: gate, "gate")
    return unsafe elementwise(gate, up, LayerKernels(tier).functions.swiglu)
  }

  /// The gradients of both factors of SwiGLU.
  public func swiGLUBackward(
    gate: BFloat16Tensor, up: BFloat16Tensor, gradient: BFloat16Tensor
  ) throws(BlockScaleError) -> (gate: BFloat16Tensor, up: BFloat16Tensor) {
    try up.check("up projection", hasShapeOf: gate, "gate")
    try gradient.check("gradient", hasShapeOf: gate, "gate")
    let kernels = LayerKernels(tier)
    let count = gate.matrix.values.count
    let (first, second) = gate.matrix.values.withInput { gates in
      up.matrix.values.withInput { ups in
        gradient.matrix.values.withInput { incoming in
          filled(count, count) { (first: Output<BFloat16>, second: Output<BFloat16>) in
            forEachRun(count) { run in
              let (start, count) = (run.lowerBound, run.count)
              unsafe kernels.functions.swiglu_backward(
                gates.bits(start, count: count), ups.bits(start, count: count),
                incoming.bits(start, count: count), count, first.bits(start, count: count),
                second.bits(start, count: count))
            }
          }
        }
      }
    }
    func tensor(_ values: [BFloat16]) -> BFloat16Tensor {
      Tensor(
        Matrix(unchecked: values, rows: gate.matrix.rows, columns: gate.matrix.columns),
        like: gate)
    }
    return (tensor(first), tensor(second))
  }

  //MARK: RMSNorm

  /// `x · 1/√(mean(x²) + ε) · weight` of each row.
  public func rmsNormForward(
    _ input: BFloat16Tensor, weight: [Float], epsilon: Float
  ) throws(BlockScaleError) -> BFloat16Tensor {
    try input.check(parameter: weight, "weight")
    let kernels = LayerKernels(tier)
    let (rows, columns) = (input.matrix.rows, input.matrix.columns)
    let values: [BFloat16] = filled(rows * columns) { output in
      input.matrix.values.withInput { source in
        weight.withInput { weight in
          forEachRows(rows, columns: columns) { group in
            for row in group {
              unsafe kernels.functions.rms_norm(
                source.bits(row * columns, count: columns), weight.pointer(0, count: columns),
                columns, epsilon, output.bits(row * columns, count: columns))
            }
          }
        }
      }
    }
    return Tensor(Matrix(unchecked: values, rows: rows, columns: columns), like: input)
  }

  /// The gradients of RMSNorm, and of a residual around it.
  ///
  /// Sums for the weight are formed over panels of rows, and these added in order.
  public func rmsNormBackward(
    _ input: BFloat16Tensor, weight: [Float], gradient: BFloat16Tensor,
    residual: BFloat16Tensor?, epsilon: Float, weightGradient: inout [Float]
  ) throws(BlockScaleError) -> BFloat16Tensor {
    try checkNorm(
      input, weight: weight, gradient: gradient, residual: residual, weightGradient)
    let kernels = LayerKernels(tier)
    let (rows, columns) = (input.matrix.rows, input.matrix.columns)
    let panels = (rows - 1) / columnSumPanelRows + 1
    var sums = [Float](repeating: 0, count: panels * columns)
    let values: [BFloat16] = filled(rows * columns) { output in
      sums.withOutput { sums in
        weight.withInput { weight in
          input.matrix.values.withInput { source in
            gradient.matrix.values.withInput { incoming in
              (residual ?? input).matrix.values.withInput { other in
                parallelFor(panels, threads: threads) { panel in
                  let first = panel * columnSumPanelRows
                  for row in first..<min(rows, first + columnSumPanelRows) {
                    let start = row * columns
                    // Each panel has sums of its own.
                    unsafe kernels.functions.rms_norm_backward(
                      source.bits(start, count: columns), weight.pointer(0, count: columns),
                      incoming.bits(start, count: columns),
                      residual == nil ? nil : other.bits(start, count: columns), columns,
                      epsilon, output.bits(start, count: columns),
                      sums.pointer(panel * columns, count: columns))
                  }
                }
              }
            }
          }
        }
      }
    }
    for panel in 0..<panels {
      for column in 0..<columns { weightGradient[column] += sums[panel * columns + column] }
    }
    return Tensor(Matrix(unchecked: values, rows: rows, columns: columns), like: input)
  }
}

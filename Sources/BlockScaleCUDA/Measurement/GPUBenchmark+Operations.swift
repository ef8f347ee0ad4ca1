// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

/// Whole operations: every pass of theirs, on operands that the host gave once.
///
/// Bytes are those that the passes must move: a result under one scale is first written in BF16 and read
/// again once its scale is known.
extension GPUBenchmark {
  /// An operation on a matrix of random values.
  ///
  /// - Parameter bytes: The bytes that it moves for each value of the matrix.
  private static func operation(
    _ group: String, _ name: String, _ shape: (rows: Int, columns: Int), bytes: Double,
    _ run: @escaping @Sendable (any KernelExecutor, BenchmarkOperands) throws -> Void
  ) -> GPUBenchmark {
    GPUBenchmark(
      group: group, name: "\(name) \(shape.rows)x\(shape.columns)",
      work: .bytes(Int(bytes * Double(shape.rows * shape.columns)))
    ) { executor in
      let recorder = LaunchRecorder(executor)
      try run(recorder, BenchmarkOperands(rows: shape.rows, columns: shape.columns))
      return Prepared(recorder.launches, keeping: recorder)
    }
  }

  // MARK: The FP8 activation flow

  /// COAT's flow in 1×16 groups, E4M3 forward and E5M2 backward.
  package static func activationFlow(rows: Int, columns: Int) -> [GPUBenchmark] {
    let (bfloat, group) = (2.0, 1 + 2.0 / 16)
    // Values in BF16 with the scales of their groups, before they are divided by one scale.
    let staged = bfloat + 2.0 / 16
    let (division, divisionBothWays) = (bfloat + 1, bfloat + 2)
    func operation(
      _ name: String, bytes: Double,
      _ run: @escaping @Sendable (any KernelExecutor, BenchmarkOperands) throws -> Void
    ) -> GPUBenchmark {
      self.operation("activation", name, (rows, columns), bytes: bytes, run)
    }
    return [
      operation("multiply forward", bytes: 2 * group + staged + divisionBothWays) {
        _ = try $0.multiplyForward($1.codes(1), $1.codes(2), as: Float8E4M3.self)
      },
      operation("silu forward", bytes: 2 * group) { _ = try $0.siluForward($1.codes(1)) },
      operation("silu backward", bytes: group + bfloat + staged) {
        _ = try $0.siluBackward($1.codes(1), gradient: $1.values(2))
      },
      operation("gelu forward", bytes: group + staged + divisionBothWays) {
        _ = try $0.geluForward($1.codes(1))
      },
      operation("gelu backward", bytes: group + bfloat + staged + division) {
        _ = try $0.geluBackward($1.codes(1), gradient: $1.values(2))
      },
      operation("swiglu forward under one scale", bytes: 2 * group + staged + divisionBothWays) {
        _ = try $0.swiGLUForward(gate: $1.codes(1), up: $1.codes(2))
      },
      operation(
        "swiglu backward under one scale",
        bytes: 2 * group + bfloat + 2 * staged + 2 * divisionBothWays
      ) {
        _ = try $0.swiGLUBackward(gate: $1.codes(1), up: $1.codes(2), gradient: $1.values(3))
      },
      operation("add forward", bytes: 2 * bfloat + bfloat + group) {
        _ = try $0.addForward($1.values(1), $1.values(2))
      },
      operation("add backward", bytes: 2 * bfloat + staged + division) {
        _ = try $0.addBackward($1.values(1), $1.values(2))
      },
      operation("rms norm forward", bytes: group + bfloat + divisionBothWays) {
        _ = try $0.rmsNormForward($1.codes(1), weight: $1.weight)
      },
      operation("rms norm backward", bytes: 2 * (group + bfloat) + bfloat) {
        _ = try $0.rmsNormBackward($1.codes(1), weight: $1.weight, gradient: $1.values(2))
      },
      // Values of LayerNorm stay in FP32 before they are divided.
      operation("layer norm forward", bytes: group + 4 + 4 + 2) {
        _ = try $0.layerNormForward($1.codes(1), weight: $1.weight, bias: $1.weight)
      },
      operation("layer norm backward", bytes: 2 * (group + bfloat) + bfloat) {
        _ = try $0.layerNormBackward($1.codes(1), weight: $1.weight, gradient: $1.values(2))
      },
      // Once for the largest magnitude, once to divide.
      operation("division", bytes: bfloat + division) { _ = try $0.division($1.values(1)) },
      operation("division with transpose", bytes: bfloat + divisionBothWays) {
        _ = try $0.divisionTranspose($1.values(1))
      },
      operation("groups of 16", bytes: bfloat + group) {
        _ = try $0.quantizeGroups($1.values(1))
      },
      operation("transpose of codes", bytes: 2) { _ = try $0.transpose($1.codes(1)) },
    ]
  }

  // MARK: Quantizing and dequantizing

  /// Quantizers beyond the blocks of training.
  package static func quantizers(rows: Int, columns: Int) -> [GPUBenchmark] {
    let (nvfp4, mxfp4) = (0.5 + 1.0 / 16, 0.5 + 1.0 / 32)
    func operation(
      _ name: String, bytes: Double,
      _ run: @escaping @Sendable (any KernelExecutor, BenchmarkOperands) throws -> Void
    ) -> GPUBenchmark {
      self.operation("quantize", name, (rows, columns), bytes: bytes, run)
    }
    // NVFP4's values and those of a tensor are read twice, the first time for their maximum.
    return [
      operation("fp8 tensor", bytes: 4 + 1) {
        _ = try $0.quantized(
          $1.matrix(1), as: Float8Matrix.self, recipe: .torchaoFloat8, blocking: .tensor)
      },
      operation("fp8 1x128 stochastic", bytes: 2 + 1 + 4.0 / 128) {
        _ = try $0.quantized(
          $1.matrix(1), as: Float8Matrix.self, recipe: .deepseek,
          blocking: Blocking(rows: 1, columns: 128), options: QuantizeOptions(seed: 1))
      },
      operation("nvfp4 both passes", bytes: 4 + nvfp4) {
        _ = try $0.quantized(
          $1.matrix(1), as: NVFP4Matrix.self, recipe: .transformerEngine,
          options: QuantizeOptions(scaleLayout: .swizzled))
      },
      operation("nvfp4 16x16 both ways", bytes: 4 + 2 * nvfp4) {
        _ = try $0.quantizedBothWays(
          $1.matrix(1), as: NVFP4Matrix.self, recipe: .transformerEngine,
          blocking: Blocking(rows: 16, columns: 16),
          options: QuantizeOptions(scaleLayout: .swizzled))
      },
      operation("nvfp4 stochastic, rotated, transposed", bytes: 4 + nvfp4) {
        _ = try $0.quantizedTranspose(
          of: $1.matrix(1), as: NVFP4Matrix.self, recipe: .transformerEngine,
          options: QuantizeOptions(seed: 1, isRotated: true, scaleLayout: .swizzled))
      },
      operation("mxfp4", bytes: 2 + mxfp4) {
        _ = try $0.quantized(
          $1.matrix(1), as: MXFP4Matrix.self, recipe: .rceil,
          options: QuantizeOptions(scaleLayout: .swizzled))
      },
    ]
  }

  /// Values of codes, and scales in another layout.
  package static func dequantizers(rows: Int, columns: Int) -> [GPUBenchmark] {
    func operation(
      _ name: String, bytes: Double,
      _ run: @escaping @Sendable (any KernelExecutor, BenchmarkOperands) throws -> Void
    ) -> GPUBenchmark {
      self.operation("dequantize", name, (rows, columns), bytes: bytes, run)
    }
    return [
      operation("fp8 1x128 to bf16", bytes: 1 + 4.0 / 128 + 2) {
        _ = try $0.dequantized(
          $1.stored(Float8Matrix.self, Blocking(rows: 1, columns: 128), scale: 0.5),
          as: BFloat16.self)
      },
      operation("fp8 128x128 to bf16", bytes: 1 + 2) {
        _ = try $0.dequantized(
          $1.stored(Float8Matrix.self, Blocking(rows: 128, columns: 128), scale: 0.5),
          as: BFloat16.self)
      },
      operation("nvfp4 to bf16", bytes: 0.5 + 1.0 / 16 + 2) {
        _ = try $0.dequantized(
          $1.stored(
            NVFP4Matrix.self, Blocking(rows: 1, columns: 16), scale: Float8E4M3(bitPattern: 0x40),
            tensorScale: TensorScale(0.5)),
          as: BFloat16.self)
      },
      operation("mxfp8 to bf16", bytes: 1 + 1.0 / 32 + 2) {
        _ = try $0.dequantized(
          $1.stored(
            MXFP8Matrix.self, Blocking(rows: 1, columns: 32), scale: Float8E8M0(bitPattern: 128)),
          as: BFloat16.self)
      },
      operation("scales to 128x4 tiles", bytes: 2) {
        _ = try $0.convertedScales(
          $1.bytes(1), rows: rows, columns: columns, byteCount: 1, from: .linear, to: .swizzled)
      },
      operation("scales to block-major order", bytes: 2) {
        _ = try $0.convertedScales(
          $1.bytes(1), rows: rows, columns: columns / 4, byteCount: 4, from: .linear,
          to: .blockMajor)
      },
    ]
  }
}

/// Random operands of a shape; each number stands for others.
struct BenchmarkOperands {
  let rows: Int
  let columns: Int

  /// Values between 1/2 and 2 of either sign.
  func matrix(_ number: UInt64) -> Matrix<BFloat16> {
    var samples = Samples(seed: number)
    return Matrix(
      unchecked: samples.values(rows * columns).map(BFloat16.init(bitPattern:)), rows: rows,
      columns: columns)
  }

  func values(_ number: UInt64) -> BFloat16Tensor { Tensor(matrix(number)) }

  /// Finite E4M3 codes, or any others.
  func bytes(_ number: UInt64) -> [UInt8] {
    var samples = Samples(seed: number)
    return samples.codes(rows * columns)
  }

  /// E4M3 in groups of 16.
  func codes(_ number: UInt64) throws -> Float8Tensor<Float8E4M3> {
    var samples = Samples(seed: ~number)
    return Tensor(
      try BlockScaledMatrix(
        rows: rows, columns: columns, blocking: Blocking(rows: 1, columns: 16),
        codes: bytes(number),
        scales: samples.values(rows * columns / 16).map { BFloat16(bitPattern: $0 & 0x7FFF) }))
  }

  /// Codes and scales as a checkpoint might hold them.
  func stored<Element, Scale: BlockScaleValue>(
    _ type: BlockScaledMatrix<Element, Scale>.Type, _ blocking: Blocking, scale: Scale,
    tensorScale: TensorScale? = nil
  ) throws -> BlockScaledMatrix<Element, Scale> {
    let grid = blocking.grid(rows: rows, columns: columns)
    return try BlockScaledMatrix(
      rows: rows, columns: columns, blocking: blocking,
      codes: Array(bytes(1).prefix(rows * Element.elementFormat.byteCount(columns))),
      scales: [Scale](repeating: scale, count: grid.rows * grid.columns),
      tensorScale: tensorScale)
  }

  /// A weight for each column.
  var weight: [Float] { (0..<columns).map { 0.5 + Float($0 % 7) / 8 } }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

extension GPUBenchmark {
  /// Quantizers of BF16 matrices.
  static var quantization: [GPUBenchmark] {
    let shape = (rows: 16_384, columns: 16_384)
    let count = shape.rows * shape.columns
    let size = "\(shape.rows)x\(shape.columns)"
    func tiles(
      _ name: String, isSquare: Bool, _ output: QuantizeTiles.Output
    ) -> GPUBenchmark {
      let scaleBytes = isSquare ? 4 * count / 16_384 : 4 * count / 128
      let results = output == .both ? 2 : 1
      return GPUBenchmark(
        group: "quantize", name: "\(name) \(size)",
        work: .bytes(2 * count + results * (count + scaleBytes))
      ) { executor in
        let memory = try QuantizeMemory(shape, on: executor)
        let kernel = QuantizeTiles(
          try QuantizeRule(.deepseek, element: .e4m3, scale: .float32, source: .bfloat16),
          isSquare: isSquare, output: output, scaleLayout: isSquare ? .linear : .blockMajor)
        return Prepared(
          [
            try kernel.launch(
              in: KernelLibrary(for: executor.target), values: memory.values.address,
              matrix: output == .transpose ? nil : memory.matrix,
              transpose: output == .matrix ? nil : memory.transpose, shape: memory.shape)
          ], keeping: memory)
      }
    }
    return [
      GPUBenchmark(
        group: "quantize", name: "fp8 1x128 \(size)", work: .bytes(3 * count + 4 * count / 128)
      ) { executor in
        let memory = try QuantizeMemory(shape, on: executor)
        let kernel = QuantizeRows(
          try QuantizeRule(.deepseek, element: .e4m3, scale: .float32, source: .bfloat16),
          blockColumns: 128, scaleLayout: .blockMajor)
        return Prepared(
          [
            try kernel.launch(
              in: KernelLibrary(for: executor.target), values: memory.values.address,
              codes: memory.matrix.codes, scales: memory.matrix.scales, shape: memory.shape)
          ], keeping: memory)
      },
      GPUBenchmark(
        group: "quantize", name: "fp8 128x1 \(size)", work: .bytes(3 * count + 4 * count / 128)
      ) { executor in
        let memory = try QuantizeMemory(shape, on: executor)
        let kernel = QuantizeColumns(
          try QuantizeRule(.deepseek, element: .e4m3, scale: .float32, source: .bfloat16))
        return Prepared(
          [
            try kernel.launch(
              in: KernelLibrary(for: executor.target), values: memory.values.address,
              matrix: memory.matrix, shape: memory.shape)
          ], keeping: memory)
      },
      wholeRows(rows: 16_384, columns: 16_384), wholeRows(rows: 65_536, columns: 4096),
      tiles("fp8 1x128 of the transpose", isSquare: false, .transpose),
      tiles("fp8 128x128", isSquare: true, .matrix),
      tiles("fp8 1x128 both ways", isSquare: false, .both),
      tiles("fp8 128x128 both ways", isSquare: true, .both),
      GPUBenchmark(
        // The second pass alone; the first reads the values for the tensor's maximum.
        group: "quantize", name: "nvfp4 second pass \(size)",
        work: .bytes(2 * count + count / 2 + count / 16)
      ) { executor in
        let memory = try QuantizeMemory(shape, on: executor)
        let kernel = QuantizeRows(
          try QuantizeRule(.transformerEngine, element: .e2m1, scale: .e4m3, source: .bfloat16),
          blockColumns: 16)
        return Prepared(
          [
            try kernel.launch(
              in: KernelLibrary(for: executor.target), values: memory.values.address,
              codes: memory.matrix.codes, scales: memory.matrix.scales, shape: memory.shape,
              tensor: TensorLevelAddresses(
                maximum: memory.tensor.address, scale: memory.tensor.address + 4))
          ], keeping: memory)
      },
      GPUBenchmark(
        group: "quantize", name: "mxfp8 \(size)", work: .bytes(3 * count + count / 32)
      ) { executor in
        let memory = try QuantizeMemory(shape, on: executor)
        let kernel = QuantizeRows(
          try QuantizeRule(.rceil, element: .e4m3, scale: .e8m0, source: .bfloat16),
          blockColumns: 32, scaleLayout: .swizzled)
        return Prepared(
          [
            try kernel.launch(
              in: KernelLibrary(for: executor.target), values: memory.values.address,
              codes: memory.matrix.codes, scales: memory.matrix.scales, shape: memory.shape)
          ], keeping: memory)
      },
    ]
  }
}

/// One scale a row.
private func wholeRows(rows: Int, columns: Int) -> GPUBenchmark {
  GPUBenchmark(
    group: "quantize", name: "fp8 row \(rows)x\(columns)",
    work: .bytes(3 * rows * columns + 4 * rows)
  ) { executor in
    let memory = try QuantizeMemory((rows, columns), on: executor)
    let rule = try QuantizeRule(
      .torchaoFloat8, element: .e4m3, scale: .float32, source: .bfloat16)
    return GPUBenchmark.Prepared(
      [
        try QuantizeWholeRows.chosen(rule, for: memory.shape).launch(
          in: KernelLibrary(for: executor.target), values: memory.values.address,
          matrix: memory.matrix, shape: memory.shape)
      ], keeping: memory)
  }
}

private final class QuantizeMemory {
  let shape: MatrixShape
  let values: DeviceBuffer
  private let codes: DeviceBuffer
  private let scales: DeviceBuffer
  private let transposedCodes: DeviceBuffer
  private let transposedScales: DeviceBuffer
  /// A tensor's maximum, and room for its scale.
  let tensor: DeviceBuffer

  init(_ shape: (rows: Int, columns: Int), on executor: any KernelExecutor) throws {
    let count = shape.rows * shape.columns
    self.shape = try MatrixShape(rows: shape.rows, columns: shape.columns)
    values = try DeviceBuffer(byteCount: 2 * count, on: executor)
    codes = try DeviceBuffer(byteCount: count, on: executor)
    scales = try DeviceBuffer(byteCount: count / 8, on: executor)
    transposedCodes = try DeviceBuffer(byteCount: count, on: executor)
    transposedScales = try DeviceBuffer(byteCount: count / 8, on: executor)
    tensor = try DeviceBuffer([Float(2), 0], on: executor)
    var samples = Samples(seed: 1)
    try values.upload(samples.values(count))
  }

  var matrix: BlockScaledAddresses {
    BlockScaledAddresses(codes: codes.address, scales: scales.address)
  }
  var transpose: BlockScaledAddresses {
    BlockScaledAddresses(codes: transposedCodes.address, scales: transposedScales.address)
  }
}

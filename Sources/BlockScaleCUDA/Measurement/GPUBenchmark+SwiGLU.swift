// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

extension GPUBenchmark {
  /// SwiGLU with its results quantized in both orientations.
  static var swiGLU: [GPUBenchmark] {
    let (rows, columns) = (16_384, 8192)
    let (values, blocks) = (rows * columns, rows * columns / 128)
    return [
      GPUBenchmark(
        group: "swiglu", name: "swiglu forward e4m3 both ways \(rows)x\(columns)",
        work: .bytes(values * (4 + 2) + blocks * 4 * 2)
      ) { executor in
        let memory = try SwiGLUMemory(rows: rows, columns: columns, on: executor)
        return Prepared([try memory.forward(on: executor)], keeping: memory)
      },
      GPUBenchmark(
        group: "swiglu", name: "swiglu backward e5m2 both ways \(rows)x\(columns)",
        work: .bytes(values * (4 + 4) + blocks * 4 * (2 + 4))
      ) { executor in
        let memory = try SwiGLUMemory(rows: rows, columns: columns, on: executor)
        return Prepared([try memory.backward(on: executor)], keeping: memory)
      },
    ]
  }
}

/// Operands and results of both passes.
private final class SwiGLUMemory {
  private let shape: MatrixShape
  private let gate: DeviceMatrix<BFloat16>
  private let up: DeviceMatrix<BFloat16>
  private let gateCodes: DeviceCodes<Float8E4M3, Float>
  private let upCodes: DeviceCodes<Float8E4M3, Float>
  private let results: [BothWaysMemory]

  init(rows: Int, columns: Int, on executor: any KernelExecutor) throws {
    shape = try MatrixShape(rows: rows, columns: columns)
    let blocks = Blocking(rows: 1, columns: 128)
    gate = try DeviceMatrix(rows: rows, columns: columns, on: executor)
    up = try DeviceMatrix(rows: rows, columns: columns, on: executor)
    gateCodes = try DeviceCodes(rows: rows, columns: columns, blocking: blocks, on: executor)
    upCodes = try DeviceCodes(rows: rows, columns: columns, blocking: blocks, on: executor)
    results = try [0, 1].map { _ in
      try BothWaysMemory(rows: rows, columns: columns, on: executor)
    }
    var samples = Samples(seed: 1)
    try gate.values.upload(samples.values(rows * columns))
    try up.values.upload(samples.values(rows * columns))
    for matrix in 0..<2 {
      let scales = (0..<rows * columns / 128).map { _ in 0.01 + samples.normal().magnitude }
      if matrix == 0 {
        try gateCodes.codes.upload(samples.codes(rows * columns))
        try gateCodes.scales.upload(scales)
      } else {
        try upCodes.codes.upload(samples.codes(rows * columns))
        try upCodes.scales.upload(scales)
      }
    }
  }

  private func rule(_ element: ElementFormat) throws -> QuantizeRule {
    try QuantizeRule(.deepseek, element: element, scale: .float32, source: .bfloat16)
  }

  func forward(on executor: any KernelExecutor) throws -> KernelLaunch {
    try SwiGLUForward(rule(.e4m3), scaleLayout: .blockMajor).launch(
      in: KernelLibrary(for: executor.target), gate: gate.values.address, up: up.values.address,
      into: results[0].addresses, shape: shape)
  }

  func backward(on executor: any KernelExecutor) throws -> KernelLaunch {
    try SwiGLUBackward(.e4m3, rule(.e5m2), scaleLayout: .blockMajor).launch(
      in: KernelLibrary(for: executor.target), gate: gateCodes.addresses, up: upCodes.addresses,
      gradient: gate.values.address, intoGate: results[0].addresses, up: results[1].addresses,
      shape: shape)
  }
}

/// A matrix and its transpose in 1×128 blocks.
private final class BothWaysMemory {
  private let matrix: DeviceCodes<Float8E4M3, Float>
  private let transpose: DeviceCodes<Float8E4M3, Float>

  init(rows: Int, columns: Int, on executor: any KernelExecutor) throws {
    let blocks = Blocking(rows: 1, columns: 128)
    matrix = try DeviceCodes(rows: rows, columns: columns, blocking: blocks, on: executor)
    transpose = try DeviceCodes(rows: columns, columns: rows, blocking: blocks, on: executor)
  }

  var addresses: BothWaysAddresses {
    BothWaysAddresses(matrix: matrix.addresses, transpose: transpose.addresses)
  }
}

extension DeviceCodes {
  fileprivate var addresses: BlockScaledAddresses {
    BlockScaledAddresses(codes: codes.address, scales: scales.address)
  }
}

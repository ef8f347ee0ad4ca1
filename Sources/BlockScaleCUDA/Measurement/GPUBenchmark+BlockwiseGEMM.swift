// SPDX-License-Identifier: Apache-2.0

import PTX

extension GPUBenchmark {
  /// The FP8 product 1x128 · 128x128 of large layers.
  static var blockwiseProducts: [GPUBenchmark] {
    let shapes = [
      (4096, 4096, 4096), (8192, 8192, 8192), (4096, 7168, 16_384), (4096, 14_336, 4096),
      (4096, 7168, 2048), (128, 7168, 2048),
    ]
    return shapes.map { m, n, k in
      GPUBenchmark(
        group: "product", name: "multiply e4m3 1x128 128x128 \(m)x\(n)x\(k)",
        work: .operations(2 * m * n * k)
      ) { executor in
        let memory = try ProductMemory(rows: m, columns: n, depth: k, on: executor)
        let configuration = BlockwiseGEMM.Configuration.chosen(
          rows: m, columns: n, multiprocessors: executor.multiprocessors)
        return Prepared(
          [
            try BlockwiseGEMM(configuration).launch(
              memory.product, target: executor.target, multiprocessors: executor.multiprocessors)
          ], keeping: memory)
      }
    }
  }
}

private final class ProductMemory {
  let product: BlockwiseGEMM.Product
  private let left: DeviceBuffer
  private let leftScales: DeviceBuffer
  private let right: DeviceBuffer
  private let rightScales: DeviceBuffer
  private let result: DeviceBuffer

  /// - Precondition: The extents are multiples of 128.
  init(rows: Int, columns: Int, depth: Int, on executor: any KernelExecutor) throws {
    var samples = Samples(seed: 1)
    left = try DeviceBuffer(samples.codes(rows * depth), on: executor)
    right = try DeviceBuffer(samples.codes(columns * depth), on: executor)
    leftScales = try DeviceBuffer(
      (0..<rows * depth / 128).map { _ in abs(samples.normal()) }, on: executor)
    rightScales = try DeviceBuffer(
      (0..<columns * depth / (128 * 128)).map { _ in abs(samples.normal()) }, on: executor)
    result = try DeviceBuffer(byteCount: rows * columns * 2, on: executor)
    product = BlockwiseGEMM.Product(
      rows: rows, columns: columns, depth: depth,
      a: DeviceRows(address: left.address, rowBytes: depth),
      aScales: DeviceRows(address: leftScales.address, rowBytes: 4 * rows),
      b: DeviceRows(address: right.address, rowBytes: depth), bScales: rightScales.address,
      y: DeviceRows(address: result.address, rowBytes: 2 * columns))
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

extension GPUBenchmark {
  /// COAT's product backward: both passes.
  static var multiplication: [GPUBenchmark] {
    let (rows, columns) = (16_384, 8192)
    let count = rows * columns
    // Two codes, a gradient and two results; then values once more, codes and their transpose.
    let first = count * (2 + 2 + 4) + count * 3 * 2 / 16
    let second = count * (2 + 2)
    return [(true, true), (true, false), (false, true)].map { hasFirst, hasSecond in
      let passes = hasFirst && hasSecond ? "" : hasFirst ? ", first pass" : ", second pass"
      return GPUBenchmark(
        group: "activation", name: "multiply backward e5m2 \(rows)x\(columns)\(passes)",
        work: .bytes((hasFirst ? first : 0) + (hasSecond ? second : 0))
      ) { executor in
        let memory = try MultiplyMemory(rows: rows, columns: columns, on: executor)
        let launches = [
          try executor.launchMultiplyBackward(
            memory.first, memory.second, gradient: memory.gradient, as: Float8E5M2.self,
            recipe: .storedScale, into: memory.firstGradient, memory.secondGradient),
          try executor.launchTensorDivision(
            memory.secondGradient, recipe: .storedScale, into: memory.codes,
            transposed: memory.transposed.address),
        ]
        return Prepared(
          (hasFirst ? [launches[0]] : []) + (hasSecond ? [launches[1]] : []), keeping: memory)
      }
    }
  }
}

private final class MultiplyMemory {
  let first: DeviceCodes<Float8E4M3, BFloat16>
  let second: DeviceCodes<Float8E4M3, BFloat16>
  let gradient: DeviceMatrix<BFloat16>
  let firstGradient: DeviceMatrix<BFloat16>
  let secondGradient: DeviceGroupScaled
  let codes: DeviceCodes<Float8E5M2, BFloat16>
  let transposed: DeviceBuffer

  init(rows: Int, columns: Int, on executor: any KernelExecutor) throws {
    let groups = Blocking(rows: 1, columns: 16)
    first = try DeviceCodes(rows: rows, columns: columns, blocking: groups, on: executor)
    second = try DeviceCodes(rows: rows, columns: columns, blocking: groups, on: executor)
    gradient = try DeviceMatrix(rows: rows, columns: columns, on: executor)
    firstGradient = try DeviceMatrix(rows: rows, columns: columns, on: executor)
    secondGradient = try DeviceGroupScaled(
      rows: rows, columns: columns, groupSize: 16, on: executor)
    codes = try DeviceCodes(rows: rows, columns: columns, blocking: .tensor, on: executor)
    transposed = try DeviceBuffer(byteCount: rows * columns, on: executor)
    var samples = Samples(seed: 1)
    try first.codes.upload(samples.codes(rows * columns))
    try second.codes.upload(samples.codes(rows * columns))
    try first.scales.upload(samples.values(rows * columns / 16))
    try second.scales.upload(samples.values(rows * columns / 16))
    try gradient.values.upload(samples.values(rows * columns))
  }
}

extension Samples {
  /// Finite E4M3 codes, eight of one draw.
  mutating func codes(_ count: Int) -> [UInt8] {
    repeated(count, period: 1 << 20) { UInt8(truncatingIfNeeded: $0.next()) & 0xF7 }
  }

  /// Positive and negative BF16 values between 1/2 and 2.
  mutating func values(_ count: Int) -> [UInt16] {
    repeated(count, period: 1 << 20) { UInt16(truncatingIfNeeded: $0.next()) & 0x80FF | 0x3F00 }
  }

  /// Draws as many as a period, which is no multiple of a row, and repeats them.
  private mutating func repeated<Element>(
    _ count: Int, period: Int, _ draw: (inout Samples) -> Element
  ) -> [Element] {
    let drawn = (0..<period - 3).map { _ in draw(&self) }
    var result: [Element] = []
    result.reserveCapacity(count)
    while result.count < count { result += drawn.prefix(count - result.count) }
    return result
  }
}

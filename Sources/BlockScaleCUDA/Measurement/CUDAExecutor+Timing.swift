// SPDX-License-Identifier: Apache-2.0

import CUDADriver

extension CUDAExecutor {
  /// The median time of launches one after the other, in seconds on the GPU's clock.
  ///
  /// - Parameter rounds: Rounds that count, after three that do not.
  package func medianSeconds(rounds: Int = 20, _ launches: [PreparedLaunch]) throws -> Double {
    try medianSeconds(rounds: rounds) { for launch in launches { try launch.start(on: stream) } }
  }

  /// The median time of a copy within the GPU's memory, each byte of which is read and written once.
  package func medianSecondsOfCopy(byteCount: Int, rounds: Int = 20) throws -> Double {
    let source = try DeviceMemory(byteCount: byteCount, in: context)
    let target = try DeviceMemory(byteCount: byteCount, in: context)
    // Zeros take less power than data, and run faster.
    try source.fill(withWord: 0x3A5C_79E1, on: stream)
    return try medianSeconds(rounds: rounds) { try target.copy(from: source, on: stream) }
  }

  private func medianSeconds(rounds: Int, _ body: () throws -> Void) throws -> Double {
    let start = try Event(in: context)
    let end = try Event(in: context)
    for _ in 0..<3 { try body() }
    var times: [Double] = []
    for _ in 0..<rounds {
      try start.record(on: stream)
      try body()
      try end.record(on: stream)
      try end.synchronize()
      times.append(try end.seconds(since: start))
    }
    return times.sorted()[rounds / 2]
  }
}

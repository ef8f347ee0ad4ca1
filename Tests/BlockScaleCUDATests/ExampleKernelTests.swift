// SPDX-License-Identifier: Apache-2.0

import BlockScaleCUDA
import PTX
import PTXEmulator
import Testing

/// The kernel that `docs/kernels.md` leads through.
@Suite struct ExampleKernelTests {
  /// y ← a·x + y over vectors of any length.
  ///
  /// - Constraints: any count; both vectors begin at multiples of four bytes.
  /// - Numerics: one FP32 rounding an element.
  /// - Traffic: 8 bytes read and 4 written an element.
  struct ScaledAddition: Kernel {
    /// Whether lanes beyond the end do nothing; without it the kernel has a fault.
    var checksEnd = true

    var name: String { "scaled_addition" }
    var bounds: LaunchBounds { LaunchBounds(threads: 256) }

    func body(_ k: KernelBuilder) {
      let x = k.pointer("x", to: Float.self), y = k.pointer("y", to: Float.self)
      let a = k.float("a"), count = k.uint32("count")
      let index = k.special(.blockX) * 256 + k.thread
      k.when(checksEnd ? index .< count : count .== count) {
        let sum = a.multiplied(by: x[index].load(), adding: y[index].load())
        y[index].store(sum)
      }
    }
  }

  func add(
    _ a: Float, _ x: [Float], to y: [Float], on executor: any KernelExecutor,
    kernel: ScaledAddition = ScaledAddition()
  ) throws -> [Float] {
    let xs = try DeviceBuffer(x, on: executor), ys = try DeviceBuffer(y, on: executor)
    try executor.launch(
      KernelLaunch(
        kernel.tree(for: executor.target), grid: GridShape((x.count + 255) / 256),
        arguments: [
          "x": .pointer(xs.address), "y": .pointer(ys.address), "a": .float(a),
          "count": .uint32(UInt32(x.count)),
        ]))
    return try ys.elements(Float.self, count: y.count)
  }

  @Test(arguments: [1, 256, 1000])
  func adds(_ count: Int) throws {
    let x = (0..<count).map { Float($0) * 0.25 }, y = (0..<count).map { Float(count - $0) }
    let sum = try add(3, x, to: y, on: EmulatedDevice())
    #expect(sum == zip(x, y).map { $1.addingProduct(3, $0) })
  }

  @Test func theEmulatorSeesThePastOfTheEnd() {
    let ones = [Float](repeating: 1, count: 1000)
    let error = #expect(throws: EmulatorError.self) {
      try add(3, ones, to: ones, on: EmulatedDevice(), kernel: ScaledAddition(checksEnd: false))
    }
    #expect(error?.kind == .outOfBounds)
    #expect(error?.description.contains("scaled_addition") == true)
    #expect(error?.description.contains("ExampleKernelTests.swift") == true)
  }
}

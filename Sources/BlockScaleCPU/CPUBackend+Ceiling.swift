// SPDX-License-Identifier: Apache-2.0

import Dispatch
import _BlockScaleShims

extension CPUBackend {
  /// The rate of multiplications and additions that this tier's kernel reaches on operands that stay
  /// in the first-level cache, in operations a second on all threads: what a product can at most
  /// reach here and now, the best of `rounds` of 5 ms.
  @_spi(Benchmarking)
  public func productCeiling(rounds: Int = 5) -> Double {
    if let kernels = BF16Kernels(tier) { return ceiling(kernels, rounds: rounds) }
    return ceiling(FP32Kernels(tier), rounds: rounds)
  }

  private func ceiling<Kernels: TileKernels>(_ kernels: Kernels, rounds: Int) -> Double {
    let depth = 256
    let rows = kernels.tileRows
    let repetitions = 64
    let operations = Double(2 * rows * kernels.tileColumns * depth * repetitions)
    let rates = (0..<rounds).map { _ in
      let start = DispatchTime.now().uptimeNanoseconds
      let end = start + 5_000_000
      // Every thread repeats until the time is over.
      let counts = AlignedBuffer(byteCount: threads * 64)
      let places = counts.output(of: Int.self)
      parallelFor(threads, threads: threads) { thread in
        let elementBytes = MemoryLayout<Kernels.Element>.stride
        let a = AlignedBuffer(byteCount: rows * depth * elementBytes)
        let b = AlignedBuffer(byteCount: kernels.tileColumns * depth * elementBytes)
        let c = AlignedBuffer(byteCount: rows * kernels.tileColumns * 4)
        // Hardware tiles of zeros are multiplied a third faster than others.
        a.fillWithValues(seed: 1)
        b.fillWithValues(seed: 2)
        var count = 0
        kernels.begin()
        let blank = unsafe [bs_columns_t](
          repeating: bs_columns_t(), count: kernels.tileColumns / 16)
        repeat {
          for _ in 0..<repetitions {
            unsafe kernels.multiply(
              a.pointer(to: Kernels.Element.self), rows: rows, paddedDepth: depth, columns: blank,
              panel: b.pointer(to: Kernels.Element.self), isFirst: false, k0: 0, depth: depth,
              promotion: bs_promotion_t(), sums: c.pointer(to: Float.self), accumulate: false,
              next: NextRows())
          }
          count += 1
        } while DispatchTime.now().uptimeNanoseconds < end
        kernels.end()
        extendLifetime(a)
        extendLifetime(b)
        extendLifetime(c)
        // Each thread has a cache line of its own.
        unsafe places.pointer(thread * 8, count: 1).pointee = count
      }
      let elapsed = Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
      let total = (0..<threads).reduce(0) { unsafe $0 + places.pointer($1 * 8, count: 1).pointee }
      extendLifetime(counts)
      return Double(total) * operations / elapsed
    }
    return rates.max() ?? 0
  }
}

extension AlignedBuffer {
  /// Fills the memory with values between 1 and 2 of either sign, in BF16; read as FP32 they are, too.
  fileprivate func fillWithValues(seed: UInt32) {
    var state = seed
    for index in 0..<byteCount / 2 {
      state = state &* 1_664_525 &+ 1_013_904_223
      // Inside the memory.
      unsafe pointer(to: UInt16.self)[index] =
        0x3F80 | UInt16(truncatingIfNeeded: state >> 16) & 0x807F
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

package import PTX

/// A kernel, or several in a row, on data larger than the GPU's caches.
package struct GPUBenchmark: Sendable {
  /// What is counted to tell a rate.
  package enum Work: Sendable {
    /// Bytes that must be read or written; compared with a copy's rate.
    case bytes(Int)
    /// Multiplications and additions of a product.
    case operations(Int)
  }

  /// The group that `bench` takes by name: quantize, dequantize, activation, swiglu or product.
  package let group: String
  /// The operation and its shape.
  package let name: String
  package let work: Work
  /// Sets memory aside, fills it and gives what is to be launched.
  ///
  /// What is returned keeps the memory.
  package let prepare: @Sendable (any KernelExecutor) throws -> Prepared

  /// Launches, and what keeps their memory.
  package struct Prepared {
    package let launches: [KernelLaunch]
    private let memory: AnyObject

    package init(_ launches: [KernelLaunch], keeping memory: AnyObject) {
      self.launches = launches
      self.memory = memory
    }
  }

  package init(
    group: String, name: String, work: Work,
    prepare: @escaping @Sendable (any KernelExecutor) throws -> Prepared
  ) {
    self.group = group
    self.name = name
    self.work = work
    self.prepare = prepare
  }

  /// Every benchmark.
  package static var all: [GPUBenchmark] {
    quantization + quantizers(rows: 16_384, columns: 8192)
      + dequantizers(rows: 16_384, columns: 8192) + multiplication
      + activationFlow(rows: 16_384, columns: 8192) + swiGLU + blockwiseProducts
  }
}

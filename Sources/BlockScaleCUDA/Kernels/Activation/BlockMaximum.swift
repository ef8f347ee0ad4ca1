// SPDX-License-Identifier: Apache-2.0

import Minifloat
import PTX

/// The largest of a number that every thread of a block has, raised to in global memory.
///
/// All blocks of a grid would queue for one address; so warps meet in shared memory first, and a block
/// whose maximum is no news leaves the address alone.
struct BlockMaximum {
  private let k: KernelBuilder
  private let ofBlock: SharedPointer<UInt32>

  /// All threads of the block take part.
  init(_ k: KernelBuilder) {
    self.k = k
    ofBlock = k.shared(UInt32.self, count: 1)
    ofBlock.store(Value(0), if: k.thread .== 0)
    k.barrier()
  }

  /// Raises a number in global memory to what a function that never falls makes of the block's largest;
  /// all threads of the block take part.
  func raise(
    _ largest: GlobalPointer<UInt32>, to value: Value<UInt32>,
    _ transform: (Value<UInt32>) -> Value<UInt32> = { $0 }
  ) {
    ofBlock.atomicMaximum(value.reducedOverWarp(.maximum), if: k.lane .== 0)
    k.barrier()
    k.when(k.thread .== 0) {
      let own = transform(ofBlock.load())
      largest.atomicMaximum(own, if: own .> largest.loadAnew())
    }
  }
}

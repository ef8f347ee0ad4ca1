// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import _BlockScaleShims

/// The kernels of layers of a tier, a constant table of functions.
// Sendable in spite of its pointer: the table is never written and never freed.
@safe struct LayerKernels: @unchecked Sendable {
  private let table: UnsafePointer<bs_layer_kernels_t>

  init(_ tier: CPUTier) {
    let table =
      switch tier {
      case .portable: unsafe bs_layer_kernels_portable() as UnsafePointer?
      case .neon: unsafe bs_layer_kernels_neon()
      case .avx2: unsafe bs_layer_kernels_avx2()
      // These multiply BF16; everything else runs as on AVX-512.
      case .avx512, .avx512BF16, .amx: unsafe bs_layer_kernels_avx512()
      }
    guard let table = unsafe table else {
      preconditionFailure("This architecture has no tier '\(tier)'")
    }
    unsafe self.table = table
  }

  /// The functions.
  var functions: bs_layer_kernels_t {
    @inline(__always)
    _read {
      // The table is a constant of the program.
      yield unsafe table.pointee
    }
  }
}

extension CPUBackend {
  /// The values that a thread takes of a tensor at once: enough to be worth handing out, few enough to
  /// stay in the second-level cache.
  private static let runValues = 1 << 14

  /// A tensor like another, whose values `body` writes run by run.
  func elementwise(
    like other: BFloat16Tensor, _ body: @Sendable (Output<BFloat16>, _ run: Range<Int>) -> Void
  ) -> BFloat16Tensor {
    let count = other.matrix.values.count
    let values: [BFloat16] = filled(count) { output in
      forEachRun(count) { body(output, $0) }
    }
    return Tensor(
      Matrix(unchecked: values, rows: other.matrix.rows, columns: other.matrix.columns),
      like: other)
  }

  /// Runs `body` for runs of values.
  func forEachRun(_ count: Int, _ body: @Sendable (_ run: Range<Int>) -> Void) {
    let runs = (count + Self.runValues - 1) / Self.runValues
    parallelFor(runs, threads: threads) { index in
      body(index * Self.runValues..<min(count, (index + 1) * Self.runValues))
    }
  }

  /// Runs `body` for groups of rows.
  func forEachRows(
    _ rows: Int, columns: Int, _ body: @Sendable (_ rows: Range<Int>) -> Void
  ) {
    let group = max(1, Self.runValues / columns)
    parallelFor((rows + group - 1) / group, threads: threads) { index in
      body(index * group..<min(rows, (index + 1) * group))
    }
  }
}

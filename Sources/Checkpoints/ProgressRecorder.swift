// SPDX-License-Identifier: Apache-2.0

import Dispatch
import Synchronization

/// Flushes finished units to the disk and records them while the conversion goes on.
///
/// A unit is named in the journal only once its bytes are on the disk, so that a resumed run can rely
/// on it even after a power cut.
final class ProgressRecorder: Sendable {
  private let staging: Staging
  private let output: ConversionOutput
  private let queue = DispatchQueue(label: "blockscale.recorder")
  private let failure = Mutex<(any Error)?>(nil)

  init(staging: Staging, output: ConversionOutput) {
    self.staging = staging
    self.output = output
  }

  /// Records units whose bytes have been written.
  func record(_ units: [(name: String, reports: [TensorReport])]) {
    queue.async { [self] in
      guard failure.withLock({ $0 == nil }) else { return }
      do {
        try output.synchronize()
        try staging.record(units)
      } catch {
        failure.withLock { $0 = error }
      }
    }
  }

  /// Waits until everything is recorded, and throws what went wrong.
  func wait() throws {
    queue.sync {}
    if let error = failure.withLock({ $0 }) { throw error }
  }
}

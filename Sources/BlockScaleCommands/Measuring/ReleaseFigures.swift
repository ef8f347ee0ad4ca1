// SPDX-License-Identifier: Apache-2.0

/// What the last release reached, to compare a run with.
///
/// Figures are shares of a copy's rate for work that memory bounds, and FLOP/s for products, since
/// copies vary with a machine less than clocks do.
struct ReleaseFigures {
  /// By the device's name, then by the benchmark's.
  let figures: [String: [String: Double]]

  /// How a figure compares with the release's, or nothing where that is unknown.
  func ratio(of figure: Double, _ benchmark: String, on device: String) -> Double? {
    figures[device]?[benchmark].map { figure / $0 }
  }
}

// SPDX-License-Identifier: Apache-2.0

/// The losses of one training run, step by step.
package struct LossCurve: Sendable, Hashable {
  /// What tells the run from others in a picture.
  package let name: String
  /// The loss of each step, the first step's first.
  package let losses: [Double]

  package init(name: String, losses: [Double]) {
    self.name = name
    self.losses = losses
  }

  /// The mean over the last steps, which single batches would blur.
  package func finalLoss(over steps: Int) -> Double {
    let last = losses.suffix(steps)
    return last.isEmpty ? .nan : last.reduce(0, +) / Double(last.count)
  }

  /// The means over as many steps up to each step.
  package func smoothed(over steps: Int) -> [Double] {
    var sum = 0.0
    return losses.indices.map { index in
      sum += losses[index]
      if index >= steps { sum -= losses[index - steps] }
      return sum / Double(min(index + 1, steps))
    }
  }

  /// How many steps pictures smooth over.
  package static func window(_ curves: [LossCurve]) -> Int {
    max(1, (curves.map(\.losses.count).max() ?? 0) / 40)
  }
}

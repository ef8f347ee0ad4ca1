// SPDX-License-Identifier: Apache-2.0

import PTX

/// The choices of several blocks that the same lanes share, each worked out by some of the lanes only.
///
/// A choice takes two divisions. Lanes that all need those of eight blocks would work out each of them;
/// instead they halve the blocks among themselves while they look for the maxima: a lane whose index
/// has a bit set keeps the second half of its blocks and gives the first half to its partner. In the
/// end a lane has the maximum of few blocks, mostly of one, and the others learn the factor from it.
struct LaneChoices {
  /// Of the blocks that this lane worked out.
  let own: [BlockChoice]
  /// The first of these blocks.
  let firstOwn: Value<UInt32>
  /// Whether no lower lane worked out the same.
  let isFirst: Value<Bool>
  private let lane: Value<UInt32>
  private let lanes: Int
  /// Lanes that worked out the same blocks.
  private let lanesPerOwner: Int

  /// - Parameters:
  ///   - largest: What this lane knows of each block, a power of two of them.
  ///   - lanes: How many neighbours share the blocks, a power of two.
  init(
    _ largest: [LargestMagnitude], lanes: Int, lane: Value<UInt32>, _ choose: ScaleChooser
  ) {
    self.lane = lane
    self.lanes = lanes
    var kept = largest
    var distance = lanes / 2
    while distance > 0, kept.count > 1 {
      let half = kept.count / 2
      let takesSecond = (lane & distance) .!= 0
      kept = (0..<half).map { index in
        let (first, second) = (kept[index], kept[index + half])
        let given = first.selected(takesSecond, else: second)
        let own = second.selected(takesSecond, else: first)
        return own.combined(given.shuffled(xor: distance))
      }
      distance /= 2
    }
    lanesPerOwner = max(2 * distance, 1)
    // Distances that are left: lanes that know parts of the same blocks.
    while distance > 0 {
      kept = kept.map { $0.reduced(over: [distance]) }
      distance /= 2
    }
    own = kept.map { choose($0.float()) }
    firstOwn = ((lane & (lanes - 1)) / lanesPerOwner) * kept.count
    isFirst = (lane & (lanesPerOwner - 1)) .== 0
  }

  /// The choice of a block in all lanes that share it, but for its scale, which its owner stores.
  func factor(ofBlock index: Int) -> BlockChoice {
    var choice = own[index % own.count]
    let owner = (lane & ~(lanes - 1)) | (index / own.count * lanesPerOwner)
    choice.factor = choice.factor.shuffled(from: owner)
    choice.keptBits = choice.keptBits?.shuffled(from: owner)
    return choice
  }
}

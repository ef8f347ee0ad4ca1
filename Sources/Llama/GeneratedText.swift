// SPDX-License-Identifier: Apache-2.0

/// Text to train a small model on: a ledger of who did what with how many of which things.
///
/// Words, their order and the plural follow from what stands before and are learnt within a few hundred
/// steps; names, numbers and prices are drawn at random, so that the loss comes to rest at their entropy
/// and the numerics of two runs can be told from the chance of what either has learnt first.
public struct GeneratedText: Sendable, Hashable {
  /// What the ledger follows from.
  public let seed: UInt64

  /// Creates a generator.
  public init(seed: UInt64) { self.seed = seed }

  private static let people = [
    "Ada", "Boris", "Chen", "Dana", "Emil", "Farah", "Goran", "Hana", "Ivo", "Jun", "Kira", "Leon",
    "Mila", "Nils", "Olga", "Pedro", "Rosa", "Sami", "Tara", "Uma", "Vera", "Wim", "Yara", "Zeno",
  ]
  private static let colors = [
    "red", "green", "blue", "yellow", "black", "white", "small", "large", "old", "new", "round",
    "heavy",
  ]
  private static let things = [
    "apple", "stone", "book", "coin", "shell", "key", "cup", "lamp", "ball", "ribbon", "button",
    "card", "feather", "candle", "marble", "pencil",
  ]
  private static let places = [
    "at the market", "near the river", "in the garden", "on the bridge", "behind the mill",
    "under the tree", "in the old house", "by the sea",
  ]
  private static let verbs = [
    "sold", "bought", "found", "counted", "lost", "packed", "carried", "cleaned",
  ]

  /// At least as many bytes of ASCII as asked for, up to the end of a line.
  ///
  /// The beginning of a longer text is a shorter text of the same seed.
  public func bytes(_ count: Int) -> [UInt8] {
    var generator = RandomStream(seed: seed)
    var result: [UInt8] = []
    result.reserveCapacity(count + 512)
    while result.count < count { result += line(&generator).utf8 }
    return result
  }

  private func line(_ generator: inout RandomStream) -> String {
    func pick(_ words: [String]) -> String { words[generator.below(words.count)] }
    let count = generator.below(10) < 7 ? 1 + generator.below(99) : 100 + generator.below(900)
    var text =
      "\(pick(Self.people)) \(pick(Self.verbs)) \(count) \(pick(Self.colors)) "
      + "\(pick(Self.things))\(count == 1 ? "" : "s") \(pick(Self.places))"
    switch generator.below(3) {
    case 0:
      let cents = generator.below(100)
      text += " for \(1 + generator.below(99)).\(cents < 10 ? "0" : "")\(cents)"
    case 1: text += " on day \(1 + generator.below(365))"
    default: break
    }
    return text + ".\n"
  }
}

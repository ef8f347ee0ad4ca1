// SPDX-License-Identifier: Apache-2.0

/// Text to train a small model on: short stories about who has how many of what.
///
/// Sentences follow a grammar, names and things come up again within a story, and the numbers at its
/// end follow from those before. A model that learns words is better than one that knows how often
/// letters come; one that learns to look back is better still.
public struct GeneratedText: Sendable, Hashable {
  /// What stories follow from.
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
  private static let numbers = [
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
  ]

  /// At least as many bytes of ASCII as asked for, up to the end of a story.
  ///
  /// The beginning of a longer text is a shorter text of the same seed.
  public func bytes(_ count: Int) -> [UInt8] {
    var generator = RandomStream(seed: seed)
    var result: [UInt8] = []
    result.reserveCapacity(count + 512)
    while result.count < count { result += story(&generator).utf8 }
    return result
  }

  private func story(_ generator: inout RandomStream) -> String {
    func pick(_ words: [String]) -> String { words[generator.below(words.count)] }
    let first = pick(Self.people)
    var second = pick(Self.people)
    while second == first { second = pick(Self.people) }
    let color = pick(Self.colors)
    let thing = pick(Self.things)
    var counts = [2 + generator.below(8), generator.below(8)]
    func amount(_ count: Int) -> String {
      "\(Self.numbers[count]) \(color) \(thing)\(count == 1 ? "" : "s")"
    }
    var text = ""
    switch generator.below(3) {
    case 0: text += "\(first) met \(second) \(pick(Self.places)). "
    case 1: text += "One morning \(first) saw \(second) \(pick(Self.places)). "
    default: text += "\(first) and \(second) sat \(pick(Self.places)). "
    }
    text += "\(first) had \(amount(counts[0])) and \(second) had \(amount(counts[1])). "
    for _ in 0..<1 + generator.below(3) {
      let giver = counts[0] == 0 ? 1 : counts[1] == 0 ? 0 : generator.below(2)
      let names = giver == 0 ? (first, second) : (second, first)
      let given = 1 + generator.below(min(counts[giver], 4))
      counts[giver] -= given
      counts[1 - giver] += given
      switch generator.below(3) {
      case 0: text += "Then \(names.0) gave \(amount(given)) to \(names.1). "
      case 1: text += "\(names.1) asked for \(amount(given)), and \(names.0) agreed. "
      default: text += "After a while \(names.1) got \(amount(given)) from \(names.0). "
      }
    }
    text += "Now \(first) has \(amount(counts[0])) and \(second) has \(amount(counts[1])).\n"
    return text
  }
}

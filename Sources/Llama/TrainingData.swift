// SPDX-License-Identifier: Apache-2.0

import RealModule

/// Tokens to train on and tokens to evaluate on, cut from one text.
public struct TrainingData: Sendable, Hashable {
  /// What sequences are drawn from.
  public let training: [Int32]
  /// The end of the text, which is never trained on.
  public let evaluation: [Int32]

  /// Cuts a text.
  ///
  /// - Parameter evaluationShare: The part that is kept for evaluation.
  /// - Throws: ``LlamaError`` if the share is not between zero and one.
  public init(_ tokens: [Int32], evaluationShare: Double = 0.05) throws(LlamaError) {
    guard evaluationShare > 0, evaluationShare < 1 else {
      throw LlamaError(
        .wrongInput, "A share of \(evaluationShare) of a text cannot be kept for evaluation.")
    }
    let count = Int(Double(tokens.count) * (1 - evaluationShare))
    training = Array(tokens[..<count])
    evaluation = Array(tokens[count...])
  }

  /// The entropy of single tokens of the text in nats: the loss of a model that knows only how often
  /// each occurs.
  public var unigramEntropy: Double {
    let counts = Dictionary(training.map { ($0, 1) }, uniquingKeysWith: +)
    return counts.values.sorted().reduce(0) {
      let share = Double($1) / Double(training.count)
      return $0 - share * Double.log(share)
    }
  }

  /// A number that tells this text, and where it is cut, from others (FNV-1a).
  var fingerprint: UInt64 {
    func mixed(_ hash: UInt64, _ value: UInt64) -> UInt64 {
      (hash ^ value) &* 0x0000_0100_0000_01B3
    }
    return (training + evaluation).reduce(
      mixed(0xCBF2_9CE4_8422_2325, UInt64(training.count))
    ) { mixed($0, UInt64(UInt32(bitPattern: $1))) }
  }
}

/// Which sequence comes when: all windows of a text once an epoch, in an order that the seed and the
/// epoch fix.
struct SequenceOrder: Sendable {
  private let length: Int
  private let windows: Int
  private let seed: UInt64
  private var epoch = -1
  private var order: [Int] = []

  /// - Throws: ``LlamaError`` if the text is shorter than one sequence.
  init(tokens: Int, length: Int, seed: UInt64) throws(LlamaError) {
    windows = (tokens - 1) / length
    guard windows > 0 else {
      throw LlamaError(
        .wrongInput,
        "The text has \(tokens) token\(tokens == 1 ? "" : "s") to train on, which is less than one "
          + "sequence of \(length + 1).")
    }
    self.length = length
    self.seed = seed
  }

  /// Where the sequence of a number begins.
  mutating func start(of index: Int) -> Int {
    if index / windows != epoch {
      epoch = index / windows
      order = Array(0..<windows)
      // A stream of its own beside those of the weights.
      var generator = RandomStream(seed: seed, stream: 1 << 32 + UInt64(epoch))
      order.shuffle(using: &generator)
    }
    return order[index % windows] * length
  }
}

// SPDX-License-Identifier: Apache-2.0

import Llama
import RealModule
import Testing

@Suite struct SamplerTests {
  /// Probabilities 0.5, 0.25, 0.15 and 0.1, not in order.
  static let shares = [0.15, 0.5, 0.1, 0.25]
  static let logits = shares.map { Float(Double.log($0)) + 3 }

  static func counts(_ sampler: Sampler, draws: Int = 40_000) -> [Double] {
    var sampler = sampler
    var counts = [Double](repeating: 0, count: shares.count)
    for _ in 0..<draws { counts[Int(sampler.pick(logits))] += 1 / Double(draws) }
    return counts
  }

  @Test func zeroPicksTheLikeliest() throws {
    var sampler = try Sampler(temperature: 0, topP: 0.1, seed: 4)
    #expect((0..<20).allSatisfy { _ in sampler.pick(Self.logits) == 1 })
    // Of equal ones the first.
    #expect(sampler.pick([1, 2, 2, 0]) == 1)
    #expect(sampler.pick([7]) == 0)
  }

  @Test(arguments: [1, 0.5, 2.5])
  func drawsFollowTheProbabilities(_ temperature: Double) throws {
    let weights = Self.shares.map { Double.pow($0, 1 / temperature) }
    let total = weights.reduce(0, +)
    let counts = try Self.counts(Sampler(temperature: temperature, seed: 9))
    for (count, weight) in zip(counts, weights) {
      // Five standard deviations at the most likely.
      #expect(abs(count - weight / total) < 0.0125)
    }
  }

  @Test(
    arguments: [
      (0.01, [1]), (0.5, [1]), (0.51, [1, 3]), (0.74, [1, 3]), (0.76, [0, 1, 3]),
      (0.91, [0, 1, 2, 3]), (1, [0, 1, 2, 3]),
    ] as [(Double, [Int])])
  func aShareKeepsTheLikeliest(_ share: Double, _ kept: [Int]) throws {
    // A little more than the sums, so that rounding does not decide.
    let topP = share == 0.5 ? 0.4999 : share
    let counts = try Self.counts(Sampler(temperature: 1, topP: topP, seed: 3))
    #expect(counts.indices.filter { counts[$0] > 0 } == kept)
    let total = kept.reduce(0) { $0 + Self.shares[$1] }
    for token in kept { #expect(abs(counts[token] - Self.shares[token] / total) < 0.0125) }
  }

  @Test func seedsGiveTheSamePicks() throws {
    func picks(_ seed: UInt64) throws -> [Int32] {
      var sampler = try Sampler(temperature: 1, topP: 0.95, seed: seed)
      return (0..<100).map { _ in sampler.pick(Self.logits) }
    }
    #expect(try picks(5) == picks(5))
    #expect(try picks(5) != picks(6))
  }

  @Test(
    arguments: [(-1, 1), (.nan, 1), (.infinity, 1), (1, 0), (1, 1.5), (1, .nan), (1, -1)]
      as [(Double, Double)])
  func whatCannotBeSampledIsRefused(_ temperature: Double, _ topP: Double) {
    #expect(throws: LlamaError.self) { try Sampler(temperature: temperature, topP: topP) }
  }

  @Test func extremeLogitsHaveNoNaN() throws {
    var sampler = try Sampler(temperature: 0.01, topP: 0.9)
    #expect(sampler.pick([-3e38, 3e38, 0]) == 1)
    var plain = try Sampler(temperature: 1)
    #expect(plain.pick([-3e38, 3e38, 0]) == 1)
  }
}

// SPDX-License-Identifier: Apache-2.0

import HeapModule

/// A vocabulary, and the pairs of its tokens that merge into others.
struct BytePairModel: Sendable {
  /// A merge: the earlier it was learnt, the sooner it is applied.
  struct Merge: Sendable {
    var rank: Int32
    var token: Int32
  }

  /// What each token stands for: bytes of the text where the model is one of bytes, otherwise characters
  /// in UTF-8.
  var tokens: [[UInt8]] = []
  var ids: [[UInt8]: Int32] = [:]
  /// By pair; see ``key(_:_:)``.
  var merges: [UInt64: Merge] = [:]
  /// Whether the first symbols are bytes and not characters.
  var isByteLevel = false
  /// The tokens that stand for one byte each of a character that has none; empty where there are none.
  var byteTokens: [Int32] = []
  /// Stands for what has no token.
  var unknown: Int32?
  /// Whether several unknown characters in a row become one token.
  var fusesUnknown = false
  /// Whether a piece that is a token is taken as such, whatever would merge.
  var ignoresMerges = false

  static func key(_ left: Int32, _ right: Int32) -> UInt64 {
    UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
  }

  /// The tokens of a piece of text.
  func encode(_ piece: [UInt8]) -> [Int32] {
    if ignoresMerges, let token = ids[piece] { return [token] }
    return merged(symbols(piece))
  }

  /// The tokens of single bytes or characters.
  private func symbols(_ piece: [UInt8]) -> [Int32] {
    var result: [Int32] = []
    result.reserveCapacity(piece.count)
    var start = 0
    var endsUnknown = false
    while start < piece.count {
      var end = start + 1
      // The following bytes of a character begin with 10.
      if !isByteLevel { while end < piece.count, piece[end] & 0xC0 == 0x80 { end += 1 } }
      let symbol = Array(piece[start..<end])
      if let token = ids[symbol] {
        result.append(token)
        endsUnknown = false
      } else if !byteTokens.isEmpty {
        result += symbol.map { byteTokens[Int($0)] }
        endsUnknown = false
      } else if let unknown {
        if !(endsUnknown && fusesUnknown) { result.append(unknown) }
        endsUnknown = true
      }
      start = end
    }
    return result
  }

  /// A pair that may be merged: which, and where its left symbol stands.
  private struct Candidate: Comparable {
    var rank: Int32
    var place: Int32
    /// The pair, by which a candidate is known to be out of date.
    var pair: UInt64
    var token: Int32

    static func < (a: Self, b: Self) -> Bool { (a.rank, a.place) < (b.rank, b.place) }
  }

  /// Merges pairs, those of the lowest rank first and of these the leftmost.
  private func merged(_ symbols: [Int32]) -> [Int32] {
    guard symbols.count > 1 else { return symbols }
    // A list of symbols in place; what a merge has swallowed is -1.
    var symbols = symbols
    var next = symbols.indices.map { $0 + 1 }
    var previous = symbols.indices.map { $0 - 1 }
    var candidates = Heap<Candidate>()
    func candidate(_ place: Int, _ symbols: [Int32], _ next: [Int]) -> Candidate? {
      guard place >= 0, next[place] < symbols.count else { return nil }
      let pair = Self.key(symbols[place], symbols[next[place]])
      return merges[pair].map {
        Candidate(rank: $0.rank, place: Int32(place), pair: pair, token: $0.token)
      }
    }
    for place in symbols.indices {
      if let new = candidate(place, symbols, next) { candidates.insert(new) }
    }
    while let best = candidates.popMin() {
      let place = Int(best.place)
      let right = next[place]
      guard symbols[place] >= 0, right < symbols.count,
        Self.key(symbols[place], symbols[right]) == best.pair
      else { continue }
      symbols[place] = best.token
      symbols[right] = -1
      next[place] = next[right]
      if next[right] < symbols.count { previous[next[right]] = place }
      if let new = candidate(place, symbols, next) { candidates.insert(new) }
      if let new = candidate(previous[place], symbols, next) { candidates.insert(new) }
    }
    return symbols.filter { $0 >= 0 }
  }
}

// SPDX-License-Identifier: Apache-2.0

/// How a text is split into the pieces inside which symbols merge.
enum TextSplitter: Sendable, Hashable {
  /// What becomes of the matches of a pattern.
  enum Behavior: String, Sendable {
    case removed = "Removed"
    case isolated = "Isolated"
    case mergedWithPrevious = "MergedWithPrevious"
    case mergedWithNext = "MergedWithNext"
    case contiguous = "Contiguous"
  }

  /// By a regular expression; inverted, what lies between matches counts as one.
  case pattern(String, Behavior, isInverted: Bool)
  /// Each run of digits, or each digit.
  case digits(isIndividual: Bool)
  /// A space is put before a text that begins with none.
  case spaceBefore
  /// Spaces become another character, and pieces begin with it.
  case metaspace(Unicode.Scalar, Prepending, splits: Bool)

  /// Where a character is put that stands for a space.
  enum Prepending: String, Sendable {
    case never, first, always
  }

  /// GPT-2's words.
  static let words = TextSplitter.pattern(
    #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#, .isolated,
    isInverted: false)

  /// The splitter with its expression compiled, which no two threads may share.
  var prepared: Prepared {
    switch self {
    case .pattern(let pattern, _, _):
      // It was compiled once when the file was read.
      Prepared(splitter: self, expression: try? Self.expression(pattern))
    case .digits, .spaceBefore, .metaspace: Prepared(splitter: self, expression: nil)
    }
  }

  static func expression(_ pattern: String) throws -> Regex<AnyRegexOutput> {
    try Regex(pattern).matchingSemantics(.unicodeScalar)
  }

  struct Prepared {
    let splitter: TextSplitter
    let expression: Regex<AnyRegexOutput>?

    /// - Parameter isFirst: Whether the text begins with these pieces.
    func split(_ pieces: [String], isFirst: Bool) -> [String] {
      var result: [String] = []
      for (index, piece) in pieces.enumerated() where !piece.isEmpty {
        switch splitter {
        case .spaceBefore:
          result.append(piece.utf8.first == 0x20 ? piece : " " + piece)
        case .metaspace(let mark, let prepending, let splits):
          var text = piece.replacingBytes(of: " ", with: String(mark))
          let isWanted = prepending == .always || prepending == .first && isFirst && index == 0
          if isWanted, text.unicodeScalars.first != mark { text = String(mark) + text }
          result += splits ? Self.startingWith(mark, text) : [text]
        case .digits(let isIndividual):
          let runs = Self.runs(piece) { $0.properties.generalCategory.isNumber }
          result += Self.combined(runs, isIndividual ? .isolated : .contiguous)
        case .pattern(_, let behavior, let isInverted):
          guard let expression else { preconditionFailure("A pattern was not compiled") }
          var parts: [(text: String, isMatch: Bool)] = []
          var end = piece.startIndex
          for match in piece.matches(of: expression) {
            if end < match.range.lowerBound {
              parts.append((String(piece[end..<match.range.lowerBound]), isInverted))
            }
            if !match.range.isEmpty { parts.append((String(piece[match.range]), !isInverted)) }
            end = match.range.upperBound
          }
          if end < piece.endIndex { parts.append((String(piece[end...]), isInverted)) }
          result += Self.combined(parts, behavior)
        }
      }
      return result
    }

    private static func combined(
      _ parts: [(text: String, isMatch: Bool)], _ behavior: Behavior
    ) -> [String] {
      switch behavior {
      case .removed: return parts.filter { !$0.isMatch }.map(\.text)
      case .isolated: return parts.map(\.text)
      case .contiguous:
        return parts.reduce(into: [(text: String, isMatch: Bool)]()) { result, part in
          if let last = result.last, last.isMatch == part.isMatch {
            result[result.count - 1].text += part.text
          } else {
            result.append(part)
          }
        }.map(\.text)
      case .mergedWithPrevious:
        return parts.indices.reduce(into: [String]()) { result, index in
          if parts[index].isMatch, index > 0, !parts[index - 1].isMatch {
            result[result.count - 1] += parts[index].text
          } else {
            result.append(parts[index].text)
          }
        }
      case .mergedWithNext:
        return parts.indices.reduce(into: [String]()) { result, index in
          if !parts[index].isMatch, index > 0, parts[index - 1].isMatch {
            result[result.count - 1] += parts[index].text
          } else {
            result.append(parts[index].text)
          }
        }
      }
    }

    /// Single scalars that fulfil a condition, and the runs between them.
    private static func runs(
      _ text: String, _ isMatch: (Unicode.Scalar) -> Bool
    ) -> [(text: String, isMatch: Bool)] {
      var result: [(text: String, isMatch: Bool)] = []
      for scalar in text.unicodeScalars {
        if isMatch(scalar) {
          result.append((String(scalar), true))
        } else if let last = result.last, !last.isMatch {
          result[result.count - 1].text.unicodeScalars.append(scalar)
        } else {
          result.append((String(scalar), false))
        }
      }
      return result
    }

    /// Pieces that begin with each occurrence of a mark.
    private static func startingWith(_ mark: Unicode.Scalar, _ text: String) -> [String] {
      var result: [String] = []
      for scalar in text.unicodeScalars {
        if result.isEmpty || scalar == mark {
          result.append(String(scalar))
        } else {
          result[result.count - 1].unicodeScalars.append(scalar)
        }
      }
      return result
    }
  }
}

extension Unicode.GeneralCategory {
  fileprivate var isNumber: Bool {
    self == .decimalNumber || self == .letterNumber || self == .otherNumber
  }
}

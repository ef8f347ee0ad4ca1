// SPDX-License-Identifier: Apache-2.0

/// A name from a file in single quotes, fit for one line of an error sentence.
///
/// A file may name a tensor anything, so control characters are written as `\u{…}` (they could
/// otherwise drive the terminal), and names beyond 200 characters are cut.
func quoted(_ name: some StringProtocol) -> String {
  "'" + printable(name, limit: 200) + "'"
}

/// A text with its control characters written as `\u{…}`, cut after `limit` scalars.
func printable(_ text: some StringProtocol, limit: Int = .max) -> String {
  var result = ""
  for (index, scalar) in text.unicodeScalars.enumerated() {
    if index == limit {
      result += "…"
      break
    }
    switch scalar.properties.generalCategory {
    case .control, .lineSeparator, .paragraphSeparator, .format:
      result += "\\u{" + String(scalar.value, radix: 16, uppercase: true) + "}"
    default:
      result.unicodeScalars.append(scalar)
    }
  }
  return result
}

/// Some names in a sentence: "'a', 'b' and 'c'", or the first eight and how many more.
func listed(_ names: [String]) -> String {
  let shown = names.prefix(8).map { quoted($0) }
  if names.count > shown.count {
    return shown.joined(separator: ", ") + " and \(names.count - shown.count) more"
  }
  guard let last = shown.last, shown.count > 1 else { return shown.first ?? "none" }
  return shown.dropLast().joined(separator: ", ") + " and " + last
}

/// A count with its noun: "1 byte", "2 bytes".
func counted(_ count: Int, _ noun: String) -> String {
  "\(count) \(noun)" + (count == 1 ? "" : "s")
}

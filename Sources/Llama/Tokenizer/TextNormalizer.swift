// SPDX-License-Identifier: Apache-2.0

/// What is changed in a text before it is split.
enum TextNormalizer: Sendable, Hashable {
  /// A text is put before every one that is not empty.
  case prepend(String)
  /// Every occurrence of one text becomes another.
  case replace(String, with: String)

  func normalized(_ text: String) -> String {
    switch self {
    case .prepend(let prefix): text.isEmpty ? text : prefix + text
    case .replace(let old, let new): text.replacingBytes(of: old, with: new)
    }
  }
}

extension String {
  /// The text with every occurrence of `old`, compared byte by byte, replaced.
  func replacingBytes(of old: String, with new: String) -> String {
    String(decoding: Array(utf8).replacing(Array(old.utf8), with: Array(new.utf8)), as: UTF8.self)
  }
}

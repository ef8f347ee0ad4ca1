// SPDX-License-Identifier: Apache-2.0

/// What makes bytes no JSON document, and where.
package struct JSONError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The byte, counted from the beginning of the document, at which the problem lies.
  package let offset: Int
  /// A clause without a full stop, such as "a number must not begin with '+'".
  package let message: String

  /// Creates an error.
  package init(offset: Int, message: String) {
    self.offset = offset
    self.message = message
  }

  /// One sentence with the byte offset.
  package var description: String {
    "At byte \(offset): \(message)."
  }
}

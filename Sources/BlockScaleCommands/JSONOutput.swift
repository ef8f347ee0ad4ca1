// SPDX-License-Identifier: Apache-2.0

import OrderedCollections
package import Safetensors
package import SystemPackage

/// What commands print for other programs, under `--json`.
package enum JSONOutput {
  /// The version of the documents' shape; new members do not change it.
  package static let schemaVersion = 1

  /// A document with the members that every one begins with, and then those of an object.
  ///
  /// Numbers that are not finite are already `null` in a ``JSONValue``.
  package static func document(command: String, _ body: JSONValue) -> JSONValue {
    guard case .object(let members) = body else {
      preconditionFailure("A document is an object, not \(body.kind)")
    }
    var document: OrderedDictionary<String, JSONValue> = [
      "schemaVersion": JSONValue(schemaVersion), "command": JSONValue(command),
    ]
    for (key, value) in members {
      precondition(document[key] == nil, "The member “\(key)” is every document's own")
      document[key] = value
    }
    return .object(document)
  }

  /// The text of a document, with the end of its line.
  package static func text(command: String, _ body: JSONValue) -> String {
    document(command: command, body).rendered(.pretty) + "\n"
  }

  /// Prints a document, whole, on one of the process's streams.
  package static func write(
    command: String, _ body: JSONValue, to stream: Terminal = .standardOutput
  ) throws(Errno) {
    try stream.writeAll(text(command: command, body))
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScaleCUDA
import OrderedCollections
import Safetensors

extension KernelPreparation {
  static let columns: [TextTable.Column] = [
    .init("Kernel"), .init("PTX text", .right), .init("Compiled", .right), .init("Again", .right),
    .init("From"),
  ]

  /// The texts of a table's row.
  var cells: [String] {
    func milliseconds(_ seconds: Double) -> String {
      "\(DecimalText.fixed(seconds * 1e3, digits: 2)) ms"
    }
    return [
      name, textSeconds.map(milliseconds) ?? "–", milliseconds(compileSeconds),
      milliseconds(loadSeconds), origin.source.rawValue,
    ]
  }

  var value: JSONValue {
    var members: OrderedDictionary<String, JSONValue> = ["name": JSONValue(name)]
    if let textSeconds { members["textSeconds"] = JSONValue(textSeconds) }
    members["compileSeconds"] = JSONValue(compileSeconds)
    members["loadSeconds"] = JSONValue(loadSeconds)
    members["loadedFrom"] = JSONValue(origin.source.rawValue)
    return .object(members)
  }
}

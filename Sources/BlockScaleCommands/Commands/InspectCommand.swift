// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BlockScale
import Checkpoints
import OrderedCollections
import Safetensors

struct InspectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect", abstract: "Show what a checkpoint holds.")

  @OptionGroup var input: QuantizedInput

  @Flag(name: .long, help: "Print the result as JSON.")
  var json = false

  func run() throws {
    let inspection = try Inspection(try input.open())
    if json {
      try JSONOutput.write(command: "inspect", document(inspection))
    } else {
      Terminal.standardOutput.write(text(inspection))
    }
  }

  private func document(_ inspection: Inspection) -> JSONValue {
    var members: OrderedDictionary<String, JSONValue> = [
      "path": JSONValue(input.input),
      "layout": inspection.layout.map { JSONValue($0.rawValue) } ?? .null,
    ]
    if let recipe = inspection.recipe { members["recipe"] = JSONValue(recipe.rawValue) }
    members["files"] = .array(inspection.files.map { JSONValue($0) })
    members["bytes"] = JSONValue(inspection.tensors.reduce(0) { $0 + $1.bytes })
    members["tensors"] = .array(
      inspection.tensors.map { tensor in
        var members: OrderedDictionary<String, JSONValue> = [
          "name": JSONValue(tensor.name), "format": JSONValue(tensor.format),
          "shape": .array(tensor.shape.map { JSONValue($0) }), "bytes": JSONValue(tensor.bytes),
        ]
        if tensor.scales > 0 { members["scales"] = JSONValue(tensor.scales) }
        if let scale = tensor.tensorScale { members["tensorScale"] = JSONValue(Double(scale)) }
        members["file"] = JSONValue(tensor.file)
        return .object(members)
      })
    return .object(members)
  }

  private func text(_ inspection: Inspection) -> String {
    var table = TextTable([
      .init("Tensor"), .init("Format"), .init("Shape"), .init("Bytes", .right),
      .init("Tensor scale", .right),
    ])
    var totals: OrderedDictionary<String, (count: Int, bytes: Int)> = [:]
    for tensor in inspection.tensors {
      table.addRow([
        tensor.name, tensor.format, tensor.shape.map(String.init).joined(separator: "x"),
        ByteText.bytes(tensor.bytes), tensor.tensorScale.map { ByteText.small(Double($0)) } ?? "",
      ])
      totals[tensor.format, default: (0, 0)].count += 1
      totals[tensor.format, default: (0, 0)].bytes += tensor.bytes
    }
    let sums = totals.map { "\($1.count) \($0) (\(ByteText.bytes($1.bytes)))" }
    let layout = inspection.layout.map { "layout \($0.rawValue)" } ?? "not quantized"
    let recipe = inspection.recipe.map { ", recipe \($0.rawValue)" } ?? ""
    return table.render() + """

      \(input.input): \(layout)\(recipe); \(inspection.files.count) \
      file\(inspection.files.count == 1 ? "" : "s"); \(sums.joined(separator: ", ")).

      """
  }
}

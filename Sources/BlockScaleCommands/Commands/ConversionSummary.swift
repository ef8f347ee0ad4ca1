// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Checkpoints
import OrderedCollections
import Safetensors

/// The result of a conversion, as it is printed.
struct ConversionSummary {
  var command: String
  var output: String
  var tensors: [TensorReport]
  var seconds: Double
  /// Options to repeat, in order.
  var details: [(name: String, value: String)]

  private var bytesBefore: Int { tensors.reduce(0) { $0 + $1.bytesBefore } }
  private var bytesAfter: Int { tensors.reduce(0) { $0 + $1.bytesAfter } }

  func print(_ options: ReportOptions) throws {
    if options.json { return try JSONOutput.write(command: command, json) }
    if options.quiet { return }
    Terminal.standardOutput.write(text)
  }

  private var json: JSONValue {
    var members: OrderedDictionary<String, JSONValue> = ["output": JSONValue(output)]
    for detail in details { members[detail.name] = JSONValue(detail.value) }
    members["bytesBefore"] = JSONValue(bytesBefore)
    members["bytesAfter"] = JSONValue(bytesAfter)
    members["seconds"] = JSONValue(seconds)
    members["tensors"] = .array(tensors.map(\.json))
    return .object(members)
  }

  private var text: String {
    var table = TextTable([
      .init("Tensor"), .init("Shape"), .init("Result"), .init("SQNR", .right),
      .init("Saturated", .right), .init("Underflowed", .right),
    ])
    let converted = tensors.filter { $0.action != .copied }
    for tensor in converted {
      let error = tensor.error
      table.addRow([
        tensor.name, tensor.shape.map(String.init).joined(separator: "x"), tensor.format,
        error.map { ByteText.sqnr($0.sqnr) } ?? "exact",
        error.map { String($0.saturatedCount) } ?? "",
        error.map { String($0.underflowedCount) } ?? "",
      ])
    }
    var lines = table.render()
    let left = Self.leftTensors(tensors)
    if !left.isEmpty { lines += "\nLeft as they are: \(left).\n" }
    let notes = converted.flatMap { tensor in
      tensor.notes.filter { !$0.hasPrefix("shares") }.map { "\(tensor.name): \($0)." }
    }
    if !notes.isEmpty { lines += notes.joined(separator: "\n") + "\n" }
    let ratios = converted.compactMap { $0.error?.sqnr }.sorted()
    if let worst = ratios.first {
      lines +=
        "\nSQNR: worst \(ByteText.sqnr(worst)), median "
        + "\(ByteText.sqnr(ratios[ratios.count / 2])).\n"
    }
    let choices = details.map { "\($0.name) \($0.value)" }.joined(separator: ", ")
    lines +=
      "\(output): \(choices); \(converted.count) of \(tensors.count) tensors, "
      + "\(ByteText.bytes(bytesBefore)) to \(ByteText.bytes(bytesAfter)) in "
      + "\(ByteText.seconds(seconds)).\n"
    return lines
  }

  /// How many tensors were copied, and why.
  private static func leftTensors(_ tensors: [TensorReport]) -> String {
    var counts: OrderedDictionary<String, Int> = [:]
    for tensor in tensors where tensor.action == .copied {
      counts[tensor.notes.first ?? "not quantized", default: 0] += 1
    }
    return counts.map { "\($1) (\($0))" }.joined(separator: ", ")
  }
}

// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import OrderedCollections
package import Safetensors

/// What a conversion did to one parameter.
public struct TensorReport: Sendable, Hashable {
  /// What became of a parameter.
  public enum Action: String, Sendable, Hashable {
    /// Copied byte for byte.
    case copied
    /// Quantized from its values.
    case quantized
    /// Decoded to values.
    case dequantized
    /// Stored in another layout with the same values, unless the notes say otherwise.
    case converted
  }

  /// The parameter.
  public var name: String
  /// What was done.
  public var action: Action
  /// The format of the result: a scheme, or a data type.
  public var format: String
  /// The shape of the parameter.
  public var shape: [Int]
  /// The stored bytes before and after.
  public var bytesBefore: Int
  /// The stored bytes after.
  public var bytesAfter: Int
  /// The distance of the result from its source; nil where nothing was rounded.
  public var error: ErrorMetrics?
  /// Why a parameter was left, or what else there is to know.
  public var notes: [String] = []
}

extension TensorReport {
  package var json: JSONValue {
    var members: OrderedDictionary<String, JSONValue> = [
      "name": JSONValue(name), "action": JSONValue(action.rawValue), "format": JSONValue(format),
      "shape": .array(shape.map { JSONValue($0) }), "bytesBefore": JSONValue(bytesBefore),
      "bytesAfter": JSONValue(bytesAfter),
    ]
    if let error { members["error"] = error.json }
    if !notes.isEmpty { members["notes"] = .array(notes.map { JSONValue($0) }) }
    return .object(members)
  }

  package init?(json: JSONValue) {
    guard let name = json["name"]?.stringValue,
      let action = json["action"]?.stringValue.flatMap(Action.init(rawValue:)),
      let format = json["format"]?.stringValue, let shape = json["shape"]?.arrayValue,
      let bytesBefore = json["bytesBefore"]?.intValue, let bytesAfter = json["bytesAfter"]?.intValue
    else { return nil }
    self.init(
      name: name, action: action, format: format, shape: shape.compactMap(\.intValue),
      bytesBefore: bytesBefore, bytesAfter: bytesAfter,
      error: json["error"].flatMap { ErrorMetrics(json: $0) },
      notes: json["notes"]?.arrayValue?.compactMap(\.stringValue) ?? [])
  }
}

extension ErrorMetrics {
  /// The sums, and the ratios that people read.
  ///
  /// An infinite ratio, of an exact result, is null.
  package var json: JSONValue {
    [
      "count": JSONValue(count), "sqnr": sqnr.isFinite ? JSONValue(sqnr) : .null,
      "nmse": nmse.isFinite ? JSONValue(nmse) : .null,
      "maximumError": JSONValue(Double(maximumError)), "saturated": JSONValue(saturatedCount),
      "underflowed": JSONValue(underflowedCount), "nonFinite": JSONValue(nonFiniteCount),
      "signalPower": JSONValue(signalPower), "errorPower": JSONValue(errorPower),
    ]
  }

  package init?(json: JSONValue) {
    guard let count = json["count"]?.intValue, let signal = json["signalPower"]?.doubleValue,
      let error = json["errorPower"]?.doubleValue,
      let maximum = json["maximumError"]?.doubleValue
    else { return nil }
    self.init()
    self.count = count
    signalPower = signal
    errorPower = error
    maximumError = Float(maximum)
    saturatedCount = json["saturated"]?.intValue ?? 0
    underflowedCount = json["underflowed"]?.intValue ?? 0
    nonFiniteCount = json["nonFinite"]?.intValue ?? 0
  }
}

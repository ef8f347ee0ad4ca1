// SPDX-License-Identifier: Apache-2.0

import BlockScaleCUDA
import OrderedCollections
import Safetensors

/// A benchmark's time, and what follows from it.
struct Measured {
  let group: String
  let name: String
  let work: GPUBenchmark.Work
  let seconds: Double
  /// Bytes that a copy in the same run reads and writes in a second.
  let copy: Double
  /// Over the last release's figure.
  var ratioToRelease: Double?

  /// Bytes or operations in a second.
  var rate: Double {
    switch work {
    case .bytes(let count), .operations(let count): Double(count) / seconds
    }
  }

  /// What releases are compared by: the share of a copy, or operations in a second.
  var figure: Double {
    switch work {
    case .bytes: rate / copy
    case .operations: rate
    }
  }

  /// The texts of a table's row.
  var cells: [String] {
    let time = "\(DecimalText.fixed(seconds * 1e6, digits: 1)) us"
    let release = ratioToRelease.map { DecimalText.fixed($0, digits: 3) } ?? "–"
    switch work {
    case .bytes:
      return [
        name, time, "\(DecimalText.fixed(rate / 1e9, digits: 1)) GB/s",
        "\(DecimalText.fixed(100 * figure, digits: 1)) %", release,
      ]
    case .operations:
      return [name, time, "\(DecimalText.fixed(rate / 1e12, digits: 1)) TFLOP/s", "–", release]
    }
  }

  static let columns: [TextTable.Column] = [
    .init("Benchmark"), .init("Time", .right), .init("Rate", .right), .init("Of copy", .right),
    .init("To release", .right),
  ]

  var value: JSONValue {
    var members: OrderedDictionary<String, JSONValue> = [
      "group": JSONValue(group), "name": JSONValue(name), "seconds": JSONValue(seconds),
    ]
    switch work {
    case .bytes:
      members["bytesPerSecond"] = JSONValue(rate)
      members["shareOfCopy"] = JSONValue(figure)
    case .operations:
      members["operationsPerSecond"] = JSONValue(rate)
    }
    if let ratioToRelease { members["ratioToRelease"] = JSONValue(ratioToRelease) }
    return .object(members)
  }
}

/// The rows of one run and the device that they are of.
struct BenchmarkRun {
  let device: String
  /// Bytes that a copy reads and writes in a second.
  let copy: Double
  let rows: [Measured]
  /// What the kernels of the rows cost before their first launch; none on a CPU.
  var kernels: [KernelPreparation] = []

  var text: String {
    var table = TextTable(Measured.columns)
    for row in rows { table.addRow(row.cells) }
    var text = "\(device), copy \(DecimalText.fixed(copy / 1e9, digits: 1)) GB/s\n" + table.render()
    if !kernels.isEmpty {
      var table = TextTable(KernelPreparation.columns)
      for kernel in kernels { table.addRow(kernel.cells) }
      text += "\nBefore the first launch\n" + table.render()
    }
    return text
  }

  var value: JSONValue {
    .object([
      "device": JSONValue(device), "copyBytesPerSecond": JSONValue(copy),
      "results": .array(rows.map(\.value)), "kernels": .array(kernels.map(\.value)),
    ])
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScaleCUDA
import CUDADriver
import OrderedCollections
import Safetensors

/// Where the kernels of a run came from, and how long that took.
struct KernelLoads {
  private let loads: [KernelLoad]
  private let cache: ModuleCache?

  init(_ loads: [KernelLoad], cache: ModuleCache?) {
    self.loads = loads
    self.cache = cache
  }

  /// The kernels of one source and their time.
  private func sum(_ source: KernelSource) -> (count: Int, seconds: Double) {
    let chosen = loads.filter { $0.origin.source == source }
    return (chosen.count, chosen.reduce(0) { $0 + $1.seconds })
  }

  /// A line, and one for each reason not to keep a kernel.
  var text: String {
    let parts = KernelSource.allCases.compactMap { source -> String? in
      let (count, seconds) = sum(source)
      guard count > 0 else { return nil }
      let words =
        switch source {
        case .compiled: "compiled"
        case .cached: "from \(cache.map { "\($0.directory)" } ?? "a cache")"
        case .driver: "by the driver and its cache"
        }
      return "\(count) \(words) in \(DecimalText.fixed(seconds, digits: 2)) s"
    }
    let list = parts.isEmpty ? "" : ": \(parts.joined(separator: ", "))"
    return "\(loads.count) kernels\(list)\n" + reasons.map { "Not kept: \($0)\n" }.joined()
  }

  /// Why kernels were not kept, each reason once.
  private var reasons: [String] {
    loads.reduce(into: []) { reasons, load in
      if cache != nil, case .notCached(let reason) = load.origin, !reasons.contains(reason) {
        reasons.append(reason)
      }
    }
  }

  var value: JSONValue {
    var members: OrderedDictionary<String, JSONValue> = [
      "cache": cache.map { JSONValue("\($0.directory)") } ?? .null
    ]
    for source in KernelSource.allCases {
      let (count, seconds) = sum(source)
      members[source.rawValue] = .object(["count": JSONValue(count), "seconds": JSONValue(seconds)])
    }
    if !reasons.isEmpty { members["notKept"] = .array(reasons.map { JSONValue($0) }) }
    return .object(members)
  }
}

/// What documents call the origins of kernels.
enum KernelSource: String, CaseIterable {
  case compiled, cached, driver
}

extension ModuleCache.Origin {
  var source: KernelSource {
    switch self {
    case .cache: .cached
    case .driver: .driver
    case .compiled, .notCached: .compiled
    }
  }
}

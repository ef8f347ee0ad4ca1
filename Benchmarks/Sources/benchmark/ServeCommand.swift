// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
@_spi(Benchmarking) import BlockScaleCPU

/// Answers one request a line, so that a script can time this process and a peer by turns.
struct ServeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve",
    abstract: "Time operations on request: the other half of peers.py.",
    discussion: """
      Requests on standard input, one a line; answers on standard output:
        prepare NAME OPERATION M N K [TIER]   makes data and answers `ready TIER THREADS`
        run NAME COUNT                        answers the median of COUNT runs in seconds
        ceiling [TIER]                        answers operations a second
      OPERATION is one of those that `benchmark product --help` lists.
      """)

  func run() throws {
    var cases: [String: ProductCase] = [:]
    while let line = readLine() {
      let words = line.split(separator: " ").map(String.init)
      switch words.first {
      case "prepare" where words.count >= 6:
        let backend =
          try words.count > 6 ? CPUBackend(tier: Self.tier(words[6])) : CPUBackend()
        guard let operation = ProductOperation(rawValue: words[2]), let m = Int(words[3]),
          let n = Int(words[4]), let k = Int(words[5])
        else { throw ValidationError("This is no request: \(line)") }
        cases[words[1]] = try ProductCase(operation, m: m, n: n, k: k, backend: backend)
        print("ready \(backend.tier) \(backend.threads)")
      case "run" where words.count == 3:
        guard let work = cases[words[1]], let count = Int(words[2]) else {
          throw ValidationError("This is no request: \(line)")
        }
        print(try median(count) { try work.run() })
      case "ceiling":
        let backend =
          try words.count > 1 ? CPUBackend(tier: Self.tier(words[1])) : CPUBackend()
        print(backend.productCeiling())
      default: throw ValidationError("This is no request: \(line)")
      }
      flushOutput()
    }
  }

  private static func tier(_ name: String) throws -> CPUTier {
    guard let tier = CPUTier(rawValue: name) else {
      throw ValidationError("There is no tier '\(name)'.")
    }
    return tier
  }
}

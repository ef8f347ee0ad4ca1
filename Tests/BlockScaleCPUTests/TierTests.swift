// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import Foundation
import Testing

@Suite struct TierTests {
  @Test func theFastestTierIsTheDefault() {
    let tiers = CPUTier.available
    #expect(tiers.first == .portable)
    #expect(tiers == tiers.sorted())
    let fastest = CPUTier.fastest
    #expect(CPUBackend().tier == fastest)
    #expect(tiers.contains(fastest))
    // Products of BF16 with AVX-512 are passed over where FP32's are quicker.
    #expect(tiers.allSatisfy { $0 <= fastest || fastest == .avx512 && $0 == .avx512BF16 })
    print("tiers of this machine: \(tiers.map(\.rawValue).joined(separator: ", "))")
    print("the fastest: \(fastest)")
  }

  /// Whoever holds a process to some processors gets no more threads.
  @Test func threadsAreThoseOfTheProcess() throws {
    #expect(CPUBackend().threads == CPUBackend.processorCount)
    #if os(Linux)
      // "Cpus_allowed_list:	0-3,8", from Linux's proc_pid_status(5).
      let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
      let line = try #require(
        status.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed_list:") })
      let ranges = try #require(line.split(separator: "\t").last).split(separator: ",")
      let counts = try ranges.map { range in
        let ends = range.split(separator: "-").compactMap { Int($0) }
        return try #require(ends.last) - #require(ends.first) + 1
      }
      #expect(CPUBackend.processorCount == counts.reduce(0, +))
    #endif
  }

  @Test func aTierThatIsLackingIsNamed() throws {
    let lacking = try #require(CPUTier.allCases.first { !CPUTier.available.contains($0) })
    #expect {
      try CPUBackend(tier: lacking)
    } throws: { error in
      "\(error)".contains("has no tier '\(lacking)'")
    }
  }
}

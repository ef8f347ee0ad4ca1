// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import Testing

@Suite struct TierTests {
  @Test func theFastestTierIsTheDefault() {
    let tiers = CPUTier.available
    #expect(tiers.first == .portable)
    #expect(tiers == tiers.sorted())
    #expect(CPUBackend().tier == tiers.last)
    print("tiers of this machine: \(tiers.map(\.rawValue).joined(separator: ", "))")
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

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
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

  @Test func aTierThatIsLackingIsNamed() throws {
    let lacking = try #require(CPUTier.allCases.first { !CPUTier.available.contains($0) })
    #expect {
      try CPUBackend(tier: lacking)
    } throws: { error in
      "\(error)".contains("has no tier '\(lacking)'")
    }
  }
}

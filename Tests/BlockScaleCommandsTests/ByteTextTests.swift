// SPDX-License-Identifier: Apache-2.0

import BlockScaleCommands
import Testing

@Suite struct ByteTextTests {
  @Test(arguments: [
    (0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (999_994, "999.99 kB"), (999_996, "1.00 MB"),
    (1_970_000_000, "1.97 GB"), (141_107_412_992, "141.11 GB"), (2_000_000_000_000, "2.00 TB"),
    (Int.max, "9.22 EB"), (-1500, "-1.50 kB"),
  ])
  func bytes(_ count: Int, _ expected: String) {
    #expect(ByteText.bytes(count) == expected)
  }

  @Test(arguments: [
    (0, "0 ms"), (0.0404, "40 ms"), (0.0951, "0.1 s"), (3.24, "3.2 s"), (59.94, "59.9 s"),
    (59.96, "1 min 00 s"), (65, "1 min 05 s"), (3599.4, "59 min 59 s"), (3599.6, "1 h 00 min"),
    (7380, "2 h 03 min"), (.infinity, "–"), (.nan, "–"), (-1, "0 ms"),
  ])
  func seconds(_ seconds: Double, _ expected: String) {
    #expect(ByteText.seconds(seconds) == expected)
  }

  @Test func parts() {
    #expect(ByteText.bytes(870_000_000, of: 2_000_000_000) == "0.87/2.00 GB")
    #expect(ByteText.bytes(3, of: 12) == "3/12 B")
    #expect(ByteText.bytes(0, of: 0) == "0/0 B")
  }

  @Test func rates() {
    #expect(ByteText.rate(bytes: 1_240_000_000, seconds: 2) == "620.00 MB/s")
    #expect(ByteText.rate(bytes: 9997, seconds: 10) == "1.00 kB/s")
    #expect(ByteText.rate(bytes: 5, seconds: 0) == "– B/s")
  }

  @Test func errorsAndShares() {
    #expect(ByteText.sqnr(20.4349) == "20.43 dB")
    #expect(ByteText.sqnr(.infinity) == "exact")
    #expect(ByteText.sqnr(-.infinity) == "-inf dB")
    #expect(ByteText.sqnr(.nan) == "n/a")
    #expect(ByteText.small(0.00905) == "9.05e-03")
    #expect(ByteText.small(0) == "0")
    #expect(ByteText.percent(0.4321) == "43.2 %")
    #expect(ByteText.percent(0.005, digits: 0) == "0 %")
    #expect(ByteText.percent(.nan) == "n/a")
  }
}

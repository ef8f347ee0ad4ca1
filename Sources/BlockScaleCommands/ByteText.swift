// SPDX-License-Identifier: Apache-2.0

/// The words for quantities, as the command line prints them everywhere.
package enum ByteText {
  /// A count of bytes in decimal units: `512 B`, `1.97 GB`.
  package static func bytes(_ count: Int) -> String {
    bytes(Double(count))
  }

  /// Bytes per second: `620.00 MB/s`; a dash where no time has passed.
  package static func rate(bytes count: Int, seconds: Double) -> String {
    guard seconds > 0 else { return "– B/s" }
    return bytes(Double(count) / seconds) + "/s"
  }

  /// A duration: `40 ms`, `3.2 s`, `1 min 05 s`, `2 h 03 min`.
  package static func seconds(_ seconds: Double) -> String {
    guard seconds.isFinite, seconds < 1e15 else { return "–" }
    // Each bound is where the coarser unit's text would round to it, so that no "60.0 s" appears.
    if seconds < 0.095 { return DecimalText.fixed(max(seconds, 0) * 1000, digits: 0) + " ms" }
    if seconds < 59.95 { return DecimalText.fixed(seconds, digits: 1) + " s" }
    if seconds < 3599.5 {
      let whole = Int(seconds.rounded())
      return "\(whole / 60) min \(padded(whole % 60)) s"
    }
    let minutes = Int((seconds / 60).rounded())
    return "\(minutes / 60) h \(padded(minutes % 60)) min"
  }

  /// A signal-to-quantization-noise ratio: `20.43 dB`, or `exact` where nothing differs.
  package static func sqnr(_ decibels: Double) -> String {
    if decibels == .infinity { return "exact" }
    return decibels.isNaN ? "n/a" : DecimalText.fixed(decibels, digits: 2) + " dB"
  }

  /// A small number, such as an error: `9.05e-03`, and plain `0` for zero.
  package static func small(_ value: Double) -> String {
    value == 0 ? "0" : DecimalText.scientific(value, digits: 3)
  }

  /// A fraction of one as a percentage: `43.2 %`.
  package static func percent(_ fraction: Double, digits: Int = 1) -> String {
    fraction.isNaN ? "n/a" : DecimalText.fixed(fraction * 100, digits: digits) + " %"
  }

  private static func bytes(_ count: Double) -> String {
    // Below a kilobyte there are no fractions, and 999.7 bytes a second round to the next unit.
    if count.magnitude < 999.5 { return DecimalText.fixed(count, digits: 0) + " B" }
    var scaled = count / 1000
    var units = ["kB", "MB", "GB", "TB", "PB", "EB"][...]
    while scaled.magnitude >= 999.995, units.count > 1 {
      scaled /= 1000
      units.removeFirst()
    }
    return DecimalText.fixed(scaled, digits: 2) + " " + units.first!
  }

  private static func padded(_ value: Int) -> String {
    value < 10 ? "0\(value)" : "\(value)"
  }
}

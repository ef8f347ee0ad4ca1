// SPDX-License-Identifier: Apache-2.0

/// The words for quantities, as the command line prints them everywhere.
package enum ByteText {
  /// A count of bytes in decimal units: `512 B`, `1.97 GB`.
  package static func bytes(_ count: Int) -> String {
    bytes(Double(count))
  }

  /// A part of a count of bytes, in the unit of the whole: `0.87/2.00 GB`.
  package static func bytes(_ part: Int, of whole: Int) -> String {
    let (divisor, unit) = scale(Double(whole))
    let digits = divisor == 1 ? 0 : 2
    return DecimalText.fixed(Double(part) / divisor, digits: digits) + "/"
      + DecimalText.fixed(Double(whole) / divisor, digits: digits) + " " + unit
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
    let (divisor, unit) = scale(count)
    return DecimalText.fixed(count / divisor, digits: divisor == 1 ? 0 : 2) + " " + unit
  }

  /// The unit in which a count is less than a thousand, once it is rounded.
  private static func scale(_ count: Double) -> (divisor: Double, unit: String) {
    // Below a kilobyte there are no fractions.
    if count.magnitude < 999.5 { return (1, "B") }
    var divisor = 1000.0
    for unit in ["kB", "MB", "GB", "TB", "PB"] {
      if count.magnitude / divisor < 999.995 { return (divisor, unit) }
      divisor *= 1000
    }
    return (divisor, "EB")
  }

  private static func padded(_ value: Int) -> String {
    value < 10 ? "0\(value)" : "\(value)"
  }
}

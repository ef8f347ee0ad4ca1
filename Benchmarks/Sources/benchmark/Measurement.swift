// SPDX-License-Identifier: Apache-2.0

import Dispatch
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// Runs a piece of work and returns the seconds that it took and the most memory of its own that it
/// had: anonymous pages, without files that are mapped.
func measured(_ body: () throws -> Void) rethrows -> (seconds: Double, ownBytes: Int) {
  let isRunning = Atomic<Bool>(true)
  let most = Mutex(0)
  let sampler = DispatchQueue(label: "sampler")
  let done = DispatchSemaphore(value: 0)
  sampler.async {
    while isRunning.load(ordering: .relaxed) {
      let now = ownBytes()
      most.withLock { $0 = max($0, now) }
      usleep(2_000)
    }
    done.signal()
  }
  let start = ContinuousClock.now
  defer {
    isRunning.store(false, ordering: .relaxed)
    done.wait()
  }
  try body()
  return (start.duration(to: .now) / .seconds(1), most.withLock { $0 })
}

/// The anonymous resident memory of this process, from /proc.
private func ownBytes() -> Int {
  guard let file = fopen("/proc/self/status", "r") else { return 0 }
  defer { fclose(file) }
  var line = [CChar](repeating: 0, count: 256)
  while fgets(&line, 256, file) != nil {
    let text = line.prefix { $0 != 0 }.map { Character(UnicodeScalar(UInt8(bitPattern: $0))) }
    guard String(text).hasPrefix("RssAnon:") else { continue }
    return (Int(String(text.filter(\.isNumber))) ?? 0) * 1024
  }
  return 0
}

/// A number with a fixed count of decimals, padded on the left.
func column(_ value: Double, _ decimals: Int, _ width: Int = 8) -> String {
  var scale = 1.0
  for _ in 0..<decimals { scale *= 10 }
  let rounded = Int((value * scale).rounded())
  var digits = String(rounded.magnitude)
  while digits.count <= decimals { digits = "0" + digits }
  if decimals > 0 {
    digits.insert(".", at: digits.index(digits.endIndex, offsetBy: -decimals))
  }
  if rounded < 0 { digits = "-" + digits }
  return String(repeating: " ", count: max(0, width - digits.count)) + digits
}

/// The median time of `count` runs in seconds, after one that is not counted.
func median(_ count: Int, _ body: () throws -> Void) rethrows -> Double {
  try body()
  var times: [Double] = []
  for _ in 0..<count {
    let start = ContinuousClock.now
    try body()
    times.append(start.duration(to: .now) / .seconds(1))
  }
  return middle(times)
}

/// The median of some numbers, of which there is at least one.
func middle(_ numbers: [Double]) -> Double { numbers.sorted()[numbers.count / 2] }

/// A word with spaces after it.
func padded(_ word: String, _ width: Int) -> String {
  word + String(repeating: " ", count: max(0, width - word.count))
}

/// Writes what has been printed.
func flushOutput() {
  fflush(nil)
}

// SPDX-License-Identifier: Apache-2.0

/// The architecture that a PTX text's `.target` line names.
struct PTXTarget: Hashable {
  /// Which GPUs run the code.
  enum Reach: Hashable {
    /// Those of this architecture and of later ones.
    case forward
    /// Those of this architecture's family (suffix "f").
    case family
    /// Those of this architecture alone (suffix "a").
    case exact
  }

  /// The name, for example "sm_90a".
  var name: String
  var number: Int
  var reach: Reach

  /// Reads the first `.target` line, or is nil where there is none that can be read.
  init?(ptx: String) {
    for line in ptx.utf8.split(separator: UInt8(ascii: "\n")) {
      let words = line.split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
      guard words.first?.elementsEqual(".target".utf8) == true, words.count > 1 else { continue }
      let name = String(Substring(words[1])).prefix {
        $0.isLetter || $0.isNumber || $0 == "_"
      }
      guard name.hasPrefix("sm_") else { return nil }
      var digits = name.dropFirst(3)
      switch digits.last {
      case "a":
        reach = .exact
        digits.removeLast()
      case "f":
        reach = .family
        digits.removeLast()
      default: reach = .forward
      }
      guard let number = Int(digits) else { return nil }
      self.name = String(name)
      self.number = number
      return
    }
    return nil
  }

  /// Throws where a device cannot run the code, which the driver would say less clearly.
  func check(on device: Device) throws(CUDAError) {
    let own = device.computeCapability
    let runs =
      switch reach {
      case .forward: number <= own.targetNumber
      case .family: number / 10 == own.major && number <= own.targetNumber
      case .exact: number == own.targetNumber
      }
    guard !runs else { return }
    throw CUDAError(
      .foreignArchitecture,
      "The PTX is for \(name), and \(device.name) is of compute capability \(own)",
      advice: reach == .forward
        ? "Code for an older architecture runs; render the kernel for sm_\(own.targetNumber)."
        : "Targets with a suffix run on no other architecture; render the kernel for this one.")
  }
}

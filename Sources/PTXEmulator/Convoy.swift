// SPDX-License-Identifier: Apache-2.0

import PTX

/// What the four warps of a warpgroup must do alike, in order.
struct Convoy {
  struct Entry {
    /// The step, and descriptors that must be the same.
    var counter: Int
    var values: [UInt64]
    var line: SourceLine
  }

  /// Entries that not all four have passed.
  private(set) var entries: [Entry] = []
  private var dropped = 0
  private var passed = [0, 0, 0, 0]

  /// A warp does an entry; returns another's entry that stands in its place, if one does.
  mutating func pass(_ warp: Int, _ entry: Entry) -> Entry? {
    let index = passed[warp] - dropped
    if index < entries.count {
      guard entries[index].counter == entry.counter, entries[index].values == entry.values else {
        return entries[index]
      }
    } else {
      entries.append(entry)
    }
    passed[warp] += 1
    let common = passed.min() ?? 0
    if common > dropped {
      entries.removeFirst(common - dropped)
      dropped = common
    }
    return nil
  }

  /// What others have done and a warp has not.
  func missing(_ warp: Int) -> Entry? {
    let index = passed[warp] - dropped
    return index < entries.count ? entries[index] : nil
  }
}

extension Warp {
  /// Requires that the four warps of the warpgroup execute the same instruction with the same values.
  func joinConvoy(_ mask: UInt32, _ what: String, _ values: [UInt64] = []) throws(Fault) {
    try requireConvergence(mask, what)
    let group = index / 4
    let members = block.warps.filter { $0.index / 4 == group }
    guard members.count == 4, mask == ~0 else {
      throw Fault(
        .divergentCollective,
        "executes \(what) in a warpgroup of \(members.count) warps; it needs 4")
    }
    if let ended = members.first(where: { $0.isFinished && $0.index != index }),
      block.convoys[group].missing(index % 4) == nil
    {
      throw Fault(
        .divergentCollective,
        "executes \(what), which warp \(ended.index) of its warpgroup ended without")
    }
    let entry = Convoy.Entry(counter: counter, values: values, line: line)
    if let other = block.convoys[group].pass(index % 4, entry) {
      throw Fault(
        .divergentCollective,
        other.counter == counter
          ? "executes \(what) with other descriptors than another warp of its warpgroup"
          : "executes \(what) where another warp of its warpgroup executes that of \(other.line)")
    }
  }
}

extension Block {
  /// A warp that ends must have done what its warpgroup did.
  func checkConvoys(after warp: Warp) throws(Fault) {
    if let missing = convoys[warp.index / 4].missing(warp.index % 4) {
      throw Fault(
        .divergentCollective,
        "ends without an instruction that other warps of its warpgroup executed",
        line: missing.line)
    }
  }
}

extension Decoder {
  mutating func decodeRegisterLimit(_ count: Int, _ increasing: Bool) -> Work {
    if !(24...256).contains(count) || count % 8 != 0 {
      report("sets \(count) registers a thread; multiples of 8 from 24 to 256 are possible")
    }
    return { (warp, mask) throws(Fault) in
      if !warp.resumes { try warp.joinConvoy(mask, "`setmaxnreg`") }
      let difference = count - warp.registerLimit
      guard increasing ? difference >= 0 : difference <= 0 else {
        throw Fault(
          .registerPool,
          "\(increasing ? "raises" : "lowers") its registers from \(warp.registerLimit) to \(count)"
        )
      }
      guard difference * 32 <= warp.block.freeRegisters else {
        warp.resumes = true
        warp.wait = .registers(difference * 32)
        return .wait
      }
      warp.block.freeRegisters -= difference * 32
      warp.registerLimit = count
      return .done
    }
  }
}

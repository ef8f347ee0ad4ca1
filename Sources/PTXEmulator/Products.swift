// SPDX-License-Identifier: Apache-2.0

import Minifloat
import PTX

/// One warp's part of a matrix product: 16 of the 64 rows.
struct PendingProduct {
  var line: SourceLine
  /// Slots that no other instruction may touch.
  var slots: [Int]
  /// What it reads of the block's shared memory.
  var ranges: [Range<Int>]
  /// Nothing when it was done at once.
  var perform: (() -> Void)?
}

/// A warp's matrix products in flight.
struct ProductState {
  /// How many products in flight have each register.
  private var holds: [UInt16]
  /// Registers of products that were written since the last fence.
  private var isDirty: [Bool]
  private var hasFenced = false
  private var open: [PendingProduct] = []
  private var groups: [[PendingProduct]] = []

  init(slotCount: Int) {
    holds = Array(repeating: 0, count: slotCount)
    isDirty = Array(repeating: false, count: slotCount)
  }

  var unfinished: PendingProduct? { open.first ?? groups.lazy.flatMap { $0 }.first }

  /// The first of these registers that a product in flight has.
  func held(_ slots: [Int]) -> Int? {
    if open.isEmpty && groups.isEmpty { return nil }
    return slots.first { holds[$0] > 0 }
  }

  mutating func markWritten(_ slots: [Int]) {
    for slot in slots { isDirty[slot] = true }
  }

  mutating func fence() {
    hasFenced = true
    for slot in isDirty.indices { isDirty[slot] = false }
  }

  func checkFence(_ slots: [Int], _ names: [String]) throws(Fault) {
    guard hasFenced else {
      throw Fault(.missingProductFence, "multiplies matrices without `wgmma.fence` before")
    }
    if let slot = slots.first(where: { isDirty[$0] }) {
      throw Fault(
        .missingProductFence,
        "multiplies matrices with register \(names[slot]), which was written without `wgmma.fence` after it"
      )
    }
  }

  mutating func add(_ product: PendingProduct) {
    for slot in product.slots { holds[slot] += 1 }
    open.append(product)
  }

  mutating func commit() {
    groups.append(open)
    open = []
  }

  /// Removes and returns all groups but the latest.
  mutating func take(keeping count: Int) -> [PendingProduct] {
    guard groups.count > count else { return [] }
    let done = groups.prefix(groups.count - count).flatMap { $0 }
    groups.removeFirst(groups.count - count)
    for product in done {
      for slot in product.slots { holds[slot] -= 1 }
    }
    return done
  }
}

extension Warp {
  /// Requires that no product in flight has these registers.
  func touch(_ slots: [Int]) throws(Fault) {
    if let slot = products.held(slots) {
      throw Fault(
        .registerInFlight,
        "uses register \(block.launch.program.slotNames[slot]), which a matrix product in flight has; `wgmma.wait_group` must come before"
      )
    }
  }

  func waitForProducts(pending: Int) {
    for product in products.take(keeping: pending) {
      product.perform?()
      for range in product.ranges { block.shared.finishRead(range, by: self) }
    }
  }
}

/// Sums of products as the tensor cores make them.
struct ProductKernel {
  let rows = 16
  let columns: Int
  let depth: Int
  /// Whether products are cut to 14 bits before they are summed.
  let truncates: Bool

  /// Adds the product of a matrix (rows by depth) and another (depth by columns) to sums (rows by
  /// columns).
  func add(_ a: Storage<Float>, _ b: Storage<Float>, to sums: Storage<Float>) {
    if truncates {
      addTruncated(a, b, to: sums)
      return
    }
    for row in 0..<rows {
      for k in 0..<depth {
        let factor = a[row * depth + k]
        for column in 0..<columns {
          sums[row * columns + column] += factor * b[k * columns + column]
        }
      }
    }
  }

  /// Hopper's FP8 sums keep about 14 bits: the products of one instruction and the sum so far are
  /// aligned to the largest of them, cut towards zero below 13 bits after its first, and added.
  private func addTruncated(_ a: Storage<Float>, _ b: Storage<Float>, to sums: Storage<Float>) {
    var products = [Float](repeating: 0, count: depth + 1)
    for row in 0..<rows {
      for column in 0..<columns {
        let old = sums[row * columns + column]
        products[depth] = old
        var largest: Float = old.magnitude
        var plain = old
        for k in 0..<depth {
          products[k] = a[row * depth + k] * b[k * columns + column]
          plain += products[k]
          largest = Swift.max(largest, products[k].magnitude)
        }
        guard plain.isFinite, largest > 0 else {
          sums[row * columns + column] = plain
          continue
        }
        let unit = Double(sign: .plus, exponent: Int(largest.exponent) - 13, significand: 1)
        var total = 0.0
        for product in products { total += (Double(product) / unit).rounded(.towardZero) }
        sums[row * columns + column] = Float(total * unit)
      }
    }
  }
}

extension MatrixProduct.Element {
  /// The value of a code, 8 or 16 bits.
  func decode(_ code: UInt16) -> Float {
    switch self {
    case .e4m3: Float8E4M3(bitPattern: UInt8(truncatingIfNeeded: code)).floatValue
    case .e5m2: Float8E5M2(bitPattern: UInt8(truncatingIfNeeded: code)).floatValue
    case .bf16: Float(FloatLayout.bfloat16.decode(code))
    case .f16: Float(FloatLayout.float16.decode(code))
    }
  }

  /// The values of all codes of eight bits, which matrices are mostly made of.
  var table: [Float]? {
    switch self {
    case .e4m3, .e5m2: (0..<256).map { decode($0) }
    case .bf16, .f16: nil
    }
  }

  var byteCount: Int { depth == 32 ? 1 : 2 }
}

// SPDX-License-Identifier: Apache-2.0

/// Four warps that multiply together on the tensor cores.
package final class Warpgroup {
  package let builder: KernelBuilder
  /// Among the warpgroups of its role; the same in all lanes.
  package let index: Value<UInt32>
  /// The warp's index in the warpgroup, and the lane's in its warp.
  package let warp: Value<UInt32>
  package let lane: Value<UInt32>
  /// Whether the thread is the warpgroup's first.
  package let isFirstThread: Value<Bool>

  /// Registers of sums that nobody holds, by their columns: two products that are not in flight
  /// together share theirs.
  private var idleSums: [Int: [[Register]]] = [:]
  /// Products that were committed, and the last of them that was waited for.
  private var committed = 0
  private var finished = 0

  init(_ k: KernelBuilder, index: Value<UInt32>) {
    builder = k
    self.index = index
    let thread = k.thread
    warp = (thread >> 5) & 3
    lane = k.lane
    isFirstThread = (thread & 127) .== 0
  }

  /// Whether no product is in flight.
  var isIdle: Bool { committed == finished }

  /// Waits for the threads of this warpgroup alone.
  package func barrier(file: String = #fileID, line: Int = #line) {
    builder.at(file, line)
    // Barrier 0 is that of the block.
    builder.append(.barrier(id: (index + 1).operand, threads: 128))
  }

  // MARK: Products

  /// Starts the product of 64 rows with the transpose of another tile, along the columns of both.
  package func multiply<Left: MatrixElement, Right: MatrixElement>(
    _ left: SharedTile<Left>, _ right: SharedTile<Right>, file: String = #fileID, line: Int = #line
  ) -> InFlight {
    let k = builder
    k.at(file, line)
    k.require(.wgmma)
    precondition(left.layout.rows == 64, "a warpgroup multiplies 64 rows at a time")
    precondition(
      left.depthSteps == right.depthSteps, "both operands are summed along their columns")
    precondition(
      right.layout.rows % 8 == 0 && right.layout.rows <= 256, "a product has 8, 16 to 256 columns")
    let columns = right.layout.rows
    let sums = idleSums[columns]?.popLast() ?? (0..<columns / 2).map { _ in k.register(.bits32) }
    let leftDescriptor = left.descriptor(), rightDescriptor = right.descriptor()
    let steps = (0..<left.depthSteps).map { (leftDescriptor.step($0), rightDescriptor.step($0)) }
    k.append(.wgmmaFence)
    for (index, step) in steps.enumerated() {
      k.append(
        .wgmma(
          MatrixProduct(
            columns: columns, leftElement: Left.matrixElement, rightElement: Right.matrixElement,
            sums: sums, left: .descriptor(step.0), right: step.1, adding: index > 0)))
    }
    k.append(.wgmmaCommit)
    committed += 1
    return InFlight(group: self, sums: sums, serial: committed)
  }

  fileprivate func finish(_ serial: Int) {
    precondition(serial > finished, "a product is waited for once, and in order")
    builder.append(.wgmmaWait(pending: committed - serial))
    finished = serial
  }

  fileprivate func giveBack(_ sums: [Register]) {
    idleSums[2 * sums.count, default: []].append(sums)
  }
}

/// A product that the tensor cores may still be working on: its sums cannot be read.
package struct InFlight: ~Copyable {
  private let group: Warpgroup
  private let sums: [Register]
  private let serial: Int

  fileprivate init(group: Warpgroup, sums: [Register], serial: Int) {
    self.group = group
    self.sums = sums
    self.serial = serial
  }

  /// Waits for the product; the tiles that it was made of are not read any more.
  package consuming func finished(file: String = #fileID, line: Int = #line) -> PartialProduct {
    group.builder.at(file, line)
    group.finish(serial)
    return PartialProduct(group: group, sums: sums)
  }
}

/// Sums of 64 rows, spread over the threads of a warpgroup.
///
/// The thread in lane `l` of warp `w` holds, for each eight columns, two neighbours (from `2(l % 4)`)
/// of row `16w + l / 4` and two of the row eight below.
package struct PartialProduct: ~Copyable {
  private let group: Warpgroup
  fileprivate let sums: [Register]

  fileprivate init(group: Warpgroup, sums: [Register]) {
    self.group = group
    self.sums = sums
  }

  deinit { group.giveBack(sums) }
}

/// FP32 sums of a multiple of 64 rows in the registers of a warpgroup, wave by wave of 64.
package struct WarpgroupTile {
  package let group: Warpgroup
  package let rows: Int
  package let columns: Int
  private let sums: [[Variable<Float>]]

  /// Zeros.
  package init(_ group: Warpgroup, rows: Int, columns: Int) {
    precondition(rows % 64 == 0 && columns % 16 == 0, "a warpgroup's tile has waves of 64 rows")
    self.group = group
    self.rows = rows
    self.columns = columns
    let k = group.builder
    sums = (0..<rows / 64).map { _ in
      (0..<columns / 2).map { _ in k.variable(Value<Float>(0)) }
    }
  }

  /// Products of 64 rows that the tile takes to be filled.
  package var waves: Range<Int> { sums.indices }

  /// The first of the two rows of a wave of which the thread holds sums; the other is eight below.
  package func row(wave: Int) -> Value<UInt32> {
    group.warp.multiplied(by: Value(16), adding: group.lane >> 2) + 64 * wave
  }

  /// The values of both of the thread's rows of a wave, from a tile of one value for each row.
  package func values(ofRows tile: SharedTile<Float>, wave: Int) -> (Value<Float>, Value<Float>) {
    precondition(tile.layout.rows == 1 && tile.layout.columns == rows, "one value for each row")
    let first = tile.pointer[row(wave: 0)].advanced(by: 64 * wave)
    return (first.load(), first.advanced(by: 8).load())
  }

  /// Adds a product of 64 rows times a factor for each of the thread's two rows.
  package func add(
    _ partial: consuming PartialProduct, wave: Int,
    scaledByRows factors: (Value<Float>, Value<Float>),
    file: String = #fileID, line: Int = #line
  ) {
    let k = group.builder
    k.at(file, line)
    precondition(partial.sums.count == sums[wave].count, "the product has other columns")
    for (index, sum) in sums[wave].enumerated() {
      let factor = index & 2 == 0 ? factors.0 : factors.1
      let part = Value<Float>(partial.sums[index], k)
      k.append(
        .ternary(.multiplyAdd, .f32, sum.register, part.operand, factor.operand, sum.value.operand))
    }
  }

  /// The thread's sums of eight columns: two of its first row, then two of the row eight below.
  func sums(wave: Int, columns octet: Int) -> [Value<Float>] {
    (0..<4).map { sums[wave][4 * octet + $0].value }
  }
}

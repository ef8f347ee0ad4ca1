// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

/// The normalizations of rows.
package enum NormKind: String, Sendable, Hashable {
  case rms, layer
}

/// Two rows of FP8 codes in groups, which a block has; a thread has eight neighbouring columns of both,
/// so that it reads parameters once for two rows.
///
/// Rows in work at once are few, so that later passes find them in the caches.
struct NormRows<Input: ActivationElement> {
  static var threads: Int { 256 }
  static var rowsPerBlock: Int { 2 }
  /// Neighbouring columns of a thread.
  static var width: Int { 8 }
  /// Columns of a block.
  static var columnsPerStep: Int { threads * width }

  let k: KernelBuilder
  let columns: Value<UInt32>
  private let groupSize: Int
  /// Whether rows are multiples of sixteen values, of which a thread has all or none.
  let isAligned: Bool
  /// The rows; where the matrix has only one left, the second is the first again.
  let rows: [Value<UInt32>]
  /// Whether the matrix has the rows.
  let exists: [Value<Bool>?]
  private let codes: Matrix
  private let scales: [GlobalPointer<BFloat16>]

  init(_ k: KernelBuilder, groupSize: Int, isAligned: Bool) {
    self.k = k
    self.groupSize = groupSize
    self.isAligned = isAligned
    let count = k.uint32("rows")
    let columns = k.uint32("columns")
    self.columns = columns
    let first = k.special(.blockX) * Self.rowsPerBlock
    rows = [first, minimum(first + 1, count - 1)]
    exists = [nil, first + 1 .< count]
    codes = Matrix(
      k.pointer("input", to: Input.self).assuming(UInt8.self), rows: rows, columns: columns,
      bytesPerValue: 1)
    let scales = k.pointer("inputScales", to: BFloat16.self)
    self.scales = rows.map { scales[$0.multipliedWide(by: columns.dividedUp(by: groupSize))] }
  }

  /// Blocks for a matrix.
  static func grid(rows: Int) -> GridShape { GridShape(rows.dividedUp(by: rowsPerBlock)) }

  /// The first of the thread's columns in a step's first columns.
  var firstColumn: Value<UInt32> { k.thread * Self.width }

  /// Does something with the first of the thread's columns, as often as it has columns of the rows.
  func forEachRun(_ body: (Value<UInt32>) -> Void) {
    k.forEach(
      from: firstColumn, below: columns.materialized(k), by: Value(Self.columnsPerStep), body)
  }

  /// Whether the matrix has a thread's column.
  func isInside(_ column: Value<UInt32>, _ index: Int) -> Value<Bool> { column + index .< columns }

  // MARK: Reading

  /// A matrix of the input's shape.
  struct Matrix {
    fileprivate let start: GlobalPointer<UInt8>
    /// Where the block's rows begin.
    fileprivate let rows: [GlobalPointer<UInt8>]
    fileprivate let bytesPerValue: Int

    fileprivate init(
      _ start: GlobalPointer<UInt8>, rows: [Value<UInt32>], columns: Value<UInt32>,
      bytesPerValue: Int
    ) {
      self.start = start
      self.rows = rows.map { start[$0.multipliedWide(by: columns) * bytesPerValue] }
      self.bytesPerValue = bytesPerValue
    }
  }

  /// A matrix in a parameter.
  func matrix(_ name: String, bytesPerValue: Int) -> Matrix {
    Matrix(
      k.pointer(name, to: UInt8.self), rows: rows, columns: columns, bytesPerValue: bytesPerValue)
  }

  /// Values of the thread's columns in both rows as they lie in memory, in words; zero outside.
  private func words(
    _ matrix: Matrix, at column: Value<UInt32>, cache: CacheHint
  ) -> [[Value<UInt32>]] {
    zip(rows, matrix.rows).map { row, start in
      words(
        start, bytesPerValue: matrix.bytesPerValue, at: column, cache,
        otherwise: (run(of: row, column), matrix.start))
    }
  }

  /// The values of a parameter with one for each column; zero outside.
  func parameter(_ pointer: GlobalPointer<Float>, at column: Value<UInt32>) -> [Value<Float>] {
    let start = pointer.assuming(UInt8.self)
    return words(
      start, bytesPerValue: 4, at: column, .readOnly,
      otherwise: (run(of: Value(0).materialized(k), column), start)
    ).map(\.floatFromBits)
  }

  private func words(
    _ row: GlobalPointer<UInt8>, bytesPerValue: Int, at column: Value<UInt32>, _ cache: CacheHint,
    otherwise: @autoclosure () -> (run: RowRun, matrix: GlobalPointer<UInt8>)
  ) -> [Value<UInt32>] {
    guard isAligned else {
      let (run, matrix) = otherwise()
      return run.words(matrix, bytesPerValue: bytesPerValue)
    }
    let place = row.advanced(rows: column, of: Value(bytesPerValue)).assuming(UInt32.self)
    let count = Self.width * bytesPerValue / 4
    return stride(from: 0, to: count, by: 4).flatMap {
      place.advanced(by: $0).load(count: min(4, count), cache: cache)
    }
  }

  /// The thread's columns of a row, each with a test whether the matrix has it.
  private func run(of row: Value<UInt32>, _ column: Value<UInt32>) -> RowRun {
    RowRun(
      k, row: row, column: column, rows: row + 1, columns: columns, isAligned: false,
      length: Self.width)
  }

  // MARK: Inputs

  /// What is loaded of the thread's columns in both rows.
  struct Inputs {
    let codes: [[Value<UInt32>]]
    let scales: [Value<BFloat16>]
    /// BF16 values, of gradients where there are any.
    let gradient: [[Value<UInt32>]]
  }

  /// Loads codes with their scales, and gradients.
  func inputs(
    at column: Value<UInt32>, gradient: Matrix? = nil, cache: CacheHint = .readOnly
  ) -> Inputs {
    let group = column / groupSize
    return Inputs(
      codes: words(codes, at: column, cache: cache),
      scales: scales.map { row in
        let place = row.advanced(rows: group, of: Value(2))
        return isAligned
          ? place.load(cache: cache)
          : place.load(cache: cache, if: column .< columns, otherwise: Value(bits: 0))
      }, gradient: gradient.map { words($0, at: column, cache: cache) } ?? [])
  }

  /// Codes times scales; zero outside.
  func values(of inputs: Inputs) -> [[Value<Float>]] {
    zip(inputs.codes, inputs.scales).map { words, scale in
      let factor = scale.float
      return words.flatMap { k.values(of: $0, as: Input.self) }.map { $0 * factor }
    }
  }

  // MARK: Writing

  /// Stores a row's values, given as they lie in memory.
  func store(
    _ words: [Value<UInt32>], to matrix: Matrix, row: Int, at column: Value<UInt32>
  ) {
    guard isAligned else {
      let run = run(of: rows[row], column)
      func store() { run.store(words, to: matrix.start, bytesPerValue: matrix.bytesPerValue) }
      if let exists = exists[row] { k.when(exists) { store() } } else { store() }
      return
    }
    let place = matrix.rows[row].advanced(rows: column, of: Value(matrix.bytesPerValue))
    for start in stride(from: 0, to: words.count, by: 4) {
      place.advanced(by: 4 * start).assuming(UInt32.self).store(
        Array(words[start..<start + 4]), if: exists[row])
    }
  }
}

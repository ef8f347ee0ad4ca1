// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat

// Between rows and what is stored. All loops are compiled for one format, which is looked at once a
// row.

/// A matrix of codes as rows read it.
struct CodeRows: Sendable {
  let codes: [UInt8]
  let scales: [BFloat16]
  let format: ElementFormat
  let columns: Int
  /// The vectors that share a scale.
  let groupVectors: Int
  /// The scales of a row; zero if there is one for all.
  let scaleStride: Int

  init<Element: Float8Element>(_ matrix: BlockScaledMatrix<Element, BFloat16>) {
    codes = matrix.codes
    scales = matrix.scales
    format = Element.elementFormat
    columns = matrix.columns
    let isGrouped = matrix.blocking.rows == 1 && matrix.blocking.columns % 16 == 0
    groupVectors = isGrouped ? matrix.blocking.columns / 16 : (columns + 15) / 16
    scaleStride = isGrouped ? (columns - 1) / matrix.blocking.columns + 1 : 0
  }

  /// Code times scale.
  func decode(_ row: Int, into result: Row) {
    switch format {
    case .e5m2: decode(row, into: result, E5M2Lanes.self)
    default: decode(row, into: result, E4M3Lanes.self)
    }
  }

  @inline(__always)
  private func decode<Lanes: Float8Lanes>(_ row: Int, into result: Row, _ lanes: Lanes.Type) {
    precondition(result.columns == columns && codes.count >= (row + 1) * columns)
    // Buffers of arrays that are alive during the call; the row lies inside, and there is a scale for
    // each of its groups.
    unsafe codes.withUnsafeBytes { codes in
      unsafe scales.withUnsafeBufferPointer { scales in
        let address = unsafe codes.baseAddress.unsafelyUnwrapped + row * columns
        for group in 0..<(result.count + groupVectors - 1) / groupVectors {
          let scale = unsafe Float(scales[row * scaleStride + group])
          for index in group * groupVectors..<min(result.count, (group + 1) * groupVectors) {
            let left = columns - index * 16
            var bytes = SIMD16<UInt8>()
            if left >= 16 {
              bytes = unsafe address.loadUnaligned(
                fromByteOffset: index * 16, as: SIMD16<UInt8>.self)
            } else {
              for lane in 0..<left { bytes[lane] = unsafe address[index * 16 + lane] }
            }
            result[index] = Lanes.decode(SIMD16<Int32>(truncatingIfNeeded: bytes)) * scale
          }
        }
      }
    }
    if result.columns % 16 != 0 { result.clearTail() }
  }
}

extension UnsafeRawPointer {
  /// One byte.
  fileprivate subscript(offset: Int) -> UInt8 {
    // The caller stays inside its memory.
    unsafe load(fromByteOffset: offset, as: UInt8.self)
  }
}

/// A matrix of values as rows read it.
struct ValueRows: Sendable {
  private enum Storage: Sendable {
    case float32([Float])
    case bfloat16([BFloat16])
  }

  private let storage: Storage
  let columns: Int

  init<Value>(_ matrix: Matrix<Value>) {
    columns = matrix.columns
    // Casting an array with `as` would go through its elements. The types are compared first.
    storage =
      if Value.self == BFloat16.self {
        .bfloat16(unsafe unsafeBitCast(matrix.values, to: [BFloat16].self))
      } else if Value.self == Float.self {
        .float32(unsafe unsafeBitCast(matrix.values, to: [Float].self))
      } else {
        .float32(matrix.widened())
      }
  }

  init(_ values: [BFloat16], columns: Int) {
    storage = .bfloat16(values)
    self.columns = columns
  }

  /// The values in FP32.
  func load(_ row: Int, into result: Row) {
    precondition(result.columns == columns)
    let first = row * columns
    let whole = columns / 16
    // Buffers of arrays that are alive during the calls; the row lies inside.
    switch storage {
    case .bfloat16(let values):
      precondition(values.count >= first + columns)
      unsafe values.withUnsafeBytes { bytes in
        let address = unsafe bytes.baseAddress.unsafelyUnwrapped + first * 2
        for index in 0..<whole {
          let halves = unsafe address.loadUnaligned(
            fromByteOffset: index * 32, as: SIMD16<UInt16>.self)
          result[index] = SIMD16<Float>(bits: SIMD16<Int32>(truncatingIfNeeded: halves) &<< 16)
        }
      }
      loadTail(whole, result) { Float(values[first + $0]) }
    case .float32(let values):
      precondition(values.count >= first + columns)
      unsafe values.withUnsafeBytes { bytes in
        let address = unsafe bytes.baseAddress.unsafelyUnwrapped + first * 4
        for index in 0..<whole {
          result[index] = unsafe address.loadUnaligned(
            fromByteOffset: index * 64, as: SIMD16<Float>.self)
        }
      }
      loadTail(whole, result) { values[first + $0] }
    }
  }

  @inline(__always)
  private func loadTail(_ index: Int, _ result: Row, _ value: (Int) -> Float) {
    guard index < result.count else { return }
    var last = SIMD16<Float>()
    for column in index * 16..<columns { last[column % 16] = value(column) }
    result[index] = last
  }
}

extension Row {
  /// Stores the values in BF16, as `BFloat16(canonical:)`.
  func store(into values: Output<BFloat16>, row: Int) {
    let address = unsafe UnsafeMutableRawPointer(values.pointer(row * columns, count: columns))
    for index in 0..<count {
      let halves = self[index].roundedToBFloat16
      let left = columns - index * 16
      // Inside the row, for which the memory's extent was checked.
      if left >= 16 {
        unsafe address.storeBytes(of: halves, toByteOffset: index * 32, as: SIMD16<UInt16>.self)
      } else {
        for lane in 0..<left {
          unsafe address.storeBytes(
            of: halves[lane], toByteOffset: index * 32 + lane * 2, as: UInt16.self)
        }
      }
    }
  }

  /// Rounds the values to BF16.
  func roundToBFloat16() {
    fill { index in
      SIMD16<Float>(bits: SIMD16<Int32>(truncatingIfNeeded: self[index].roundedToBFloat16) &<< 16)
    }
  }

  /// Stores the scales of groups whose values are stored in BF16.
  ///
  /// - Parameter groupSize: A multiple of sixteen, or at least the number of columns.
  func storeGroupScales(
    into scales: Output<BFloat16>, row: Int, groupSize: Int, _ format: ElementFormat,
    _ recipe: ActivationRecipe, roundsToBFloat16: Bool = true
  ) {
    clearTail()
    let vectors = groupSize < columns ? groupSize / 16 : count
    let groups = (count + vectors - 1) / vectors
    let place = unsafe scales.pointer(row * groups, count: groups)
    for group in 0..<groups {
      let maximum = largestMagnitude(
        group * vectors..<min(count, (group + 1) * vectors), recipe)
      // Inside the row's scales, for which the memory's extent was checked.
      unsafe place[group] =
        roundsToBFloat16
        ? recipe.storedGroupScale(maximum: maximum, format)
        : recipe.groupScale(maximum: maximum, format).stored
    }
  }

  /// Stores codes in groups, and their scales.
  func quantize(
    into codes: Output<UInt8>, _ scales: Output<BFloat16>, row: Int, groupSize: Int,
    _ format: ElementFormat, _ recipe: ActivationRecipe
  ) {
    switch format {
    case .e5m2: quantize(into: codes, scales, row, groupSize, format, recipe, E5M2Lanes.self)
    default: quantize(into: codes, scales, row, groupSize, format, recipe, E4M3Lanes.self)
    }
  }

  @inline(__always)
  private func quantize<Lanes: Float8Lanes>(
    into codes: Output<UInt8>, _ scales: Output<BFloat16>, _ row: Int, _ groupSize: Int,
    _ format: ElementFormat, _ recipe: ActivationRecipe, _ lanes: Lanes.Type
  ) {
    clearTail()
    let vectors = groupSize / 16
    let groups = (count + vectors - 1) / vectors
    let place = unsafe scales.pointer(row * groups, count: groups)
    let address = unsafe codes.pointer(row * columns, count: columns)
    for group in 0..<groups {
      let range = group * vectors..<min(count, (group + 1) * vectors)
      let scale = recipe.groupScale(maximum: largestMagnitude(range, recipe), format)
      // Inside the row, for which the extents of both memories were checked.
      unsafe place[group] = scale.stored
      for index in range {
        let values = self[index]
        unsafe write(Lanes.encode(values / scale.divisor, source: values), index, to: address)
      }
    }
  }

  /// Puts codes in groups in place of the values and decodes them again.
  func requantize(groupSize: Int, _ format: ElementFormat, _ recipe: ActivationRecipe) {
    switch format {
    case .e5m2: requantize(groupSize, format, recipe, E5M2Lanes.self)
    default: requantize(groupSize, format, recipe, E4M3Lanes.self)
    }
  }

  @inline(__always)
  private func requantize<Lanes: Float8Lanes>(
    _ groupSize: Int, _ format: ElementFormat, _ recipe: ActivationRecipe, _ lanes: Lanes.Type
  ) {
    clearTail()
    let vectors = groupSize / 16
    for group in 0..<(count + vectors - 1) / vectors {
      let range = group * vectors..<min(count, (group + 1) * vectors)
      let scale = recipe.groupScale(maximum: largestMagnitude(range, recipe), format)
      let stored = Float(scale.stored)
      for index in range {
        let values = self[index]
        self[index] = Lanes.decode(Lanes.encode(values / scale.divisor, source: values)) * stored
      }
    }
  }

  /// Stores codes under one scale.
  func encode(
    into codes: Output<UInt8>, row: Int, divisor: Float, _ format: ElementFormat,
    _ rounding: ActivationRounding
  ) {
    switch (format, rounding) {
    case (.e5m2, .nearest): encode(into: codes, row, divisor, E5M2Lanes.self)
    case (_, .nearest): encode(into: codes, row, divisor, E4M3Lanes.self)
    case (.e5m2, .stochastic(let seed)):
      encode(into: codes, row) {
        Float8E5M2.code($0, dividedBy: divisor, seed: seed, place: $1)
      }
    case (_, .stochastic(let seed)):
      encode(into: codes, row) {
        Float8E4M3.code($0, dividedBy: divisor, seed: seed, place: $1)
      }
    }
  }

  @inline(__always)
  private func encode<Lanes: Float8Lanes>(
    into codes: Output<UInt8>, _ row: Int, _ divisor: Float, _ lanes: Lanes.Type
  ) {
    let address = unsafe codes.pointer(row * columns, count: columns)
    for index in 0..<count {
      let values = self[index]
      // Inside the row, for which the memory's extent was checked.
      unsafe write(Lanes.encode(values / divisor, source: values), index, to: address)
    }
  }

  private func encode(into codes: Output<UInt8>, _ row: Int, _ code: (Float, Int) -> UInt8) {
    let address = unsafe codes.pointer(row * columns, count: columns)
    for column in 0..<columns {
      // Inside the row, for which the memory's extent was checked.
      unsafe address[column] = code(self[column / 16][column % 16], row * columns + column)
    }
  }

  /// Writes the codes of a vector.
  @inline(__always)
  private func write(_ codes: SIMD16<Int32>, _ index: Int, to row: UnsafeMutablePointer<UInt8>) {
    let bytes = SIMD16<UInt8>(truncatingIfNeeded: codes)
    let left = columns - index * 16
    // All stores stay inside the row, whose extent the caller has checked.
    if left >= 16 {
      unsafe UnsafeMutableRawPointer(row).storeBytes(
        of: bytes, toByteOffset: index * 16, as: SIMD16<UInt8>.self)
    } else {
      for lane in 0..<left { unsafe row[index * 16 + lane] = bytes[lane] }
    }
  }
}

extension SIMD16<Float> {
  /// The nearest BF16 values, ties to even; every NaN becomes 0x7FC0.
  @inline(__always)
  fileprivate var roundedToBFloat16: SIMD16<UInt16> {
    let upper = (bits &+ 0x7FFF &+ ((bits &>> 16) & 1)) &>> 16
    return SIMD16<UInt16>(
      truncatingIfNeeded: upper.replaced(with: SIMD16<Int32>(repeating: 0x7FC0), in: nanLanes))
  }
}

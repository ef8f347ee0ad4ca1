// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat

// How rows are stored. All loops are compiled for one format, which is looked at once a row.

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

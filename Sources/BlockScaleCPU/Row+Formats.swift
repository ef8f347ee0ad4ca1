// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import _BlockScaleShims

// How rows are stored. Kernels get places that were checked to have a whole row, and a divisor and a scale
// for each of its groups.

extension Row {
  /// Stores the values in BF16, as `BFloat16(canonical:)`.
  func store(into values: Output<BFloat16>, row: Int) {
    unsafe kernels.functions.narrow(
      self.values, columns, values.bits(row * columns, count: columns))
  }

  /// Rounds the values to BF16.
  func roundToBFloat16() {
    let halves: [BFloat16] = filled(columns) { store(into: $0, row: 0) }
    load(halves, row: 0)
  }

  /// Stores the scales of groups.
  ///
  /// - Parameters:
  ///   - groupSize: A multiple of sixteen, or at least the number of columns.
  ///   - roundsToBFloat16: Whether the values are to be stored in BF16, where they may become infinite.
  /// - Returns: What values are divided by.
  @discardableResult
  func storeGroupScales(
    into scales: Output<BFloat16>, row: Int, groupSize: Int, _ format: ElementFormat,
    _ recipe: ActivationRecipe, roundsToBFloat16: Bool = true
  ) -> [Float] {
    let maxima = groupMaxima(groupSize: groupSize, recipe)
    return filled(maxima.count) { divisors in
      unsafe kernels.functions.group_scales(
        maxima, maxima.count, format.greatestFiniteMagnitude,
        roundsToBFloat16 ? ActivationRecipe.leastInfiniteInBFloat16 : .infinity,
        recipe == .storedScale ? 1 : 0, scales.bits(row * maxima.count, count: maxima.count),
        divisors.pointer(0, count: maxima.count))
    }
  }

  /// Stores codes in groups, and their scales.
  func quantize(
    into codes: Output<UInt8>, _ scales: Output<BFloat16>, row: Int, groupSize: Int,
    _ format: ElementFormat, _ recipe: ActivationRecipe
  ) {
    let divisors = storeGroupScales(
      into: scales, row: row, groupSize: groupSize, format, recipe, roundsToBFloat16: false)
    unsafe kernels.functions.encode_groups(
      format == .e5m2 ? 1 : 0, values, columns, divisors, groupSize,
      codes.pointer(row * columns, count: columns))
  }

  /// Puts codes in groups in place of the values and decodes them again.
  func requantize(groupSize: Int, _ format: ElementFormat, _ recipe: ActivationRecipe) {
    var divisors: [Float] = []
    let scales: [BFloat16] = filled((columns - 1) / groupSize + 1) {
      divisors = storeGroupScales(
        into: $0, row: 0, groupSize: groupSize, format, recipe, roundsToBFloat16: false)
    }
    scales.withInput { scales in
      unsafe kernels.functions.requantize_groups(
        format == .e5m2 ? 1 : 0, values, columns, divisors, scales.bits(0, count: divisors.count),
        groupSize)
    }
  }

  /// Stores codes under one scale.
  func encode(
    into codes: Output<UInt8>, row: Int, divisor: Float, _ format: ElementFormat,
    _ rounding: ActivationRounding
  ) {
    let place = unsafe codes.pointer(row * columns, count: columns)
    switch rounding {
    case .nearest:
      unsafe kernels.functions.encode_groups(
        format == .e5m2 ? 1 : 0, values, columns, [divisor], columns, place)
    case .stochastic(let seed):
      for column in 0..<columns {
        let value = self[column / 16][column % 16]
        // Inside the row, for which the memory's extent was checked.
        unsafe place[column] =
          format == .e5m2
          ? Float8E5M2.code(value, dividedBy: divisor, seed: seed, place: row * columns + column)
          : Float8E4M3.code(value, dividedBy: divisor, seed: seed, place: row * columns + column)
      }
    }
  }

  /// Takes the values of a row of BF16.
  func load(_ values: [BFloat16], row: Int) {
    values.withInput {
      unsafe kernels.functions.widen($0.bits(row * columns, count: columns), columns, self.values)
    }
  }
}

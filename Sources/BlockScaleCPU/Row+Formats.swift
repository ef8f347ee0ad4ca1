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

  /// Stores the scales of groups whose values are stored in BF16.
  ///
  /// - Parameter groupSize: A multiple of sixteen, or at least the number of columns.
  func storeGroupScales(
    into scales: Output<BFloat16>, row: Int, groupSize: Int, _ format: ElementFormat,
    _ recipe: ActivationRecipe, roundsToBFloat16: Bool = true
  ) {
    let maxima = groupMaxima(groupSize: groupSize, recipe)
    let place = unsafe scales.pointer(row * maxima.count, count: maxima.count)
    for (group, maximum) in maxima.enumerated() {
      // One place for each group.
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
    let (stored, divisors) = groupScales(groupSize: groupSize, format, recipe)
    unsafe scales.pointer(row * stored.count, count: stored.count).update(
      from: stored, count: stored.count)
    unsafe kernels.functions.encode_groups(
      format == .e5m2 ? 1 : 0, values, columns, divisors, groupSize,
      codes.pointer(row * columns, count: columns))
  }

  /// Puts codes in groups in place of the values and decodes them again.
  func requantize(groupSize: Int, _ format: ElementFormat, _ recipe: ActivationRecipe) {
    let (stored, divisors) = groupScales(groupSize: groupSize, format, recipe)
    stored.withInput { stored in
      unsafe kernels.functions.requantize_groups(
        format == .e5m2 ? 1 : 0, values, columns, divisors, stored.bits(0, count: divisors.count),
        groupSize)
    }
  }

  /// The scales of groups, and what their values are divided by.
  private func groupScales(
    groupSize: Int, _ format: ElementFormat, _ recipe: ActivationRecipe
  ) -> (stored: [BFloat16], divisors: [Float]) {
    let maxima = groupMaxima(groupSize: groupSize, recipe)
    return filled(maxima.count, maxima.count) {
      (stored: Output<BFloat16>, divisors: Output<Float>) in
      for (group, maximum) in maxima.enumerated() {
        let scale = recipe.groupScale(maximum: maximum, format)
        unsafe stored.pointer(group, count: 1).pointee = scale.stored
        unsafe divisors.pointer(group, count: 1).pointee = scale.divisor
      }
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

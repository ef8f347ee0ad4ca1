// SPDX-License-Identifier: Apache-2.0

package import Minifloat

// What operands must have in common. Every back end asks these, so errors read alike.

extension Tensor {
  private var text: String { shape.map(String.init).joined(separator: "x") }

  /// Checks that this tensor has the shape of another.
  package func check<Other>(
    _ name: String, hasShapeOf other: Tensor<Other>, _ otherName: String
  ) throws(BlockScaleError) {
    guard shape == other.shape else {
      throw BlockScaleError(
        .wrongShape,
        "The \(name) has the shape (\(text)) and the \(otherName) (\(other.text)).")
    }
  }

  /// Checks that a parameter has a value for each column.
  package func check(parameter: [Float]?, _ name: String) throws(BlockScaleError) {
    guard let parameter, parameter.count != matrix.columns else { return }
    throw BlockScaleError(
      .wrongShape, "The \(name) has \(parameter.count) values for \(matrix.columns) columns.")
  }
}

/// The lengths that groups of the activation flow may have.
private let groupSizes = [16, 32, 64, 128]

/// Checks the length of groups.
package func check(groupSize: Int) throws(BlockScaleError) {
  guard groupSizes.contains(groupSize) else {
    throw BlockScaleError(
      .wrongShape, "Groups have 16, 32, 64 or 128 columns, not \(groupSize).")
  }
}

extension BlockScaledMatrix {
  /// Checks that the blocks are 1×QB groups, and gives QB.
  package func groupSize(of name: String) throws(BlockScaleError) -> Int {
    guard blocking.rows == 1, groupSizes.contains(blocking.columns) else {
      throw BlockScaleError(
        .wrongShape,
        "The \(name) is in blocks of \(blocking); it must be in groups of 1x16, 1x32, 1x64 or "
          + "1x128.")
    }
    guard tensorScale == nil else {
      throw BlockScaleError(.wrongShape, "The \(name) has a tensor scale, which is not allowed.")
    }
    return blocking.columns
  }
}

/// Checks two operands in groups, and gives the groups' length.
package func checkedGroupSize<First, Second>(
  _ first: Float8Tensor<First>, _ firstName: String, _ second: Float8Tensor<Second>,
  _ secondName: String
) throws(BlockScaleError) -> Int {
  let size = try first.matrix.groupSize(of: firstName)
  let other = try second.matrix.groupSize(of: secondName)
  try first.check(firstName, hasShapeOf: second, secondName)
  guard size == other else {
    throw BlockScaleError(
      .wrongShape,
      "The \(firstName) is in groups of 1x\(size) and the \(secondName) in groups of 1x\(other).")
  }
  return size
}

/// Checks a scale that values are to be divided by.
package func check(givenScale scale: BFloat16?) throws(BlockScaleError) {
  guard let scale, !scale.isNaN, !scale.isFinite || Float(scale) <= 0 else { return }
  throw BlockScaleError(.invalidScale, "The scale \(scale) is not a positive number.")
}

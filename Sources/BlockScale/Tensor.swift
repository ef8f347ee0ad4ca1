// SPDX-License-Identifier: Apache-2.0

public import Minifloat

/// A matrix of some kind, which a tensor can hold.
public protocol TensorContents: Sendable {
  /// The number of rows.
  var rows: Int { get }
  /// The number of columns.
  var columns: Int { get }
}

extension Matrix: TensorContents {}
extension BlockScaledMatrix: TensorContents {}

/// A matrix whose rows stand for all leading dimensions of a tensor.
///
/// Activations are two-dimensional, (M, N), or have a batch in front, (B, S, N), which is held as a
/// matrix of B·S rows. Operations work on the matrix and hand the shape on. Transposed copies are
/// plain matrices, N × (B·S).
///
///     let hidden = try Tensor(Matrix(values, rows: 4 * 512, columns: 1024), shape: [4, 512, 1024])
public struct Tensor<Contents: TensorContents>: Sendable {
  /// The dimensions; the product of all but the last is the number of rows.
  public let shape: [Int]
  /// The values.
  public let matrix: Contents

  /// A tensor of two dimensions.
  public init(_ matrix: Contents) {
    shape = [matrix.rows, matrix.columns]
    self.matrix = matrix
  }

  /// A tensor of the given dimensions.
  ///
  /// - Throws: ``BlockScaleError`` if they do not multiply to the matrix's rows and columns.
  public init(_ matrix: Contents, shape: [Int]) throws(BlockScaleError) {
    let text = shape.map(String.init).joined(separator: "x")
    guard shape.count >= 2, shape.allSatisfy({ $0 > 0 }) else {
      throw BlockScaleError(
        .wrongShape, "A tensor has two or more dimensions of at least one, not (\(text)).")
    }
    guard shape.last == matrix.columns,
      shape.dropLast().reduce(1, { $0.multipliedReportingOverflow(by: $1).partialValue })
        == matrix.rows
    else {
      throw BlockScaleError(
        .wrongShape,
        "A \(matrix.rows)x\(matrix.columns) matrix cannot hold a tensor of shape (\(text)).")
    }
    self.shape = shape
    self.matrix = matrix
  }

  /// A matrix with the leading dimensions of a tensor that has as many rows.
  package init<Other>(_ matrix: Contents, like other: Tensor<Other>) {
    precondition(matrix.rows == other.matrix.rows, "Leading dimensions are those of other rows")
    shape = other.shape.dropLast() + [matrix.columns]
    self.matrix = matrix
  }
}

extension Tensor: Equatable where Contents: Equatable {}
extension Tensor: Hashable where Contents: Hashable {}

/// An element format of 8 bits with a sign: E4M3 or E5M2.
public protocol Float8Element: BlockElement {
  /// Creates one of the two neighbours of `value`, so that the expectation is `value`.
  init(
    stochastic value: Double, overflow: OverflowRule,
    using generator: inout some RandomNumberGenerator)
}

extension Float8E4M3: Float8Element {}
extension Float8E5M2: Float8Element {}

/// Values in BF16.
public typealias BFloat16Tensor = Tensor<Matrix<BFloat16>>

/// Values in FP8 with BF16 scales, of 1×16 groups or of the whole tensor.
public typealias Float8Tensor<Element: Float8Element> = Tensor<BlockScaledMatrix<Element, BFloat16>>

// SPDX-License-Identifier: Apache-2.0

/// Why a matrix could not be built, quantized or multiplied.
public struct BlockScaleError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The kind of a failure.
  ///
  /// More may be added.
  public struct Code: Hashable, Sendable {
    private enum Kind: Hashable, Sendable {
      case wrongCount
      case emptyMatrix
      case unsupportedRecipe
      case unavailable
      case wrongShape
      case nonFinite
      case invalidScale
    }

    private let kind: Kind

    /// A buffer has another number of elements than its shape says.
    public static let wrongCount = Code(kind: .wrongCount)
    /// A matrix without rows or columns.
    public static let emptyMatrix = Code(kind: .emptyMatrix)
    /// The recipe does not define these formats.
    public static let unsupportedRecipe = Code(kind: .unsupportedRecipe)
    /// The processor or the operating system lacks what was asked for.
    public static let unavailable = Code(kind: .unavailable)
    /// Operands whose shapes or blocks do not fit each other.
    public static let wrongShape = Code(kind: .wrongShape)
    /// A NaN or an infinity where only numbers can be used.
    public static let nonFinite = Code(kind: .nonFinite)
    /// A scale that values cannot be divided by.
    public static let invalidScale = Code(kind: .invalidScale)
  }

  /// The kind of failure.
  public let code: Code
  /// One sentence that names the operand.
  public let description: String

  package init(_ code: Code, _ description: String) {
    self.code = code
    self.description = description
  }
}

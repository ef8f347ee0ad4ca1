// SPDX-License-Identifier: Apache-2.0

/// Why a matrix could not be built or quantized.
public struct BlockScaleError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The kind of a failure.
  ///
  /// More may be added.
  public struct Code: Hashable, Sendable {
    private enum Kind: Hashable, Sendable {
      case wrongCount
      case emptyMatrix
      case unsupportedRecipe
    }

    private let kind: Kind

    /// A buffer has another number of elements than its shape says.
    public static let wrongCount = Code(kind: .wrongCount)
    /// A matrix without rows or columns.
    public static let emptyMatrix = Code(kind: .emptyMatrix)
    /// The recipe does not define these formats.
    public static let unsupportedRecipe = Code(kind: .unsupportedRecipe)
  }

  /// The kind of failure.
  public let code: Code
  /// One sentence that names the operand.
  public let description: String

  init(_ code: Code, _ description: String) {
    self.code = code
    self.description = description
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale

/// Why a model could not be configured, loaded, run or trained.
public struct LlamaError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The kind of a failure.
  ///
  /// More may be added.
  public struct Code: Hashable, Sendable {
    private enum Kind: Hashable, Sendable {
      case malformedConfiguration, unsupportedConfiguration, wrongParameter, wrongInput
      case nonFinite, diverged, cannotResume
    }

    private let kind: Kind

    /// A configuration lacks a number or has one that cannot be.
    public static let malformedConfiguration = Code(kind: .malformedConfiguration)
    /// A configuration asks for what this model does not do.
    public static let unsupportedConfiguration = Code(kind: .unsupportedConfiguration)
    /// A parameter is missing, unknown, or of another shape.
    public static let wrongParameter = Code(kind: .wrongParameter)
    /// Tokens or settings do not fit the model.
    public static let wrongInput = Code(kind: .wrongInput)
    /// A NaN or an infinity.
    public static let nonFinite = Code(kind: .nonFinite)
    /// A loss far above that of guessing.
    public static let diverged = Code(kind: .diverged)
    /// What is stored belongs to another run.
    public static let cannotResume = Code(kind: .cannotResume)
  }

  /// The kind of failure.
  public let code: Code
  /// One sentence that names the layer, the tensor or the file.
  public let description: String

  init(_ code: Code, _ description: String) {
    self.code = code
    self.description = description
  }
}

/// Runs an operation of a module, whose name goes before what it refuses.
func at<Result>(
  _ module: String, _ body: () throws(BlockScaleError) -> Result
) throws(LlamaError) -> Result {
  do throws(BlockScaleError) {
    return try body()
  } catch {
    throw LlamaError(
      error.code == .nonFinite ? .nonFinite : .wrongInput, "\(module): \(error.description)")
  }
}

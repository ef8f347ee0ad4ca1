// SPDX-License-Identifier: Apache-2.0

/// Why a checkpoint could not be read, converted or written.
public struct CheckpointError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The kind of a failure.
  ///
  /// More may be added.
  public struct Code: Hashable, Sendable {
    private enum Kind: Hashable, Sendable {
      case unknownLayout, ambiguousLayout, malformedTensor, unsupported, nonFinite, nothingToDo
      case outputExists, outputIsInput, cannotResume, systemCall, malformedConfiguration
      case shapeMismatch
    }

    private let kind: Kind

    /// No layout explains the quantized tensors of a checkpoint.
    public static let unknownLayout = Code(kind: .unknownLayout)
    /// More than one layout does.
    public static let ambiguousLayout = Code(kind: .ambiguousLayout)
    /// A quantized tensor lacks a part, or a part has another shape or type than its layout says.
    public static let malformedTensor = Code(kind: .malformedTensor)
    /// The layout cannot store what is asked for.
    public static let unsupported = Code(kind: .unsupported)
    /// A tensor holds a NaN or an infinity.
    public static let nonFinite = Code(kind: .nonFinite)
    /// No tensor was chosen.
    public static let nothingToDo = Code(kind: .nothingToDo)
    /// The output is there already.
    public static let outputExists = Code(kind: .outputExists)
    /// The output would overwrite its own input.
    public static let outputIsInput = Code(kind: .outputIsInput)
    /// What an earlier run left does not belong to this one.
    public static let cannotResume = Code(kind: .cannotResume)
    /// The operating system refused.
    public static let systemCall = Code(kind: .systemCall)
    /// A configuration file is not what it should be.
    public static let malformedConfiguration = Code(kind: .malformedConfiguration)
    /// Two tensors that are compared have different shapes.
    public static let shapeMismatch = Code(kind: .shapeMismatch)
  }

  /// The kind of failure.
  public let code: Code
  /// One sentence that names the file and, where they are known, the tensor and the offset.
  public let description: String

  init(_ code: Code, _ description: String) {
    self.code = code
    self.description = description
  }
}

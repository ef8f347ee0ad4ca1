// SPDX-License-Identifier: Apache-2.0

extension SafetensorsError {
  /// A kind of problem.
  ///
  /// Later releases may add codes, so code that switches over them needs a default.
  public struct Code: Hashable, Sendable, CustomStringConvertible {
    // A string keeps the set open: a new code is one line.
    let name: String

    init(_ name: String) {
      self.name = name
    }

    /// The code's name, as in this documentation.
    public var description: String { name }
  }
}

extension SafetensorsError.Code {
  /// A system call failed; the error's `errno` says how.
  public static let systemCallFailed = Self("systemCallFailed")
  /// The path leads to something other than a regular file.
  public static let notARegularFile = Self("notARegularFile")
  /// The file ends before its header does.
  public static let truncatedHeader = Self("truncatedHeader")
  /// The header is longer than the format's 100 million bytes.
  public static let headerTooLarge = Self("headerTooLarge")
  /// The header is no JSON object in UTF-8, or is padded with other than spaces.
  public static let invalidHeader = Self("invalidHeader")
  /// The header's `__metadata__` is no map from strings to strings.
  public static let invalidMetadata = Self("invalidMetadata")
  /// A tensor's entry lacks a key, has an unknown key, or has a value of the wrong kind.
  public static let invalidEntry = Self("invalidEntry")
  /// A tensor's dtype is unknown.
  public static let unknownDType = Self("unknownDType")
  /// A shape has a negative dimension, overflows, or fills no whole number of bytes.
  public static let invalidShape = Self("invalidShape")
  /// A tensor's offsets are reversed, out of range, or do not fit its dtype and shape.
  public static let invalidOffsets = Self("invalidOffsets")
  /// Two tensors share bytes.
  public static let overlappingTensors = Self("overlappingTensors")
  /// Bytes of the data section belong to no tensor.
  public static let unusedData = Self("unusedData")
  /// Two tensors have the same name, or a tensor's name is reserved.
  public static let invalidName = Self("invalidName")
  /// There is no tensor of that name.
  public static let tensorNotFound = Self("tensorNotFound")
  /// The bytes to write are more than the tensor has room for.
  public static let writeOutOfRange = Self("writeOutOfRange")
  /// An existing file cannot be resumed, since it is not the one that its writer would create.
  public static let cannotResume = Self("cannotResume")
  /// A file was finished before all its tensors were written.
  public static let incompleteTensor = Self("incompleteTensor")
  /// An index file is no valid index.
  public static let invalidIndex = Self("invalidIndex")
  /// An index names a shard by a path that leads out of its folder.
  public static let invalidShardName = Self("invalidShardName")
  /// An index and its shards disagree about which shard holds a tensor.
  public static let indexMismatch = Self("indexMismatch")
  /// A folder holds no checkpoint, or several without an index.
  public static let noCheckpoint = Self("noCheckpoint")
}

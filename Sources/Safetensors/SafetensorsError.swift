// SPDX-License-Identifier: Apache-2.0

public import SystemPackage

/// What is wrong with a file of tensors, an index or a folder of them.
///
/// ``description`` is one sentence that names the file and, where they are known, the tensor and
/// the byte offset.
public struct SafetensorsError: Error, Hashable, Sendable {
  /// What kind of problem this is.
  public let code: Code

  /// The file or folder, as its caller named it, or nil where no file takes part.
  public let path: String?

  /// The tensor, or nil where the problem concerns none in particular.
  public let tensor: String?

  /// The byte offset of the problem, or nil where there is none to name.
  ///
  /// The header's problems count from the beginning of the file, a tensor's from the beginning of
  /// the data section, and an index's from the beginning of the index.
  public let offset: Int?

  /// The operating system's error, for the codes that come from a system call.
  public let errno: Errno?

  // The clause after the path, without a full stop: composed where the numbers are at hand, so
  // that the error needs no case with payload per kind of problem.
  let message: String

  init(
    _ code: Code, path: String?, tensor: String? = nil, offset: Int? = nil, errno: Errno? = nil,
    _ message: String
  ) {
    self.code = code
    self.path = path
    self.tensor = tensor
    self.offset = offset
    self.errno = errno
    self.message = message
  }

  /// An error from a system call: "cannot be opened: No such file or directory".
  static func system(
    _ errno: Errno, path: String, tensor: String? = nil, offset: Int? = nil, _ action: String
  ) -> Self {
    Self(
      .systemCallFailed, path: path, tensor: tensor, offset: offset, errno: errno,
      "\(action): \(errno.description)")
  }

  /// An error of the JSON parser, at its offset in the file.
  static func json(_ error: JSONError, path: String, code: Code, base: Int, part: String) -> Self {
    let offset = base + error.offset
    return Self(
      code, path: path, offset: offset,
      "the \(part) is no valid JSON at byte \(offset): \(error.message)")
  }
}

extension SafetensorsError: CustomStringConvertible {
  /// One sentence that names the file, the tensor and the byte offset.
  ///
  /// For example: "model.safetensors: tensor 'a.weight' ends at data offset 64, past the 32 bytes
  /// of data that the file holds."
  public var description: String {
    guard let path else { return message + "." }
    return "\(printable(path)): \(message)."
  }
}

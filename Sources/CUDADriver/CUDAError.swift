// SPDX-License-Identifier: Apache-2.0

/// Why something on a GPU could not be done.
///
/// ``description`` says what was tried, what the driver answered (name, number and call) and what to do
/// about it. Whoever can work without a GPU catches the error and goes on with the CPU.
public struct CUDAError: Error, Hashable, Sendable {
  /// The kind of a failure.
  ///
  /// More may be added.
  public struct Code: Hashable, Sendable {
    private enum Kind: Hashable, Sendable {
      case noDriver
      case driverTooOld
      case noDevice
      case driverNotReady
      case outOfMemory
      case foreignArchitecture
      case invalidCode
      case notFound
      case launchOutOfResources
      case contextLost
      case capture
      case invalidArgument
      case unsupported
      case other
    }

    private let kind: Kind

    /// No library of the driver on this machine.
    public static let noDriver = Code(kind: .noDriver)
    /// The driver lacks what is needed or cannot read this PTX version.
    public static let driverTooOld = Code(kind: .driverTooOld)
    /// The driver works and finds no such GPU.
    public static let noDevice = Code(kind: .noDevice)
    /// The driver is installed and cannot be used: its parts do not fit, or it has not started.
    public static let driverNotReady = Code(kind: .driverNotReady)
    /// The GPU's memory, or memory that can be pinned, is used up.
    public static let outOfMemory = Code(kind: .outOfMemory)
    /// The code is for another architecture than the GPU's.
    public static let foreignArchitecture = Code(kind: .foreignArchitecture)
    /// The driver's compiler refuses the PTX, or an image is none.
    public static let invalidCode = Code(kind: .invalidCode)
    /// A module has no kernel of that name.
    public static let notFound = Code(kind: .notFound)
    /// A launch asks for more registers, shared memory or blocks of a cluster than there are.
    public static let launchOutOfResources = Code(kind: .launchOutOfResources)
    /// A kernel failed and took its context with it: every later call in this process fails too.
    public static let contextLost = Code(kind: .contextLost)
    /// A call that cannot be recorded came while a stream was being recorded.
    public static let capture = Code(kind: .capture)
    /// An argument breaks a documented limit; found before the driver was called.
    public static let invalidArgument = Code(kind: .invalidArgument)
    /// The GPU or the driver does not have the feature.
    public static let unsupported = Code(kind: .unsupported)
    /// Any other answer of the driver; see ``CUDAError/name``.
    public static let other = Code(kind: .other)
  }

  /// The kind of failure.
  public let code: Code

  /// The driver's number (`CUresult`), or nil where the driver was not asked.
  public let number: Int32?

  /// The driver's name for the number, for example `CUDA_ERROR_OUT_OF_MEMORY`.
  public let name: String?

  /// The driver's function that failed, or nil where none was called.
  public let call: String?

  /// What the driver's compiler wrote, or an empty string.
  public let log: String

  // What was tried and with what, without a full stop; composed where the numbers are at hand.
  let message: String
  // A sentence on what to do, or nil where nothing general can be said.
  let advice: String?

  init(
    _ code: Code, _ message: String, advice: String? = nil, number: Int32? = nil,
    name: String? = nil, call: String? = nil, log: String = ""
  ) {
    self.code = code
    self.message = message
    self.advice = advice
    self.number = number
    self.name = name
    self.call = call
    self.log = log
  }

  /// An argument that breaks a limit; `message` is the sentence without its full stop.
  static func invalid(_ message: String) -> Self {
    Self(.invalidArgument, message)
  }
}

extension CUDAError: CustomStringConvertible {
  /// What was tried, the driver's answer, advice, and the compiler's log if there is one.
  public var description: String {
    var text = message
    if let call, let number {
      text += ": \(call) returned \(name ?? "an unknown error") (\(number))"
    }
    text += "."
    if let advice { text += " \(advice)" }
    if !log.isEmpty { text += "\n\(log)" }
    return text
  }
}

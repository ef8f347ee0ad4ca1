// SPDX-License-Identifier: Apache-2.0

/// What the driver's compiler is asked for besides machine code.
public struct JITOptions: Hashable, Sendable {
  /// The most registers of a thread, or nil for what the PTX says.
  public var maximumRegisters: Int?

  /// Whether to keep the lines that `.loc` names, for compute-sanitizer and profilers.
  public var lineInformation: Bool

  /// The compiler's defaults, unless told otherwise.
  public init(maximumRegisters: Int? = nil, lineInformation: Bool = false) {
    self.maximumRegisters = maximumRegisters
    self.lineInformation = lineInformation
  }
}

/// What the driver's compiler is given and what it writes its messages into.
///
/// The driver's linker goes on using all of it until it is destroyed, so that nothing here may move.
// Safe: the pointers are this value's own from its beginning to its end, and only given to the driver.
@safe struct JITArguments: ~Copyable {
  private static let logByteCount = 1 << 16

  /// How many options there are.
  let count: Int
  /// Their numbers.
  let numbers: UnsafeMutablePointer<Int32>
  /// Their values: numbers, or addresses as numbers.
  let values: UnsafeMutablePointer<UInt>

  private let info: UnsafeMutablePointer<CChar>
  private let errors: UnsafeMutablePointer<CChar>

  init(_ options: JITOptions, target: (option: JITOption, value: UInt)? = nil) {
    unsafe info = .allocate(capacity: Self.logByteCount)
    unsafe errors = .allocate(capacity: Self.logByteCount)
    // Just allocated with this capacity.
    unsafe info.initialize(repeating: 0, count: Self.logByteCount)
    unsafe errors.initialize(repeating: 0, count: Self.logByteCount)
    // The buffers' addresses go to the driver as numbers, as it wants all values.
    var list: [(option: JITOption, value: UInt)] = unsafe [
      (.infoLogBuffer, UInt(bitPattern: info)), (.infoLogByteCount, UInt(Self.logByteCount)),
      (.errorLogBuffer, UInt(bitPattern: errors)), (.errorLogByteCount, UInt(Self.logByteCount)),
      (.verboseLog, 1),
    ]
    if let target { list.append(target) }
    if options.lineInformation { list.append((.lineInformation, 1)) }
    if let registers = options.maximumRegisters {
      list.append((.maximumRegisters, UInt(registers)))
    }
    count = list.count
    unsafe numbers = .allocate(capacity: list.count)
    unsafe values = .allocate(capacity: list.count)
    for (index, entry) in list.enumerated() {
      // Within the capacity, which is the list's.
      unsafe (numbers + index).initialize(to: entry.option.rawValue)
      unsafe (values + index).initialize(to: entry.value)
    }
  }

  deinit {
    // The driver's call that used them has returned.
    unsafe numbers.deallocate()
    unsafe values.deallocate()
    unsafe info.deallocate()
    unsafe errors.deallocate()
  }

  // Both read what the initialiser allocated.

  /// What the compiler did: registers, spills, warnings.
  var infoText: String { unsafe Self.text(info) }

  /// Why the compiler refused.
  var errorText: String { unsafe Self.text(errors) }

  private static func text(_ buffer: UnsafeMutablePointer<CChar>) -> String {
    // The driver writes at most the capacity that it is told, and the rest is zero.
    let characters = unsafe UnsafeBufferPointer(start: buffer, count: logByteCount)
    var bytes = unsafe characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
    while let last = bytes.last, last == UInt8(ascii: "\n") || last == UInt8(ascii: " ") {
      bytes.removeLast()
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

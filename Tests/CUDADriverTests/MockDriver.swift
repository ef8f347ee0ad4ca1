// SPDX-License-Identifier: Apache-2.0

import CUDADriver
import Synchronization

/// A driver without a GPU: it notes the calls, keeps memory in arrays, and fails when told to.
///
/// C functions cannot capture anything, so that they find their mock as a task-local value: tests run
/// beside each other, each with its own.
final class MockDriver: Sendable {
  struct State {
    /// The calls in order, without those that make contexts current unless asked for.
    var calls: [String] = []
    var notesContexts = false
    /// What the next call of a function returns.
    var failures: [String: Int32] = [:]
    /// Handles that were given out and not taken back, with what they are.
    var live: [UInt64: String] = [:]
    var nextHandle: UInt64 = 0x1000
    var memory: [UInt64: [UInt8]] = [:]
    var contexts: [UInt] = []
    var capturing: Set<UInt> = []

    var version: Int32 = 12_080
    var deviceCount: Int32 = 1
    var deviceName = "NVIDIA H100 80GB HBM3"
    var deviceAttributes: [Int32: Int32] = [
      1: 1024, 13: 1_980_000, 16: 132, 36: 2_619_000, 37: 5120, 38: 50 << 20, 39: 2048, 75: 9,
      76: 0,
      81: 233_472, 82: 65_536, 97: 232_448, 115: 1, 120: 1,
    ]
    var functionAttributes: [Int32: Int32] = [0: 1024, 1: 0, 3: 0, 4: 32, 8: 49_152]
    var parameters: [Int] = []
    var freeMemory = 3 << 30
    var infoLog = "ptxas info : Used 32 registers"
    var errorLog = ""

    /// The kernels of every module.
    var kernels: Set<String> = ["kernel"]
    /// Images that were loaded, PTX as text.
    var images: [[UInt8]] = []
    var options: [Int32: UInt] = [:]
    var cubin: [UInt8] = Array("\u{7F}ELF".utf8) + Array(repeating: 7, count: 100)
    var configuration: [UInt8] = []
    var attributes: [[UInt8]] = []
    var arguments: [[UInt8]] = []
    /// The remainders of the arguments' addresses by 64.
    var remainders: [UInt] = []
    /// The numbers and lists given to cuTensorMapEncodeTiled.
    var tensorMap: [[UInt64]] = []
  }

  @TaskLocal static var current: MockDriver?

  private let state = Mutex(State())

  /// Runs a test with a mock of its own.
  static func run<R>(_ body: (MockDriver) throws -> R) rethrows -> R {
    let mock = MockDriver()
    return try $current.withValue(mock) { try body(mock) }
  }

  func withState<R: Sendable>(_ body: (inout State) throws -> R) rethrows -> R {
    try state.withLock { state in try body(&state) }
  }

  var calls: [String] { withState { $0.calls } }
  var live: [String] { withState { $0.live.values.sorted() } }

  /// The calls that the body makes.
  func calls(during body: () throws -> Void) rethrows -> [String] {
    withState { $0.calls = [] }
    try body()
    return calls
  }

  func fail(_ call: String, with result: Int32) {
    withState { $0.failures[call] = result }
  }

  /// Notes a call and answers it.
  static func answer(_ call: String, _ body: (inout State) -> Int32 = { _ in 0 }) -> Int32 {
    guard let current else { fatalError("\(call) was called outside of a test's mock") }
    // Pointers that the body holds are used during the call alone.
    return current.state.withLock { state in
      let isContext = call == "cuCtxPushCurrent" || call == "cuCtxPopCurrent"
      if !isContext || state.notesContexts { state.calls.append(call) }
      if let failure = state.failures.removeValue(forKey: call) { return failure }
      return body(&state)
    }
  }

  /// Gives out a handle.
  static func make(_ call: String, _ kind: String, _ out: UnsafeMutablePointer<UInt>) -> Int32 {
    answer(call) { state in
      // The caller passes a place for one handle.
      unsafe out.pointee = UInt(state.make(kind))
      return 0
    }
  }

  /// Takes a handle back.
  static func destroy(_ call: String, _ handle: UInt64) -> Int32 {
    answer(call) { state in state.live.removeValue(forKey: handle) == nil ? 400 : 0 }
  }
}

extension MockDriver.State {
  mutating func make(_ kind: String) -> UInt64 {
    nextHandle += 0x1000
    live[nextHandle] = kind
    return nextHandle
  }

  /// The allocation that holds an address, and the place in it.
  func allocation(of address: UInt64) -> (base: UInt64, offset: Int)? {
    for (base, bytes) in memory where address >= base && address < base + UInt64(bytes.count) {
      return (base, Int(address - base))
    }
    return nil
  }
}

/// A context on a mock of an H100.
func mockContext() throws -> Context {
  try Context(Driver(.mock()).device(at: 0))
}

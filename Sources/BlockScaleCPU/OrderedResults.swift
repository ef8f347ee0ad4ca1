// SPDX-License-Identifier: Apache-2.0

/// Results of tasks in the order of their indices.
final class OrderedResults<Value: Sendable>: Sendable {
  private let storage: Guarded<[Value?]>

  init(_ count: Int) { storage = Guarded(Array(repeating: nil, count: count)) }

  func set(_ index: Int, _ value: Value) { storage.withLock { $0[index] = value } }

  /// - Precondition: Every task has given its result.
  var values: [Value] { storage.withLock { $0.map { $0! } } }
}

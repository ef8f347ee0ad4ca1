// SPDX-License-Identifier: Apache-2.0

extension KernelBuilder {
  /// Repeats for 0, 1 and so on, below a count that is at least one.
  ///
  /// The end is tested after the body, which saves the jump of `forEach`.
  package func repeated(
    _ count: Value<UInt32>, file: String = #fileID, line: Int = #line,
    _ body: (Value<UInt32>) -> Void
  ) {
    at(file, line)
    let index = variable(Value<UInt32>(0))
    loop(file: file, line: line) {
      body(index.value)
      at(file, line)
      index.value = index.value + 1
      leave(if: index.value .>= count, file: file, line: line)
    }
  }
}

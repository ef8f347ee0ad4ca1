// SPDX-License-Identifier: Apache-2.0

/// Collects a kernel's parameters, shared memory and statements while its body runs.
///
/// Values refer to their builder, so operators append instructions to it. Swift's own `for` and `if`
/// repeat and choose while the kernel is built; `forEach`, `loop` and `when` do so while it runs.
package final class KernelBuilder {
  package let name: String
  package let target: Target
  package var bounds: LaunchBounds

  private var parameters: [KernelParameter] = []
  private var sharedBytes = 0
  private var registerCounts = [Int](repeating: 0, count: RegisterKind.allCases.count)
  /// The statements of the innermost open body come last.
  private var bodies: [[Statement]] = [[]]
  private var failure: KernelError?
  /// Where the last instruction that knows its line was written; operators cannot know theirs.
  private(set) var line = SourceLine(file: "", line: 0)

  init(name: String, bounds: LaunchBounds, target: Target) {
    self.name = name
    self.bounds = bounds
    self.target = target
  }

  /// The finished tree, or the first thing that the target lacks.
  func finished() throws(KernelError) -> KernelTree {
    if let failure { throw failure }
    precondition(bodies.count == 1, "\(name): a body was left open")
    return KernelTree(
      name: name, target: target, parameters: parameters, sharedBytes: sharedBytes, bounds: bounds,
      registerCounts: registerCounts, body: bodies[0])
  }

  // MARK: Appending

  /// A fresh register.
  package func register(_ kind: RegisterKind) -> Register {
    defer { registerCounts[kind.rawValue] += 1 }
    return Register(kind: kind, index: registerCounts[kind.rawValue])
  }

  /// Appends an instruction for the lanes where the predicate holds, or for all.
  package func append(_ instruction: Instruction, if predicate: Value<Bool>? = nil) {
    append(.instruction(instruction, guardedBy: predicate.map { Guard($0.register) }, line))
  }

  /// Appends a statement.
  package func append(_ statement: Statement) {
    bodies[bodies.count - 1].append(statement)
  }

  /// The statements that a closure appends.
  package func collected(_ body: () -> Void) -> [Statement] {
    bodies.append([])
    body()
    return bodies.removeLast()
  }

  /// Remembers where the instructions that follow were written.
  package func at(_ file: String, _ line: Int) {
    self.line = SourceLine(file: file, line: line)
  }

  /// A line of comment in the text.
  package func comment(_ text: String) { append(.comment(text)) }

  // MARK: The target

  /// Whether the target has a feature, for kernels that know another way.
  package func has(_ feature: Target.Feature) -> Bool { target.features.contains(feature) }

  /// Makes building fail unless the target has a feature.
  package func require(_ feature: Target.Feature) {
    if !has(feature) {
      fail("\(name) needs \(feature.rawValue), which \(target.name) does not have.")
    }
  }

  /// Makes building fail; the first sentence counts.
  package func fail(_ sentence: String) {
    if failure == nil { failure = KernelError(sentence) }
  }

  // MARK: Parameters

  /// Declares a pointer to global memory.
  package func pointer<Element: MemoryElement>(
    _ name: String, to element: Element.Type
  ) -> GlobalPointer<Element> {
    let generic: Value<UInt64> = parameter(name, .pointer)
    let address = register(.bits64)
    append(.globalAddress(address, generic.register))
    return GlobalPointer(address: Value(address, self, uniform: true))
  }

  /// Declares a number.
  package func uint32(_ name: String) -> Value<UInt32> { parameter(name, .uint32) }
  /// Declares a number of 64 bits.
  package func uint64(_ name: String) -> Value<UInt64> { parameter(name, .uint64) }
  /// Declares an FP32 value.
  package func float(_ name: String) -> Value<Float> { parameter(name, .float) }

  /// Declares a tensor map and returns its generic address.
  package func tensorMap(_ name: String) -> Value<UInt64> {
    let address = register(.bits64)
    append(.tensorMapAddress(address, parameter: declare(name, .tensorMap)))
    return Value(address, self, uniform: true)
  }

  private func parameter<Type: RegisterValue>(
    _ name: String, _ kind: KernelParameter.Kind
  ) -> Value<Type> {
    let register = register(Type.scalar.registerKind)
    append(.loadParameter(register, parameter: declare(name, kind)))
    return Value(register, self, uniform: true)
  }

  private func declare(_ name: String, _ kind: KernelParameter.Kind) -> Int {
    precondition(
      !parameters.contains { $0.name == name }, "\(self.name): two parameters are named \(name)")
    parameters.append(KernelParameter(name: name, kind: kind))
    return parameters.count - 1
  }

  // MARK: Shared memory

  /// Sets bytes of shared memory aside and returns the offset of the first.
  package func reserveShared(bytes: Int, alignment: Int) -> Int {
    precondition(
      alignment > 0 && alignment <= 1024 && alignment & (alignment - 1) == 0,
      "\(name): shared memory is aligned to a power of two up to 1024")
    let start = sharedBytes.rounded(upTo: alignment)
    sharedBytes = start + bytes
    if sharedBytes > target.maximumSharedBytes {
      fail(
        "\(name) needs \(sharedBytes) bytes of shared memory, and a block has \(target.maximumSharedBytes) on \(target.name)."
      )
    }
    return start
  }

  /// Shared memory for elements.
  package func shared<Element: MemoryElement>(
    _ element: Element.Type, count: Int, alignment: Int = 16
  ) -> SharedPointer<Element> {
    let offset = reserveShared(bytes: count * element.scalar.byteCount, alignment: alignment)
    let address = register(.bits32)
    append(.sharedAddress(address, offset: offset))
    return SharedPointer(address: Value(address, self, uniform: true))
  }
}

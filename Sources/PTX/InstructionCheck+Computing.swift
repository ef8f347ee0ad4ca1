// SPDX-License-Identifier: Apache-2.0

extension InstructionCheck {
  func checkRegisters(_ instruction: Instruction) throws(Misfit) {
    switch instruction {
    case .move(let result, let value):
      try expect(value, result.kind, "source")
    case .readSpecial(let result, _):
      try expect(result, .bits32, "result")
    case .loadParameter(let result, let index):
      let parameter = try parameter(index)
      switch parameter.kind {
      case .pointer, .uint64: try expect(result, .bits64, "result")
      case .uint32, .float: try expect(result, .bits32, "result")
      case .tensorMap: throw Misfit("of \(parameter.name), which is a tensor map")
      }
    case .tensorMapAddress(let result, let index):
      let parameter = try parameter(index)
      try expect(parameter.kind == .tensorMap, "of \(parameter.name), which is no tensor map")
      try expect(result, .bits64, "result")
    case .sharedAddress(let result, let offset):
      try expect(result, .bits32, "result")
      try expect(
        (0..<tree.sharedBytes).contains(offset),
        "of byte \(offset) of shared memory, which has \(tree.sharedBytes)")
    case .globalAddress(let result, let generic):
      try expect([result, generic], .bits64, "address")
    case .pack(let whole, let parts), .unpack(let parts, let whole):
      try checkParts(parts, of: whole)
    case .select(let result, let yes, let no, let predicate):
      try expect(result.kind != .predicate, "of predicates, which PTX does not have")
      try expect(yes, result.kind, "first value")
      try expect(no, result.kind, "second value")
      try expect(predicate, .predicate, "condition")
    case .permuteBytes(let result, let a, let b, let c),
      .logic3(let result, let a, let b, let c, _):
      try expect(result, .bits32, "result")
      for value in [a, b, c] { try expect(value, .bits32, "source") }
    default:
      preconditionFailure("not of this family: \(instruction)")
    }
  }

  private func parameter(_ index: Int) throws(Misfit) -> KernelParameter {
    guard tree.parameters.indices.contains(index) else {
      throw Misfit("of parameter \(index), of \(tree.parameters.count)")
    }
    return tree.parameters[index]
  }

  private func checkParts(_ parts: [Register], of whole: Register) throws(Misfit) {
    switch (whole.kind, parts.count) {
    case (.bits32, 2), (.bits64, 4): try expect(parts, .bits16, "part")
    case (.bits64, 2): try expect(parts, .bits32, "part")
    default: throw Misfit("with \(parts.count) parts of a register of \(whole.kind.typeName)")
    }
  }

  func checkArithmetic(_ instruction: Instruction) throws(Misfit) {
    switch instruction {
    case .unary(let operation, let type, let result, let value):
      try expect(type, among: operation.types)
      let counts = operation == .populationCount || operation == .leadingZeros
      try expect(result, counts ? .bits32 : type.registerKind, "result")
      try expect(value, type.registerKind, "source")
    case .binary(let operation, let type, let result, let left, let right):
      try expect(type, among: operation.types)
      let wide = operation == .multiplyWide
      try expect(result, wide ? type.arithmetic.wide.registerKind : type.registerKind, "result")
      try expect(left, type.registerKind, "first source")
      let shifts = operation == .shiftLeft || operation == .shiftRight
      try expect(right, shifts ? .bits32 : type.registerKind, "second source")
    case .ternary(let operation, let type, let result, let a, let b, let c):
      try expect(type, among: operation.types)
      let sum =
        operation == .multiplyAddWide ? type.arithmetic.wide.registerKind : type.registerKind
      try expect(result, sum, "result")
      try expect(a, type.registerKind, "first source")
      try expect(b, type.registerKind, "second source")
      try expect(c, sum, "third source")
    case .compare(let comparison, let type, let result, let left, let right):
      try expect(type, among: comparison.types)
      try expect(result, .predicate, "result")
      try expect(left, type.registerKind, "first source")
      try expect(right, type.registerKind, "second source")
    case .predicateLogic(let operation, let result, let left, let right):
      try expect([result, left] + (right.map { [$0] } ?? []), .predicate, "predicate")
      try expect((operation == .not) == (right == nil), "with too many or too few sources")
    default:
      preconditionFailure("not of this family: \(instruction)")
    }
  }

  func checkConversion(_ instruction: Instruction) throws(Misfit) {
    switch instruction {
    case .convert(let result, let to, let value, let from, let rounding, let saturating):
      try expect(result, to.registerKind, "result")
      try expect(value, from.registerKind, "source")
      try checkConversion(from: from, to: to, rounding)
      try expect(
        !saturating || (to != .bf16 && from != .bf16 && !to.holds(from)),
        "saturating, which PTX does not have")
    case .packPair(let result, let format, let high, let low):
      try expect(result, format.registerKind, "result")
      for value in [high, low] { try expect(value, .bits32, "source") }
    case .packQuadStochastic(let result, let format, let values, let random):
      guard let kind = format.quadKind else { throw Misfit("which PTX does not have") }
      try expect(result, kind, "result")
      try expect(values.count, among: [4], "sources")
      for value in values + [random] { try expect(value, .bits32, "source") }
    case .unpackPair(let result, let value, let format):
      try expect(format.registerKind == .bits16, "which is no conversion")
      try expect(result, .bits32, "result")
      try expect(value, .bits16, "source")
    default:
      preconditionFailure("not of this family: \(instruction)")
    }
  }

  /// Which rounding a pair of types takes.
  private func checkConversion(
    from: ScalarType, to: ScalarType, _ rounding: Rounding
  ) throws(Misfit) {
    let numbers: Set<ScalarType> = [.u8, .u16, .u32, .u64, .s32, .s64, .f16, .bf16, .f32, .f64]
    try expect(from, among: numbers)
    try expect(to, among: numbers)
    try expect(
      !(from == .u8 && to == .bf16) && !(from == .bf16 && to == .u8), "which PTX does not have")
    let toNearest: [Rounding] = [.nearestEven, .towardZero, .down, .up]
    let toInteger: [Rounding] = [
      .nearestEvenInteger, .towardZeroInteger, .downInteger, .upInteger,
    ]
    let allowed: [Rounding] =
      switch (from.isFloatingPoint, to.isFloatingPoint) {
      case (true, false): toInteger
      case (false, true): toNearest
      case (false, false): [.none]
      case (true, true):
        if from == to {
          from == .bf16 ? toInteger : toInteger + [.none]
        } else if to.byteCount > from.byteCount {
          [.none]
        } else {
          toNearest
        }
      }
    try expect(
      allowed.contains(rounding),
      rounding == .none
        ? "without a rounding, which it needs"
        : "rounding by \(rounding.rawValue), which it does not take")
  }
}

extension ScalarType {
  /// Whether it is an integer with the whole range of the other.
  fileprivate func holds(_ other: ScalarType) -> Bool {
    guard !isFloatingPoint, !other.isFloatingPoint else { return false }
    if isSigned == other.isSigned { return byteCount >= other.byteCount }
    return isSigned && byteCount > other.byteCount
  }
}

extension UnaryOperation {
  fileprivate var types: Set<ScalarType> {
    switch self {
    case .negate, .absolute: .integersFrom32.union(Set.floats).union(Set.halves)
    case .not: .integers
    case .populationCount, .leadingZeros, .reverseBits: .integersFrom32
    case .reciprocal, .squareRoot: .floats
    case .approximateReciprocal, .approximateReciprocalRoot, .approximateLogarithm2: [.f32]
    case .approximateExponential2, .approximateTanh: Set.halves.union([.f32])
    }
  }
}

extension BinaryOperation {
  fileprivate var types: Set<ScalarType> {
    switch self {
    case .add, .subtract, .multiply, .minimum, .maximum: .numbers
    case .multiplyHigh, .remainder, .and, .or, .xor, .shiftLeft, .shiftRight: .integers
    case .multiplyWide: [.b16, .b32, .u16, .u32, .s32]
    case .divide: .integers.union(Set.floats)
    case .addTowardZero: [.f32]
    case .minimumNaN, .maximumNaN: Set.halves.union([.f32])
    }
  }
}

extension TernaryOperation {
  fileprivate var types: Set<ScalarType> {
    switch self {
    case .multiplyAdd: .numbers
    case .multiplyAddWide: [.b32, .u32, .s32]
    case .funnelShiftRight: .integers32
    }
  }
}

extension Comparison {
  /// Bits are equal or not; order is of numbers, NaN of floating-point values.
  fileprivate var types: Set<ScalarType> {
    let floats: Set<ScalarType> = [.f16, .bf16, .f32, .f64]
    return switch self {
    case .equal, .notEqual: .integers.union(floats)
    case .less, .lessOrEqual, .greater, .greaterOrEqual:
      Set.integers.subtracting(Set.bits).union(floats)
    case .notEqualOrNaN, .unordered: floats
    }
  }
}

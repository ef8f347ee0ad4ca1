// SPDX-License-Identifier: Apache-2.0

extension InstructionCheck {
  func checkMemory(_ instruction: Instruction) throws(Misfit) {
    switch instruction {
    case .load(let access, let results, let address):
      try check(access, results.count, address)
      try expect(results, access.type.registerKind, "result")
      try expect(access.cache != .evictFirst, "evicting first, which is of stores")
      try expect(
        !access.isVolatile || access.cache == .normal, "volatile and with a cache hint at once")
    case .store(let access, let values, let address):
      try check(access, values.count, address)
      for value in values { try expect(value, access.type.registerKind, "source") }
      try expect(
        access.cache == .normal || access.cache == .evictFirst, "with a hint for loads")
      try expect(
        !access.isVolatile || access.cache == .normal, "volatile and with a cache hint at once")
    case .atomic(let operation, let type, let space, let result, let address, let value, let new):
      try expect(type, among: operation.types)
      try expect(address, in: space)
      if let result { try expect(result, type.registerKind, "result") }
      try expect(value, type.registerKind, "source")
      if let new { try expect(new, type.registerKind, "new value") }
      try expect(
        (operation == .compareAndSwap) == (new != nil), "with too many or too few sources")
      try expect(
        result != nil || (operation != .compareAndSwap && operation != .exchange),
        "without a result")
    case .prefetchL2(let address):
      try expect(address, in: .global)
    default:
      preconditionFailure("not of this family: \(instruction)")
    }
  }

  private func check(_ access: MemoryAccess, _ count: Int, _ address: Address) throws(Misfit) {
    try expect(access.type != .predicate, "of predicates, which memory does not hold")
    try expect(access.count, among: [1, 2, 4], "values")
    try expect(
      access.count * access.type.byteCount <= 16,
      "with \(access.count) values of \(access.type.rawValue), more than 16 bytes")
    try expect(count == access.count, "with \(count) registers for \(access.count) values")
    try expect(address, in: access.space)
    try expect(
      access.space == .global || access.cache == .normal,
      "with a cache hint, which is for global memory")
  }

  func checkBulk(_ instruction: Instruction) throws(Misfit) {
    switch instruction {
    case .tensorLoad(let copy, let barrier, let multicast):
      try check(copy)
      try expect(barrier, in: .shared)
      if let multicast { try expect(multicast, .bits16, "mask of blocks") }
    case .tensorStore(let copy, _):
      try check(copy)
    case .tensorPrefetch(let map, let coordinates):
      try check(map, coordinates)
    case .prefetchTensorMap(let map):
      try expect(map, .bits64, "map")
    case .bulkLoad(let shared, let global, let bytes, let barrier):
      try check(shared, global, bytes)
      try expect(barrier, in: .shared)
    case .bulkStore(let global, let shared, let bytes, let type):
      try check(shared, global, bytes)
      if let type {
        try expect(type, among: [.b32, .b64, .u32, .u64, .s32, .s64, .f16, .bf16, .f32, .f64])
      }
    case .bulkWait(let pending, _):
      try expect(pending, in: 0...127, "a number of groups of")
    default:
      preconditionFailure("not of this family: \(instruction)")
    }
  }

  private func check(_ copy: TensorCopy) throws(Misfit) {
    try check(copy.map, copy.coordinates)
    try expect(copy.shared, in: .shared)
  }

  private func check(_ map: Register, _ coordinates: [Operand]) throws(Misfit) {
    try expect(map, .bits64, "map")
    try expect(coordinates.count, among: [1, 2, 3, 4, 5], "coordinates")
    for coordinate in coordinates { try expect(coordinate, .bits32, "coordinate") }
  }

  private func check(_ shared: Address, _ global: Register, _ bytes: Operand) throws(Misfit) {
    try expect(shared, in: .shared)
    try expect(global, .bits64, "global address")
    try expect(bytes, .bits32, "number of bytes")
    if case .immediate(let count) = bytes {
      try expect(
        count > 0 && count % 16 == 0, "with \(count) bytes, which should be a multiple of 16")
    }
  }
}

extension AtomicOperation {
  fileprivate var types: Set<ScalarType> {
    switch self {
    case .add: .integersFrom32.union(Set.floats).union(Set.halves)
    case .minimum, .maximum: [.u32, .u64, .s32, .s64]
    case .and, .or, .exchange, .compareAndSwap: .integersFrom32
    }
  }
}

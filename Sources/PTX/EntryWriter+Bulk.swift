// SPDX-License-Identifier: Apache-2.0

extension EntryWriter {
  /// Copies that a unit of their own does.
  mutating func writeBulk(_ instruction: Instruction) {
    switch instruction {
    case .tensorLoad(let copy, let barrier, let multicast):
      writeTensorLoad(copy, barrier: barrier, multicast: multicast)
    case .tensorStore(let copy, let adding):
      writeTensorStore(copy, adding: adding)
    case .tensorPrefetch(let map, let coordinates):
      emit(
        "cp.async.bulk.prefetch.tensor", "\(coordinates.count)d", "L2.global",
        operands: box(map, coordinates))
    case .prefetchTensorMap(let map):
      emit("prefetch.tensormap", operands: "[\(map.text)]")
    case .bulkLoad(let shared, let global, let bytes, let barrier):
      emit(
        "cp.async.bulk", destination, "global.mbarrier::complete_tx::bytes",
        operands: shared.text, "[\(global.text)]", operand(bytes, .u32), barrier.text)
    case .bulkStore(let global, let shared, let bytes, nil):
      emit(
        "cp.async.bulk.global.shared::cta.bulk_group",
        operands: "[\(global.text)]", shared.text, operand(bytes, .u32))
    case .bulkStore(let global, let shared, let bytes, let type?):
      emit(
        "cp.reduce.async.bulk.global.shared::cta.bulk_group.add", type.flushSuffix,
        type == .s64 ? "u64" : type.arithmetic.rawValue,
        operands: "[\(global.text)]", shared.text, operand(bytes, .u32))
    case .bulkCommit:
      emit("cp.async.bulk.commit_group")
    case .bulkWait(let pending, let reading):
      emit("cp.async.bulk.wait_group", reading ? "read" : "", operands: "\(pending)")
    default:
      preconditionFailure("not of this family: \(instruction)")
    }
  }

  /// The space of what a block loads for itself.
  ///
  /// Hopper's PTX knows that of the cluster only, which includes the block's; for SM120 `ptxas` makes a
  /// loop over the stack of it.
  private var destination: String {
    tree.target.capability.major < 10 ? "shared::cluster" : "shared::cta"
  }

  private mutating func writeTensorLoad(
    _ copy: TensorCopy, barrier: Address, multicast: Operand?
  ) {
    var operands = [copy.shared.text, box(copy.map, copy.coordinates), barrier.text]
    if let multicast { operands.append(operand(multicast, .b16)) }
    if let policy = copy.policy { operands.append(held(policy.rawValue, .b64)) }
    emit(
      "cp.async.bulk.tensor", "\(copy.coordinates.count)d",
      multicast == nil ? destination : "shared::cluster", "global.mbarrier::complete_tx::bytes",
      multicast == nil ? "" : "multicast::cluster", copy.policy.suffix,
      operands: operands.joined(separator: ", "))
  }

  private mutating func writeTensorStore(_ copy: TensorCopy, adding: Bool) {
    var operands = [box(copy.map, copy.coordinates), copy.shared.text]
    if let policy = copy.policy { operands.append(held(policy.rawValue, .b64)) }
    emit(
      adding ? "cp.reduce.async.bulk.tensor" : "cp.async.bulk.tensor", "\(copy.coordinates.count)d",
      "global.shared::cta", adding ? "add" : "", "bulk_group", copy.policy.suffix,
      operands: operands.joined(separator: ", "))
  }

  /// `[map, {x, y}]`.
  private mutating func box(_ map: Register, _ coordinates: [Operand]) -> String {
    "[\(map.text), {" + coordinates.map { operand($0, .s32) }.joined(separator: ", ") + "}]"
  }
}

extension CachePolicy? {
  fileprivate var suffix: String { self == nil ? "" : "L2::cache_hint" }
}

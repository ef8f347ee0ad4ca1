// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import Minifloat
import _BlockScaleShims

extension CPUBackend {
  /// The product `left · rightᵀ`.
  ///
  /// Products of codes are exact and are summed in FP32; see ``ReferenceBackend`` for what is done in
  /// which order. Tiers that multiply BF16 take subnormal values as zero, as the hardware defines it.
  ///
  /// - Parameters:
  ///   - left: M×K.
  ///   - right: N×K, packed by this back end or another of the same process.
  ///   - bias: N values that are added to every row.
  /// - Returns: M×N, rounded once.
  /// - Throws: ``BlockScaleError`` if the shapes do not fit.
  /// - Complexity: O(M·N·K).
  public func multiply<Value: SourceValue>(
    _ left: Operand, _ right: PackedMatrix, bias: [Float]? = nil, as type: Value.Type = Value.self
  ) throws(BlockScaleError) -> Matrix<Value> {
    let partDepth = try check(left, right, bias: bias)
    let values: [Value] = filled(left.rows * right.outputs) {
      run(
        left, rows: 0..<left.rows, right, partDepth: partDepth, bias: bias, adds: false,
        format: Value.sourceFormat.kernelFormat, into: $0.bytes)
    }
    return try Matrix(values, rows: left.rows, columns: right.outputs)
  }

  /// Writes the product `left · rightᵀ` into a matrix, or adds it to what is there.
  ///
  /// - Throws: ``BlockScaleError`` if the shapes do not fit; then `result` is as it was.
  public func multiply<Value: SourceValue>(
    _ left: Operand, _ right: PackedMatrix, bias: [Float]? = nil, into result: inout Matrix<Value>,
    adding: Bool = false
  ) throws(BlockScaleError) {
    let partDepth = try check(left, right, bias: bias)
    guard result.rows == left.rows, result.columns == right.outputs else {
      throw .productShape(left, outputs: right.outputs, depth: right.depth, result)
    }
    result.values.withOutput {
      run(
        left, rows: 0..<left.rows, right, partDepth: partDepth, bias: bias, adds: adding,
        format: Value.sourceFormat.kernelFormat, into: $0.bytes)
    }
  }

  /// Products of groups of rows with a matrix each, as a mixture of experts has them; neither the rows
  /// of a group nor its outputs are copied.
  ///
  /// - Parameters:
  ///   - left: M×K, the rows of one group after those of another.
  ///   - rowCounts: The rows of each group, which add up to M; a group may have none.
  ///   - right: N×K for each group, all with the same N.
  /// - Returns: M×N, to the last bit as each group's own product.
  /// - Throws: ``BlockScaleError`` if the shapes do not fit or a group begins inside a block of rows.
  /// - Complexity: O(M·N·K).
  public func multiplyGroups<Value: SourceValue>(
    _ left: Operand, rowCounts: [Int], _ right: [PackedMatrix], as type: Value.Type = Value.self
  ) throws(BlockScaleError) -> Matrix<Value> {
    let groups = try left.groups(rowCounts, count: right.count)
    let outputs = groups.first.map { right[$0.index].outputs } ?? 0
    var partDepths: [Int?] = []
    for group in groups {
      try left.checkRows(group.rows)
      partDepths.append(try check(left, right[group.index], bias: nil))
      try checkGroupOutputs(outputs, right[group.index].outputs)
    }
    let values: [Value] = filled(left.rows * outputs) { values in
      let width = MemoryLayout<Value>.stride
      for (group, partDepth) in zip(groups, partDepths) {
        let first = group.rows.lowerBound * outputs * width
        run(
          left, rows: group.rows, right[group.index], partDepth: partDepth, bias: nil, adds: false,
          format: Value.sourceFormat.kernelFormat,
          into: values.bytes.part(first..<first + group.rows.count * outputs * width))
      }
    }
    return try Matrix(values, rows: left.rows, columns: outputs)
  }

  private func check(
    _ left: Operand, _ right: PackedMatrix, bias: [Float]?
  ) throws(BlockScaleError) -> Int? {
    guard left.columns == right.depth else {
      throw BlockScaleError(
        .wrongShape,
        "The left operand has \(left.columns) columns and the right one \(right.depth); "
          + "a product sums along both.")
    }
    if let bias, bias.count != right.outputs {
      throw BlockScaleError(
        .wrongShape, "The bias has \(bias.count) values for \(right.outputs) outputs.")
    }
    try left.checkLeft()
    return try commonPartDepth(left.partDepth, right.partDepth)
  }

  private func run(
    _ left: Operand, rows: Range<Int>, _ right: PackedMatrix, partDepth: Int?, bias: [Float]?,
    adds: Bool, format: bs_values_t, into values: Output<UInt8>
  ) {
    if let kernels = BF16Kernels(tier) {
      Product(
        kernels, threads: threads, left: left, rows: rows, right: right, partDepth: partDepth
      ).run(into: values, format: format, bias: bias, adds: adds)
      return
    }
    Product(
      FP32Kernels(tier), threads: threads, left: left, rows: rows, right: right,
      partDepth: partDepth
    ).run(into: values, format: format, bias: bias, adds: adds)
  }
}

extension SourceFormat {
  var kernelFormat: bs_values_t {
    switch self {
    case .float32: BS_VALUES_FP32
    case .bfloat16: BS_VALUES_BF16
    case .float16: BS_VALUES_FP16
    }
  }
}

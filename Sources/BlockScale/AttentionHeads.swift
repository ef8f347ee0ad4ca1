// SPDX-License-Identifier: Apache-2.0

/// The heads of an attention layer.
///
/// Query heads in groups of `count / keyValueCount` share a head of keys and values, one group after
/// another.
public struct AttentionHeads: Sendable, Hashable {
  /// The heads of queries.
  public let count: Int
  /// The heads of keys and values.
  public let keyValueCount: Int
  /// The values of one head.
  public let dimension: Int

  /// Creates a description of heads.
  ///
  /// - Throws: ``BlockScaleError`` if a number is not positive or the groups have no equal size.
  public init(count: Int, keyValueCount: Int, dimension: Int) throws(BlockScaleError) {
    guard count > 0, keyValueCount > 0, dimension > 0, count % keyValueCount == 0 else {
      throw BlockScaleError(
        .wrongShape,
        "\(count) heads of \(dimension) values cannot share \(keyValueCount) heads of keys and "
          + "values in groups of one size.")
    }
    self.count = count
    self.keyValueCount = keyValueCount
    self.dimension = dimension
  }

  /// The query heads of one head of keys and values.
  public var groupSize: Int { count / keyValueCount }

  /// What scores are multiplied by: 1/√dimension.
  package var scale: Float { 1 / Float(dimension).squareRoot() }
}

/// What attention gives for its queries.
public struct AttentionOutput: Sendable {
  /// (B, S, heads × dimension).
  public let output: BFloat16Tensor
  /// ln Σ exp of each query's scores, B × heads × S: what the backward pass needs instead of the
  /// probabilities.
  public let logSums: [Float]

  package init(output: BFloat16Tensor, logSums: [Float]) {
    self.output = output
    self.logSums = logSums
  }
}

/// The gradients of attention's three operands, in their shapes.
public struct AttentionGradients: Sendable {
  /// Of the queries.
  public let query: BFloat16Tensor
  /// Of the keys, summed over the query heads that share them.
  public let key: BFloat16Tensor
  /// Of the values, summed likewise.
  public let value: BFloat16Tensor

  package init(query: BFloat16Tensor, key: BFloat16Tensor, value: BFloat16Tensor) {
    self.query = query
    self.key = key
    self.value = value
  }
}

/// The extents of one call of attention, checked.
package struct AttentionExtents: Sendable {
  package let batch: Int
  package let queries: Int
  package let keys: Int

  /// - Throws: ``BlockScaleError`` if the operands do not fit the heads and each other.
  package init(
    query: BFloat16Tensor, key: BFloat16Tensor, value: BFloat16Tensor, heads: AttentionHeads
  ) throws(BlockScaleError) {
    func text(_ tensor: BFloat16Tensor) -> String {
      tensor.shape.map(String.init).joined(separator: "x")
    }
    guard query.shape.count == 3, key.shape.count == 3, key.shape == value.shape,
      query.shape[0] == key.shape[0], query.shape[1] <= key.shape[1],
      query.shape[2] == heads.count * heads.dimension,
      key.shape[2] == heads.keyValueCount * heads.dimension
    else {
      throw BlockScaleError(
        .wrongShape,
        "Queries of shape (\(text(query))), keys of (\(text(key))) and values of (\(text(value))) "
          + "do not fit \(heads.count) heads of \(heads.dimension) values with "
          + "\(heads.keyValueCount) heads of keys.")
    }
    batch = query.shape[0]
    queries = query.shape[1]
    keys = key.shape[1]
  }

  /// The keys that a query sees: itself and all before it, where the last query is the last key.
  package func visible(_ query: Int) -> Int { query + 1 + keys - queries }

  /// Checks what the backward pass gets.
  package func check(
    gradient: BFloat16Tensor, forward: AttentionOutput, query: BFloat16Tensor,
    heads: AttentionHeads
  ) throws(BlockScaleError) {
    try gradient.check("gradient", hasShapeOf: query, "queries")
    try forward.output.check("output", hasShapeOf: query, "queries")
    guard forward.logSums.count == batch * heads.count * queries else {
      throw BlockScaleError(
        .wrongCount,
        "There are \(forward.logSums.count) sums for \(batch * heads.count * queries) rows of "
          + "scores.")
    }
  }
}

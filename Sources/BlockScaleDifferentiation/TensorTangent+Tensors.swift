// SPDX-License-Identifier: Apache-2.0

#if Differentiation && canImport(_Differentiation)
  import BlockScale
  import Minifloat

  extension TensorTangent {
    /// The derivative of a BF16 tensor.
    init(_ gradient: BFloat16Tensor) {
      self.init(gradient.matrix.values.map { Float($0) })
    }

    /// As a gradient that backward calls take: rounded to BF16, in the shape of the output it belongs to.
    ///
    /// - Precondition: There are as many values.
    func tensor(like output: BFloat16Tensor) -> BFloat16Tensor {
      let matrix = output.matrix
      precondition(
        values.count == matrix.values.count,
        "The derivative of an output of \(matrix.values.count) values has \(values.count)")
      return BFloat16Tensor(
        Matrix(
          unchecked: values.map { BFloat16(rounding: $0) }, rows: matrix.rows,
          columns: matrix.columns), like: output)
    }

    /// Adds the derivative to parameters.
    ///
    /// - Precondition: It has as many values, or is zero.
    func added(to parameters: [Float], _ name: String) -> [Float] {
      if values.isEmpty { return parameters }
      precondition(
        values.count == parameters.count,
        "An offset of \(values.count) values for \(parameters.count) of the \(name)")
      return zip(parameters, values).map { $0 + $1 }
    }
  }

  /// The result of an operation, which refuses nothing but shapes: a programmer's error here, since a
  /// function under differentiation cannot throw and be chained.
  func unwrapped<Result>(_ body: () throws(BlockScaleError) -> Result) -> Result {
    do {
      return try body()
    } catch {
      preconditionFailure("\(error)")
    }
  }
#endif

// SPDX-License-Identifier: Apache-2.0

#if Differentiation && canImport(_Differentiation)
  import BlockScale
  import BlockScaleCPU
  import BlockScaleDifferentiation
  import BlockScaleLayers
  import Minifloat
  import Testing
  import _BlockScaleTestSupport
  import _Differentiation

  @Suite struct DifferentiableLinearTests {
    static func values(_ count: Int, seed: UInt64) -> [Float] {
      var generator = SplitMix(seed: seed)
      return (0..<count).map { _ in generator.normal() }
    }

    static func tensor(_ rows: Int, _ columns: Int, seed: UInt64) throws -> DifferentiableTensor {
      DifferentiableTensor(
        BFloat16Tensor(
          try Matrix(
            values(rows * columns, seed: seed).map { BFloat16(rounding: $0) }, rows: rows,
            columns: columns)))
    }

    @Test func derivativesAreThoseOfThePairs() throws {
      let weight = try Matrix(Self.values(24 * 40, seed: 1), rows: 24, columns: 40)
      let layer = DifferentiableLinear(
        try Float8BlockwiseLinear(
          weight: weight, bias: Self.values(24, seed: 2), on: CPUBackend()))
      let x = try Self.tensor(6, 40, seed: 3)
      let weights = Self.values(6 * 24, seed: 4)
      let (parameters, input) = gradient(at: layer, x) { layer, x in
        layer(x).weightedSum(weights)
      }
      var expected = LinearGradients(for: layer.layer)
      let saved = try layer.layer.forward(x.tensor).saved
      let dy = BFloat16Tensor(
        try Matrix(weights.map { BFloat16(rounding: $0) }, rows: 6, columns: 24))
      let dx = try layer.layer.backward(dy, saved: saved, into: &expected)
      #expect(parameters.weight.values == expected.weight.values)
      #expect(parameters.bias.values == expected.bias)
      #expect(input.values == dx.matrix.values.map { Float($0) })
    }

    @Test func derivativesAreThoseOfFiniteDifferences() throws {
      // In BF16 on values that it holds exactly the loss is linear in each parameter.
      func small(_ count: Int, seed: UInt64) -> [Float] {
        Self.values(count, seed: seed).map { ($0 * 4).rounded() / 4 }
      }
      let layer = DifferentiableLinear(
        try BFloat16Linear(
          weight: Matrix(small(5 * 7, seed: 1), rows: 5, columns: 7), bias: small(5, seed: 2),
          on: CPUBackend()))
      let x = DifferentiableTensor(
        BFloat16Tensor(
          try Matrix(
            small(3 * 7, seed: 3).map { BFloat16(rounding: $0) }, rows: 3, columns: 7)))
      let weights = small(15, seed: 4)
      let derivative = gradient(at: layer) { $0(x).weightedSum(weights) }
      let base = layer(x).weightedSum(weights)
      for index in [0, 12, 34] {
        var offset = [Float](repeating: 0, count: 35)
        offset[index] = 2
        var moved = layer
        moved.move(by: .init(weight: TensorTangent(offset), bias: .zero))
        let slope = (moved(x).weightedSum(weights) - base) / 2
        #expect(abs(slope - derivative.weight.values[index]) <= 0.05 * abs(slope) + 0.2)
      }
    }

    @Test func layersChain() throws {
      let first = DifferentiableLinear(
        try BFloat16Linear(
          weight: Matrix(Self.values(16 * 8, seed: 1), rows: 16, columns: 8), on: CPUBackend()))
      let second = DifferentiableLinear(
        try NVFP4Linear(
          weight: Matrix(Self.values(4 * 16, seed: 2), rows: 4, columns: 16), on: CPUBackend()))
      let x = try Self.tensor(5, 8, seed: 3)
      let weights = Self.values(20, seed: 4)
      let derivative = gradient(at: x) { x in
        second(first(x)).weightedSum(weights)
      }
      #expect(derivative.values.count == 40)
      let isUsed = derivative.values.contains { $0 != 0 }
      #expect(isUsed)
    }

    @Test func whatIsNotFiniteIsNotHidden() throws {
      let layer = DifferentiableLinear(
        try BFloat16Linear(
          weight: Matrix(Self.values(4 * 8, seed: 1), rows: 4, columns: 8), on: CPUBackend()))
      let x = try Self.tensor(2, 8, seed: 3)
      let refused = gradient(at: x) {
        layer($0).weightedSum([Float](repeating: .infinity, count: 8))
      }
      let isNaN = refused.values.allSatisfy { $0.isNaN }
      #expect(isNaN && refused.values.count == 16)
      var broken = x.tensor.matrix.values
      broken[3] = BFloat16(rounding: .infinity)
      let input = DifferentiableTensor(
        BFloat16Tensor(try Matrix(broken, rows: 2, columns: 8)))
      let (loss, derivative) = valueWithGradient(at: input) {
        layer($0).weightedSum([Float](repeating: 1, count: 8))
      }
      #expect(loss.isNaN && derivative.values[0].isNaN)
    }
  }
#endif

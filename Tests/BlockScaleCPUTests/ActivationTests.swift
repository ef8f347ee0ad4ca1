// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import Minifloat
import Testing
import _BlockScaleTestSupport

/// Every operation of the activation flow gives the reference's bytes, on one thread and on several,
/// on the plainest tier and on the fastest.
@Suite struct ActivationTests {
  private let reference = ReferenceBackend()
  private let backends: [CPUBackend]

  init() throws {
    backends = [
      try CPUBackend(tier: .portable, threads: 1), CPUBackend(threads: 2), CPUBackend(threads: 5),
    ]
  }

  private func bits(_ tensor: BFloat16Tensor) -> [UInt16] {
    tensor.shape.map { UInt16($0) } + tensor.matrix.values.map(\.bitPattern)
  }

  private func bits<Element>(_ matrix: BlockScaledMatrix<Element, BFloat16>) -> [UInt16] {
    [UInt16(matrix.rows), UInt16(matrix.columns)] + matrix.scales.map(\.bitPattern)
      + matrix.codes.map { UInt16($0) }
  }

  private func bits<Element>(_ tensor: Float8Tensor<Element>) -> [UInt16] {
    tensor.shape.map { UInt16($0) } + bits(tensor.matrix)
  }

  private func bits<Element>(_ result: PerTensorActivation<Element>) -> [UInt16] {
    bits(result.tensor) + (result.transposed.map { bits($0) } ?? [])
  }

  private func bits<Element>(_ result: GroupScaledActivation<Element>) -> [UInt16] {
    bits(result.values) + bits(result.groupScales)
  }

  private func bits(_ gradients: NormGradients) -> [UInt32] {
    // A NaN's payload depends on the order of operands.
    func bits(_ values: [Float]?) -> [UInt32] {
      (values ?? []).map { $0.isNaN ? 0x7FC0_0000 : $0.bitPattern }
    }
    return self.bits(gradients.input).map { UInt32($0) } + bits(gradients.weight)
      + bits(gradients.bias)
  }

  struct Case: Sendable, CustomTestStringConvertible {
    var shape: [Int]
    var recipe: ActivationRecipe
    /// Whether some values are NaN or infinite.
    var isSpoilt: Bool

    var testDescription: String { "\(shape) \(recipe.rawValue)\(isSpoilt ? ", spoilt" : "")" }

    static let all = ActivationSamples.shapes.flatMap { shape in
      ActivationRecipe.allCases.flatMap { recipe in
        [false, true].map { Case(shape: shape, recipe: recipe, isSpoilt: $0) }
      }
    }

    func bfloats(_ salt: UInt64, deviation: Float = 1) throws -> BFloat16Tensor {
      let samples = ActivationSamples(shape)
      var values = samples.values(salt, deviation: deviation).map { BFloat16($0) }
      if isSpoilt {
        for (index, bits) in [0x7FC1, 0xFF80, 0x7F7F, 0xFFFF, 0x8000].enumerated() {
          values[(index * 37 + Int(salt) * 11) % values.count] = BFloat16(bitPattern: UInt16(bits))
        }
      }
      return try Tensor(Matrix(values, rows: samples.rows, columns: samples.columns), shape: shape)
    }

    func codes<Element>(
      _ salt: UInt64, as element: Element.Type, groupSize: Int = 16
    ) throws -> Float8Tensor<Element> {
      try ReferenceBackend().quantizeGroups(
        bfloats(salt), as: element, groupSize: groupSize, recipe: recipe)
    }
  }

  @Test(arguments: Case.all)
  func quantization(sample: Case) throws {
    let input = try sample.bfloats(1)
    let floats = try Tensor(
      Matrix(
        input.matrix.values.map { Float($0) * 1.003 }, rows: input.matrix.rows,
        columns: input.matrix.columns), shape: sample.shape)
    let recipe = sample.recipe
    for cpu in backends {
      for groupSize in [16, 32, 64, 128] {
        let narrow = try reference.quantizeGroups(
          input, as: Float8E4M3.self, groupSize: groupSize, recipe: recipe)
        #expect(
          try bits(
            cpu.quantizeGroups(input, as: Float8E4M3.self, groupSize: groupSize, recipe: recipe))
            == bits(narrow))
        #expect(try bits(cpu.dequantize(narrow)) == bits(reference.dequantize(narrow)))
        #expect(bits(cpu.transpose(narrow)) == bits(reference.transpose(narrow)))
        let wide = try reference.quantizeGroups(
          floats, as: Float8E5M2.self, groupSize: groupSize, recipe: recipe)
        #expect(
          try bits(
            cpu.quantizeGroups(floats, as: Float8E5M2.self, groupSize: groupSize, recipe: recipe))
            == bits(wide))
        #expect(try bits(cpu.dequantize(wide)) == bits(reference.dequantize(wide)))
        let expected = try reference.quantizePerTensor(
          floats, as: Float8E4M3.self, groupSize: groupSize, outputQuantizedTranspose: true,
          recipe: recipe)
        let actual = try cpu.quantizePerTensor(
          floats, as: Float8E4M3.self, groupSize: groupSize, outputQuantizedTranspose: true,
          recipe: recipe)
        #expect(bits(actual.quantized) == bits(expected.quantized))
        #expect(bits(actual.groupScales) == bits(expected.groupScales))
        #expect(
          try bits(cpu.dequantize(actual.quantized.tensor))
            == bits(reference.dequantize(expected.quantized.tensor)))
      }
      for rounding in [ActivationRounding.nearest, .stochastic(seed: 7)] {
        #expect(
          try bits(
            cpu.divisionTranspose(input, as: Float8E5M2.self, recipe: recipe, rounding: rounding))
            == bits(
              reference.divisionTranspose(
                input, as: Float8E5M2.self, recipe: recipe, rounding: rounding)))
        #expect(
          try bits(
            cpu.division(
              floats, by: BFloat16(Float(0.01)), as: Float8E4M3.self, recipe: recipe,
              rounding: rounding))
            == bits(
              reference.division(
                floats, by: BFloat16(Float(0.01)), as: Float8E4M3.self, recipe: recipe,
                rounding: rounding)))
      }
    }
  }

  @Test(arguments: Case.all)
  func elementwise(sample: Case) throws {
    let recipe = sample.recipe
    let (first, second) = (try sample.bfloats(1), try sample.bfloats(2))
    let left = try sample.codes(3, as: Float8E4M3.self)
    let right = try sample.codes(4, as: Float8E5M2.self)
    for cpu in backends {
      let sum = try cpu.addForward(first, second, as: Float8E4M3.self, recipe: recipe)
      let expectedSum = try reference.addForward(
        first, second, as: Float8E4M3.self, recipe: recipe)
      #expect(bits(sum.sum) == bits(expectedSum.sum))
      #expect(bits(sum.quantized) == bits(expectedSum.quantized))
      let stream = try cpu.addForward(
        residual: right, second, as: Float8E4M3.self, recipe: recipe)
      let expectedStream = try reference.addForward(
        residual: right, second, as: Float8E4M3.self, recipe: recipe)
      #expect(bits(stream.sum) == bits(expectedStream.sum))
      #expect(bits(stream.quantized) == bits(expectedStream.quantized))
      let back = try cpu.addBackward(
        first, second, as: Float8E5M2.self, outputQuantizedTranspose: true, recipe: recipe)
      let expectedBack = try reference.addBackward(
        first, second, as: Float8E5M2.self, outputQuantizedTranspose: true, recipe: recipe)
      #expect(bits(back.sum) == bits(expectedBack.sum))
      #expect(bits(back.quantized) == bits(expectedBack.quantized))
      #expect(bits(back.groupScales) == bits(expectedBack.groupScales))

      #expect(
        try bits(cpu.multiplyForward(left, right, as: Float8E4M3.self, recipe: recipe))
          == bits(reference.multiplyForward(left, right, as: Float8E4M3.self, recipe: recipe)))
      let wide = try cpu.multiplyBackward(
        left, right, gradient: first, as: Float8E4M3.self, recipe: recipe)
      let expectedWide = try reference.multiplyBackward(
        left, right, gradient: first, as: Float8E4M3.self, recipe: recipe)
      #expect(bits(wide.first) == bits(expectedWide.first))
      #expect(bits(wide.second) == bits(expectedWide.second))
      for transposes in [false, true] {
        let narrow = try cpu.multiplyBackward(
          left, right, gradient: first, as: Float8E5M2.self, outputQuantizedTranspose: transposes,
          recipe: recipe, rounding: .stochastic(seed: 3))
        let expectedNarrow = try reference.multiplyBackward(
          left, right, gradient: first, as: Float8E5M2.self, outputQuantizedTranspose: transposes,
          recipe: recipe, rounding: .stochastic(seed: 3))
        #expect(bits(narrow.first) == bits(expectedNarrow.first))
        #expect(bits(narrow.second) == bits(expectedNarrow.second))
      }
    }
  }

  @Test(arguments: Case.all)
  func activations(sample: Case) throws {
    let recipe = sample.recipe
    let input = try sample.codes(1, as: Float8E4M3.self, groupSize: 32)
    let up = try sample.codes(2, as: Float8E4M3.self, groupSize: 32)
    let gradient = try sample.bfloats(3)
    for cpu in backends {
      #expect(
        try bits(cpu.siluForward(input, as: Float8E5M2.self, recipe: recipe))
          == bits(reference.siluForward(input, as: Float8E5M2.self, recipe: recipe)))
      #expect(
        try bits(cpu.siluBackward(input, gradient: gradient, as: Float8E4M3.self, recipe: recipe))
          == bits(
            reference.siluBackward(input, gradient: gradient, as: Float8E4M3.self, recipe: recipe)))
      #expect(
        try bits(
          cpu.siluBackward(
            input, gradient: gradient, as: Float8E5M2.self, outputQuantizedTranspose: true,
            recipe: recipe))
          == bits(
            reference.siluBackward(
              input, gradient: gradient, as: Float8E5M2.self, outputQuantizedTranspose: true,
              recipe: recipe)))
      #expect(
        try bits(cpu.geluForward(input, as: Float8E4M3.self, recipe: recipe))
          == bits(reference.geluForward(input, as: Float8E4M3.self, recipe: recipe)))
      #expect(
        try bits(cpu.geluBackward(input, gradient: gradient, as: Float8E5M2.self, recipe: recipe))
          == bits(
            reference.geluBackward(input, gradient: gradient, as: Float8E5M2.self, recipe: recipe)))
      #expect(
        try bits(cpu.swiGLUForward(gate: input, up: up, as: Float8E4M3.self, recipe: recipe))
          == bits(
            reference.swiGLUForward(gate: input, up: up, as: Float8E4M3.self, recipe: recipe)))
      let fused = try cpu.multiplyBackwardSiLUForward(
        gate: input, up: up, gradient: gradient, as: Float8E5M2.self, recipe: recipe)
      let expectedFused = try reference.multiplyBackwardSiLUForward(
        gate: input, up: up, gradient: gradient, as: Float8E5M2.self, recipe: recipe)
      #expect(bits(fused.first) == bits(expectedFused.first))
      #expect(bits(fused.second) == bits(expectedFused.second))
      let result = try cpu.swiGLUBackward(
        gate: input, up: up, gradient: gradient, as: Float8E5M2.self, recipe: recipe)
      let expected = try reference.swiGLUBackward(
        gate: input, up: up, gradient: gradient, as: Float8E5M2.self, recipe: recipe)
      #expect(bits(result.gate) == bits(expected.gate))
      #expect(bits(result.up) == bits(expected.up))
    }
  }

  @Test(arguments: Case.all)
  func norms(sample: Case) throws {
    let recipe = sample.recipe
    let input = try sample.codes(1, as: Float8E4M3.self)
    let gradient = try sample.bfloats(2)
    let samples = ActivationSamples(sample.shape)
    let weight = samples.parameter(3, around: 1)
    let bias = samples.parameter(4, around: 0)
    for cpu in backends {
      #expect(
        try bits(cpu.rmsNormForward(input, weight: weight, as: Float8E4M3.self, recipe: recipe))
          == bits(
            reference.rmsNormForward(input, weight: weight, as: Float8E4M3.self, recipe: recipe)))
      #expect(
        try bits(cpu.rmsNormBackward(input, weight: weight, gradient: gradient))
          == bits(reference.rmsNormBackward(input, weight: weight, gradient: gradient)))
      for (weight, bias) in [(weight, bias), (nil, nil), (weight, nil)] as [([Float]?, [Float]?)] {
        #expect(
          try bits(
            cpu.layerNormForward(
              input, weight: weight, bias: bias, as: Float8E4M3.self, recipe: recipe))
            == bits(
              reference.layerNormForward(
                input, weight: weight, bias: bias, as: Float8E4M3.self, recipe: recipe)))
        #expect(
          try bits(cpu.layerNormBackward(input, weight: weight, gradient: gradient))
            == bits(reference.layerNormBackward(input, weight: weight, gradient: gradient)))
      }
    }
  }

  /// Every BF16 number under scales that meet ties, subnormals and saturation, and every code.
  @Test func allNumbersAndCodes() throws {
    let numbers = Tensor(
      try Matrix(
        (0..<65536).map { BFloat16(bitPattern: UInt16($0)) }, rows: 256, columns: 256))
    for cpu in backends {
      for scale in [Float(1), 0x1.02p0, 0x1p-9, 1e-30, 3e30] {
        let scale = BFloat16(scale)
        #expect(
          try bits(cpu.divisionTranspose(numbers, by: scale, as: Float8E4M3.self, recipe: .coat))
            == bits(
              reference.divisionTranspose(numbers, by: scale, as: Float8E4M3.self, recipe: .coat)))
        #expect(
          try bits(cpu.division(numbers, by: scale, as: Float8E5M2.self, recipe: .coat))
            == bits(reference.division(numbers, by: scale, as: Float8E5M2.self, recipe: .coat)))
        func decode<Element: Float8Element>(_ element: Element.Type) throws {
          let codes = Tensor(
            try BlockScaledMatrix<Element, BFloat16>(
              rows: 4, columns: 64, blocking: .tensor, codes: Array(0...255), scales: [scale]))
          #expect(try bits(cpu.dequantize(codes)) == bits(reference.dequantize(codes)))
        }
        try decode(Float8E4M3.self)
        try decode(Float8E5M2.self)
      }
    }
  }

  /// More than one chunk of a thread, and a last group of one element.
  @Test func adamW() throws {
    let count = 3 * (1 << 15) + 129
    let samples = ActivationSamples([1, count])
    let start = samples.values(1)
    func run<First, Second>(
      _ type: AdamWState<First, Second>.Type,
      _ step: (inout [Float], [Float], inout AdamWState<First, Second>) throws -> Void
    ) throws -> ([Float], AdamWState<First, Second>) {
      var parameters = start
      var state = type.init(count: count)
      for index in 0..<3 {
        try step(&parameters, samples.values(UInt64(10 + index), deviation: 1e-3), &state)
      }
      return (parameters, state)
    }
    func compare<First: Equatable, Second: Equatable>(
      _ type: AdamWState<First, Second>.Type
    ) throws {
      let expected = try run(type) {
        try reference.adamWStep(parameters: &$0, gradients: $1, state: &$2)
      }
      for cpu in backends {
        let actual = try run(type) {
          try cpu.adamWStep(parameters: &$0, gradients: $1, state: &$2)
        }
        #expect(actual.0 == expected.0)
        #expect(actual.1 == expected.1)
      }
    }
    try compare(Float8AdamWState.self)
    try compare(Float32AdamWState.self)
    try compare(AdamWState<RangeExpandedMoment, BFloat16Moment>.self)
  }
}

// SPDX-License-Identifier: Apache-2.0

@testable import BlockScale
import Minifloat
import Testing
import _BlockScaleTestSupport

/// Scales, rounding, values that are not finite, and errors of the activation flow.
@Suite struct ActivationRecipeTests {
  private let reference = ReferenceBackend()

  /// Under COAT's recipe the flow quantizes as the recipe of the same name does elsewhere.
  @Test(arguments: ActivationSamples.shapes)
  func coatIsTheRecipeOfThatName(shape: [Int]) throws {
    func compare<Element: Float8Element>(_ element: Element.Type) throws {
      let samples = ActivationSamples(shape)
      let input = try samples.bfloats(1)
      for groupSize in [16, 32, 64, 128] {
        let (expected, _) = try BlockScaledMatrix<Element, BFloat16>.quantized(
          input.matrix.values, rows: samples.rows, columns: samples.columns, recipe: .coat,
          blocking: Blocking(rows: 1, columns: groupSize))
        let actual = try reference.quantizeGroups(
          input, as: element, groupSize: groupSize, recipe: .coat)
        #expect(actual.matrix == expected && actual.shape == shape)
      }
      let (expected, _) = try BlockScaledMatrix<Element, BFloat16>.quantized(
        input.matrix.values, rows: samples.rows, columns: samples.columns, recipe: .coat,
        blocking: .tensor)
      for recipe in ActivationRecipe.allCases {
        // One scale is BF16 in any case.
        let actual = try reference.quantizePerTensor(input, as: element, recipe: recipe)
        #expect(actual.quantized.tensor.matrix == expected)
        #expect(
          try reference.division(input, by: expected.scales[0], as: element, recipe: recipe)
            .matrix == expected)
      }
    }
    try compare(Float8E4M3.self)
    try compare(Float8E5M2.self)
  }

  /// Codes that follow the stored scale decode closer to their values than COAT's.
  @Test func storedScaleIsMoreExact() throws {
    let samples = ActivationSamples([64, 512])
    let input = try samples.bfloats(1)
    let values = input.matrix.values.map { Double($0) }
    func error(_ recipe: ActivationRecipe) throws -> Double {
      let codes: Float8Tensor<Float8E4M3> = try reference.quantizeGroups(input, recipe: recipe)
      return zip(values, codes.matrix.dequantized()).reduce(0) {
        $0 + ($1.0 - Double($1.1)) * ($1.0 - Double($1.1))
      }
    }
    #expect(try error(.storedScale) < error(.coat))
    let codes: Float8Tensor<Float8E4M3> = try reference.quantizeGroups(input)
    for (index, code) in codes.matrix.codes.enumerated() {
      let scale = Float(codes.matrix.scales[index / 16])
      #expect(
        code
          == Float8E4M3(Float(input.matrix.values[index]) / scale, overflow: .saturate).bitPattern)
    }
  }

  /// torch divides BF16 by BF16 in two rounded steps.
  @Test func coatComputesTheScaleOfADivisionInTheSourceFormat() throws {
    let input = try ActivationSamples([3, 17]).bfloats(1)
    let maximum = input.matrix.values.map { Float($0).magnitude }.max()!
    let codes = try reference.division(input, as: Float8E4M3.self, recipe: .coat)
    #expect(codes.matrix.scales == [BFloat16(Float(BFloat16(maximum + 1e-10)) / 448)])
    let zeros = Tensor(
      try Matrix([BFloat16](repeating: BFloat16(bitPattern: 0), count: 4), rows: 2, columns: 2))
    for recipe in ActivationRecipe.allCases {
      let result = try reference.divisionTranspose(zeros, as: Float8E5M2.self, recipe: recipe)
      #expect(result.tensor.matrix.codes == [0, 0, 0, 0])
      #expect(result.scale == BFloat16(1e-10 / 57344))
    }
  }

  @Test func valuesThatAreNotFiniteAreNotHidden() throws {
    for (bad, isNaN) in [(Float.nan, true), (.infinity, false), (-.infinity, false)] {
      var values = (0..<64).map { Float($0) - 30 }
      values[20] = bad
      let input = Tensor(try Matrix(values.map { BFloat16($0) }, rows: 2, columns: 32))
      let groups: Float8Tensor<Float8E4M3> = try reference.quantizeGroups(input)
      #expect(groups.matrix.scales.map(\.isNaN) == [false, true, false, false])
      let decoded = groups.matrix.dequantized()
      #expect(decoded.map(\.isNaN) == (0..<64).map { (16..<32).contains($0) })
      // One scale for all makes all NaN.
      for result in [
        try reference.quantizePerTensor(input, as: Float8E5M2.self).quantized.tensor,
        try reference.division(input, as: Float8E5M2.self),
        try reference.division(input, by: BFloat16(Float(1)), as: Float8E5M2.self),
      ] {
        #expect(result.matrix.dequantized().allSatisfy { $0.isNaN })
      }
      // A product with a spoilt group is spoilt, as are its gradients.
      let product = try reference.multiplyForward(groups, groups, as: Float8E4M3.self)
      #expect(product.scale.isNaN)
      let gradients = try reference.multiplyBackward(
        groups, groups, gradient: input, as: Float8E5M2.self)
      #expect(gradients.first.matrix.values[17].isNaN && !gradients.first.matrix.values[0].isNaN)

      // COAT leaves NaN out, and gives a group with an infinity an infinite scale.
      let coat = try reference.quantizeGroups(input, as: Float8E4M3.self, recipe: .coat)
      #expect(coat.matrix.codes[20] == 0x7F)
      #expect(coat.matrix.scales[1].isFinite == isNaN && !coat.matrix.scales[1].isNaN)
    }
  }

  /// A finite product that BF16 cannot hold.
  @Test func overflowOfTheIntermediateIsNotHidden() throws {
    let large = try BlockScaledMatrix<Float8E4M3, BFloat16>(
      rows: 1, columns: 2, blocking: Blocking(rows: 1, columns: 16), codes: [0x7E, 0x38],
      scales: [BFloat16(Float(0x1p55))])
    let other = try BlockScaledMatrix<Float8E4M3, BFloat16>(
      rows: 1, columns: 2, blocking: Blocking(rows: 1, columns: 16), codes: [0x7E, 0x38],
      scales: [BFloat16(Float(0x1.4Ep55))])
    let exact = large.dequantized()[0] * other.dequantized()[0]
    #expect(exact.isFinite && !BFloat16(exact).isFinite)
    let (first, second) = (Tensor(large), Tensor(other))
    #expect(try reference.multiplyForward(first, second, as: Float8E4M3.self).scale.isNaN)
    #expect(
      try reference.multiplyForward(first, second, as: Float8E4M3.self, recipe: .coat).scale
        .isFinite)
  }

  @Test func stochasticRoundingIsUnbiasedAndRepeatable() throws {
    // 1.03 lies between the codes of 1 and 1.125, and 2^-11 between 0 and 2^-9.
    for (value, low, high) in [(Float(1.03125), Float(1), Float(1.125)), (0x1p-11, 0, 0x1p-9)] {
      let input = Tensor(
        try Matrix([Float](repeating: value, count: 100 * 400), rows: 100, columns: 400))
      let codes = try reference.division(
        input, by: BFloat16(Float(1)), as: Float8E4M3.self, rounding: .stochastic(seed: 1))
      let decoded = codes.matrix.dequantized()
      #expect(Set(decoded) == [low, high])
      let share = decoded.reduce(0) { $0 + Double($1) } / Double(decoded.count)
      // Four deviations of a mean of 40 000.
      let spread = Double(high - low) / 2 / 200 * 4
      #expect((share - Double(value)).magnitude < spread)
      let again = try reference.division(
        input, by: BFloat16(Float(1)), as: Float8E4M3.self, rounding: .stochastic(seed: 1))
      let other = try reference.division(
        input, by: BFloat16(Float(1)), as: Float8E4M3.self, rounding: .stochastic(seed: 2))
      #expect(again == codes && other != codes)
    }
    // What a code holds is kept, zero among it.
    let exact = Tensor(try Matrix([Float](arrayLiteral: 0, -0.0, 1.125, -448), rows: 1, columns: 4))
    #expect(
      try reference.division(
        exact, by: BFloat16(Float(1)), as: Float8E4M3.self, rounding: .stochastic(seed: 9)
      )
      .matrix.codes == [0, 0x80, 0x39, 0xFE])
  }

  /// The numbers of a run of places from −1/2 to 1/2.
  private func draws(seed: UInt64, places: Range<Int>) -> [Double] {
    places.map {
      var generator = PlaceGenerator(seed: seed, place: $0)
      return Double(generator.next()) * 0x1p-64 - 0.5
    }
  }

  /// The mean of products over the variance of even numbers, in deviations of it: about normal.
  private func correlation(_ first: [Double], _ second: [Double]) -> Double {
    zip(first, second).reduce(0) { $0 + $1.0 * $1.1 } * 12 / Double(first.count).squareRoot()
  }

  @Test func drawsAreEvenAndIndependent() {
    let count = 1 << 16
    let sample = draws(seed: 3, places: 0..<count)
    #expect(Set(sample).count > count / 2)
    // The mean, in deviations.
    #expect((sample.reduce(0, +) * 12.0.squareRoot() / Double(count).squareRoot()).magnitude < 4.5)
    // Every one of the 16 bits, too.
    for bit in 0..<16 {
      let ones = sample.reduce(0) { $0 + (Int(($1 + 0.5) * 0x1p16) >> bit & 1) }
      #expect(Double(2 * ones - count).magnitude / Double(count).squareRoot() < 4.5, "bit \(bit)")
    }
    // Places of a word, of a group and of different groups.
    for distance in 1...9 {
      let other = draws(seed: 3, places: distance..<count + distance)
      #expect(correlation(sample, other).magnitude < 4.5, "places \(distance) apart")
    }
    // Every bit of the seed counts, and of the place beyond those of 32 bits.
    let part = Array(sample[..<4096])
    for bit in 0..<64 {
      let other = draws(seed: 3 ^ 1 << UInt64(bit), places: 0..<4096)
      #expect(correlation(part, other).magnitude < 4.5, "bit \(bit) of the seed")
    }
    for bit in 12..<62 {
      let other = draws(seed: 3, places: 1 << bit..<1 << bit + 4096)
      #expect(correlation(part, other).magnitude < 4.5, "bit \(bit) of the place")
    }
  }

  /// The known answers of Random123 for Philox2x32 with seven rounds.
  @Test func drawsAreThoseOfPhilox() {
    for (counter, key, words) in [
      (UInt64(0), UInt32(0), [UInt32(0x257A_3673), 0xCD26_BE2A]),
      (.max, .max, [0xAB30_2C4D, 0x3DC9_D239]),
      (0x85A3_08D3_243F_6A88, 0x1319_8A2E, [0xBEDB_BE6B, 0xE4C7_70B3]),
    ] {
      // The places of counter index, whose high half the seed's is added to.
      let low = Int(counter & 0xFFFF_FFFF)
      let seed = (counter >> 32) << 32 | UInt64(key)
      let numbers = (0..<4).map { part in
        var generator = PlaceGenerator(mixedSeed: seed, place: low << 2 | part)
        return ~UInt16(generator.next() >> 48)
      }
      #expect(numbers == words.flatMap { [UInt16($0 & 0xFFFF), UInt16($0 >> 16)] })
    }
  }

  @Test func errorsNameTheOperand() throws {
    func expect(
      _ text: String, _ code: BlockScaleError.Code, _ body: () throws -> Void,
      sourceLocation: SourceLocation = #_sourceLocation
    ) {
      do {
        try body()
        Issue.record("Nothing was thrown", sourceLocation: sourceLocation)
      } catch let error as BlockScaleError {
        #expect(error.code == code, sourceLocation: sourceLocation)
        #expect(error.description.contains(text), sourceLocation: sourceLocation)
      } catch {
        Issue.record(error, sourceLocation: sourceLocation)
      }
    }
    let samples = ActivationSamples([2, 32])
    let (small, large) = (samples, ActivationSamples([3, 32]))
    let codes: Float8Tensor<Float8E4M3> = try small.codes(1)
    let coarse: Float8Tensor<Float8E4M3> = try small.codes(1, groupSize: 32)
    let taller: Float8Tensor<Float8E4M3> = try large.codes(1)
    let gradient = try small.bfloats(2)
    expect("groups of 1x32", .wrongShape) {
      _ = try reference.multiplyForward(codes, coarse, as: Float8E4M3.self)
    }
    expect("second factor", .wrongShape) {
      _ = try reference.multiplyForward(codes, taller, as: Float8E4M3.self)
    }
    expect("gradient", .wrongShape) {
      _ = try reference.multiplyBackward(
        taller, taller, gradient: gradient, as: Float8E5M2.self)
    }
    expect("up projection", .wrongShape) {
      _ = try reference.swiGLUForward(gate: codes, up: taller, as: Float8E4M3.self)
    }
    expect("blocks of *x*", .wrongShape) {
      let whole = try reference.division(gradient, as: Float8E4M3.self)
      _ = try reference.siluForward(whole, as: Float8E4M3.self)
    }
    expect("weight has 31 values", .wrongShape) {
      _ = try reference.rmsNormForward(
        codes, weight: [Float](repeating: 1, count: 31), as: Float8E4M3.self)
    }
    expect("not 48", .wrongShape) {
      _ = try reference.quantizeGroups(gradient, as: Float8E4M3.self, groupSize: 48)
    }
    expect("second summand", .wrongShape) {
      _ = try reference.addForward(gradient, large.bfloats(1), as: Float8E4M3.self)
    }
    for scale in [Float(0), -1, .infinity] {
      expect("not a positive number", .invalidScale) {
        _ = try reference.division(gradient, by: BFloat16(scale), as: Float8E4M3.self)
      }
    }
    expect("(2x3x32)", .wrongShape) { _ = try Tensor(gradient.matrix, shape: [2, 3, 32]) }
    expect("two or more dimensions", .wrongShape) {
      _ = try Tensor(gradient.matrix, shape: [64])
    }
  }
}

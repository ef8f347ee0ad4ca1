// SPDX-License-Identifier: Apache-2.0

@testable import BlockScale
import Minifloat
import RealModule
import Testing
import _BlockScaleTestSupport

/// AdamW against Float64, and the storage of its moments.
@Suite struct AdamWTests {
  private let reference = ReferenceBackend()

  /// AdamW in Float64.
  private struct Exact {
    var parameters: [Double]
    var first: [Double]
    var second: [Double]
    var count = 0

    init(_ parameters: [Float]) {
      self.parameters = parameters.map { Double($0) }
      first = parameters.map { _ in 0 }
      second = first
    }

    mutating func step(_ gradients: [Float], _ options: AdamW) {
      count += 1
      let (beta1, beta2) = (Double(options.beta1), Double(options.beta2))
      let correction1 = 1 - Double.pow(beta1, Double(count))
      let correction2 = 1 - Double.pow(beta2, Double(count))
      for (index, gradient) in gradients.enumerated() {
        first[index] = beta1 * first[index] + (1 - beta1) * Double(gradient)
        second[index] = beta2 * second[index] + (1 - beta2) * Double(gradient) * Double(gradient)
        let direction =
          first[index] / correction1
          / ((second[index] / correction2).squareRoot() + Double(options.epsilon))
        parameters[index] -=
          Double(options.learningRate)
          * (direction + Double(options.weightDecay) * parameters[index])
      }
    }
  }

  /// Runs steps with gradients of one sign pattern and magnitudes that vary by place and time.
  private func run<First, Second>(
    _ type: AdamWState<First, Second>.Type, count: Int, steps: Int, _ options: AdamW
  ) throws -> (parameters: [Float], exact: Exact, state: AdamWState<First, Second>) {
    let samples = ActivationSamples([1, count])
    var parameters = samples.values(1)
    var exact = Exact(parameters)
    var state = type.init(count: count)
    let scales = samples.values(2).map { Float.exp($0 / 4) * 1e-3 }
    for step in 0..<steps {
      let gradients = zip(samples.values(UInt64(100 + step)), scales).map { $0 * $1 }
      try reference.adamWStep(
        parameters: &parameters, gradients: gradients, state: &state, options)
      exact.step(gradients, options)
    }
    return (parameters, exact, state)
  }

  private func relativeDistance(_ values: [Float], _ exact: [Double]) -> Double {
    let error = zip(values, exact).reduce(0) { $0 + (Double($1.0) - $1.1) * (Double($1.0) - $1.1) }
    return (error / exact.reduce(0) { $0 + $1 * $1 }).squareRoot()
  }

  /// Parameters move by about the step size a step; what counts is the error of that movement.
  private func movementError(
    _ parameters: [Float], _ exact: Exact, count: Int
  ) -> Double {
    let start = ActivationSamples([1, count]).values(1)
    return relativeDistance(
      zip(parameters, start).map { $0 - $1 },
      zip(exact.parameters, start).map { $0 - Double($1) })
  }

  @Test(arguments: [1, 128, 300])
  func float32(count: Int) throws {
    for decay in [Float(0), 0.1] {
      let options = AdamW(learningRate: 1e-2, weightDecay: decay)
      let result = try run(Float32AdamWState.self, count: count, steps: 50, options)
      #expect(movementError(result.parameters, result.exact, count: count) < 1e-4)
      #expect(relativeDistance(result.state.first.values, result.exact.first) < 1e-5)
      #expect(relativeDistance(result.state.second.values, result.exact.second) < 1e-5)
      #expect(result.state.step == 50)
    }
  }

  @Test(arguments: [1, 128, 129, 300])
  func float8(count: Int) throws {
    for steps in [4, 16] {
      let options = AdamW(learningRate: 1e-2, expandMinimum: steps)
      let result = try run(Float8AdamWState.self, count: count, steps: 20, options)
      #expect(result.parameters.allSatisfy { $0.isFinite })
      #expect(movementError(result.parameters, result.exact, count: count) < 0.1)
      #expect(relativeDistance(result.state.first.decoded(), result.exact.first) < 0.1)
      #expect(relativeDistance(result.state.second.decoded(), result.exact.second) < 0.1)
    }
  }

  @Test func mixedFormats() throws {
    let options = AdamW(learningRate: 1e-2)
    let bfloats = try run(BFloat16AdamWState.self, count: 300, steps: 20, options)
    #expect(movementError(bfloats.parameters, bfloats.exact, count: 300) < 0.02)
    let mixed = try run(
      AdamWState<RangeExpandedMoment, Float32Moment>.self, count: 300, steps: 20, options)
    #expect(movementError(mixed.parameters, mixed.exact, count: 300) < 0.1)
    #expect(relativeDistance(mixed.state.second.values, mixed.exact.second) < 1e-5)
  }

  /// After one step from zero the correction makes the movement the step size.
  @Test func biasCorrection() throws {
    var parameters: [Float] = [0, 0]
    var state = Float8AdamWState(count: 2)
    try reference.adamWStep(
      parameters: &parameters, gradients: [1e-4, -3], state: &state,
      AdamW(learningRate: 0.5, epsilon: 0, weightDecay: 0))
    #expect((parameters[0] + 0.5).magnitude < 1e-5 && (parameters[1] - 0.5).magnitude < 1e-5)
  }

  //MARK: Moments

  /// Each value comes back within the expanded format's half unit.
  @Test(arguments: [1, 2, 100, 127, 128, 129, 1000])
  func roundTrip(count: Int) {
    for deviation in [Float(1e-12), 1e-3, 1, 1e6] {
      let values = ActivationSamples([1, count]).values(3, deviation: deviation)
      let moment = RangeExpandedMoment(encoding: values, expandMinimum: 16)
      for (index, (value, decoded)) in zip(values, moment.decoded()).enumerated() {
        let exponent = moment.exponents[index / 128]
        // Half a unit is 1/16 of normal codes; the smallest magnitude may be subnormal, 2.3 units.
        let bound = Float.pow(1.3, 1 / exponent) * 1.001
        #expect(value.sign == decoded.sign)
        #expect(decoded.magnitude <= value.magnitude * bound)
        #expect(decoded.magnitude * bound >= value.magnitude)
      }
    }
  }

  /// Expansion brings a narrow group closer than E4M3 with one scale alone would.
  @Test func expansionIsMoreExact() {
    let values = ActivationSamples([1, 128]).values(4).map { 1 + $0.magnitude / 8 }
    let moment = RangeExpandedMoment(encoding: values, expandMinimum: 16)
    let scale = values.max()! / 448
    let plain = values.map { Float(Float8E4M3($0 / scale, overflow: .saturate)) * scale }
    let exact = values.map { Double($0) }
    #expect(relativeDistance(moment.decoded(), exact) * 3 < relativeDistance(plain, exact))
    #expect(moment.exponents[0] > 1)
  }

  /// Groups on which the source's formulas end in NaN or infinity, and their like.
  @Test(arguments: [Float(1e-3), 1, 0.1, 3e-20, 1e-30, 1e-38, .leastNonzeroMagnitude, 3e38, 1e10])
  func equalMagnitudes(magnitude: Float) {
    for count in [1, 2, 128, 129] {
      for neighbours in [magnitude, magnitude.nextUp, 0] {
        var values = (0..<count).map { $0 % 3 == 0 ? -magnitude : magnitude }
        values[count / 2] = neighbours
        let moment = RangeExpandedMoment(encoding: values, expandMinimum: 16)
        #expect((moment.scales + moment.exponents + moment.centers).allSatisfy { $0.isFinite })
        #expect(moment.exponents.allSatisfy { $0 > 0 })
        #expect(moment.codes.allSatisfy { $0 & 0x7F != 0x7F })
        for (value, decoded) in zip(values, moment.decoded()) {
          // The source adds 1e-30 to every maximum, so what is far below vanishes.
          let bound = max(value.magnitude * 1e-5, 1e-30)
          #expect((decoded - value).magnitude <= bound)
          if value == 0 { #expect(decoded == 0) }
        }
      }
    }
  }

  @Test func wideRanges() {
    // 68 decades: k would be zero with few steps per unit.
    for steps in [1, 4, 16] {
      let values: [Float] = [3e38, -1e-30, 1, 0, -0.0]
      let moment = RangeExpandedMoment(encoding: values, expandMinimum: steps)
      let decoded = moment.decoded()
      #expect(decoded.allSatisfy { $0.isFinite })
      #expect((decoded[0] - 3e38).magnitude < 1e36)
      #expect(decoded[3] == 0 && decoded[4] == 0)
      #expect(moment.exponents[0] >= 1 / Float(steps))
    }
    let zeros = RangeExpandedMoment(encoding: Array(repeating: 0, count: 130), expandMinimum: 16)
    #expect(zeros == RangeExpandedMoment(count: 130))
    #expect(zeros.decoded() == Array(repeating: 0, count: 130))
  }

  @Test func valuesThatAreNotFiniteSpoilTheirGroupAlone() {
    for bad in [Float.nan, .infinity, -.infinity] {
      var values = ActivationSamples([1, 300]).values(5)
      values[130] = bad
      let decoded = RangeExpandedMoment(encoding: values, expandMinimum: 16).decoded()
      #expect(decoded.map(\.isNaN) == (0..<300).map { (128..<256).contains($0) })
    }
  }

  /// Constant gradients make every group of both moments equal in magnitude.
  @Test func constantGradients() throws {
    for gradient in [Float(1e-3), 0, 1e-25] {
      var parameters = [Float](repeating: 1, count: 129)
      var exact = Exact(parameters)
      var state = Float8AdamWState(count: 129)
      let options = AdamW(learningRate: 1e-2)
      for _ in 0..<30 {
        let gradients = [Float](repeating: gradient, count: 129)
        try reference.adamWStep(
          parameters: &parameters, gradients: gradients, state: &state, options)
        exact.step(gradients, options)
      }
      #expect(relativeDistance(parameters, exact.parameters) < 1e-4)
    }
  }

  @Test func storedStates() throws {
    let result = try run(Float8AdamWState.self, count: 300, steps: 3, AdamW())
    let first = result.state.first
    let restored = try RangeExpandedMoment(
      codes: first.codes, scales: first.scales, exponents: first.exponents, centers: first.centers)
    #expect(restored == first)
    #expect(
      try Float8AdamWState(first: restored, second: result.state.second, step: 3) == result.state)
    #expect(throws: BlockScaleError.self) {
      try RangeExpandedMoment(
        codes: first.codes, scales: [1], exponents: first.exponents, centers: first.centers)
    }
  }

  @Test func errors() {
    var parameters: [Float] = [1, 2]
    var state = Float8AdamWState(count: 2)
    #expect(throws: BlockScaleError.self) {
      try reference.adamWStep(parameters: &parameters, gradients: [1], state: &state)
    }
    state = Float8AdamWState(count: 3)
    #expect(throws: BlockScaleError.self) {
      try reference.adamWStep(parameters: &parameters, gradients: [1, 2], state: &state)
    }
    parameters = []
    #expect(throws: BlockScaleError.self) {
      try reference.adamWStep(parameters: &parameters, gradients: [], state: &state)
    }
    #expect(state.step == 0)
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import Minifloat
import Safetensors
import Testing
import _BlockScaleTestSupport

/// Every tier against the reference: the same codes, scales and errors, to the last bit.
@Suite struct QuantizeTests {
  static let blockings: [Blocking] = [
    Blocking(rows: 1, columns: 16), Blocking(rows: 1, columns: 32), Blocking(rows: 1, columns: 128),
    Blocking(rows: 16, columns: 16), Blocking(rows: 128, columns: 128),
    Blocking(rows: 3, columns: 3), Blocking(rows: 128, columns: 1), .row, .tensor,
  ]
  static let smallShapes = [(1, 1), (3, 17), (5, 32), (129, 1)]

  @Test func tiers() {
    let skipped = CPUTier.allCases.filter { !CPUTier.available.contains($0) }
    print(
      "kernels of \(kernelTiers) are compared with the reference; this machine lacks \(skipped)")
  }

  @Test(arguments: Recipe.allCases)
  func equalsReference(_ recipe: Recipe) throws {
    for values in TestValues.allCases {
      try check(recipe, values, as: Float.self) { $0 }
      try check(recipe, values, as: BFloat16.self) { BFloat16($0) }
      try check(recipe, values, as: Float16.self) { Float16($0) }
    }
  }

  private func check<Source: SourceValue>(
    _ recipe: Recipe, _ values: TestValues, as source: Source.Type, _ convert: (Float) -> Source
  ) throws {
    func check<E, S>(_ type: BlockScaledMatrix<E, S>.Type) throws {
      guard
        recipe.rule(
          element: E.elementFormat, scale: S.scaleFormat, source: Source.sourceFormat,
          tensorMaximum: 1, perTensor: false) != nil
      else { return }
      for (rows, columns) in Self.smallShapes {
        let values = values.values(rows * columns, seed: 7, of: source, convert)
        for blocking in Self.blockings {
          try compare(type, values, rows, columns, recipe, blocking)
        }
      }
      let (rows, columns) = (130, 257)
      let values = values.values(rows * columns, seed: 8, of: source, convert)
      let usual: [Blocking] =
        E.elementFormat == .e2m1 || S.scaleFormat == .e8m0
        ? [Self.blockings[0], Self.blockings[1], .row]
        : [Self.blockings[2], Self.blockings[4], .row, .tensor]
      // Widths of which 128 is no multiple, or which are none of sixteen but for the whole row.
      let others = [48, 80, 144].map { Blocking(rows: 1, columns: $0) }
      for blocking in usual + others { try compare(type, values, rows, columns, recipe, blocking) }
      let narrow = Array(values.prefix(rows * 100))
      try compare(type, narrow, rows, 100, recipe, .row)
    }
    try check(NVFP4Matrix.self)
    try check(MXFP4Matrix.self)
    try check(MXFP8Matrix.self)
    try check(Float8Matrix.self)
    try check(BlockScaledMatrix<Float8E4M3, BFloat16>.self)
    try check(BlockScaledMatrix<Float8E4M3, Float16>.self)
    try check(BlockScaledMatrix<Float8E5M2, Float>.self)
    try check(BlockScaledMatrix<Float8E5M2, BFloat16>.self)
  }

  private func compare<E, S, Source: SourceValue>(
    _ type: BlockScaledMatrix<E, S>.Type, _ values: [Source], _ rows: Int, _ columns: Int,
    _ recipe: Recipe, _ blocking: Blocking
  ) throws {
    let expected = try type.quantized(
      values, rows: rows, columns: columns, recipe: recipe, blocking: blocking)
    for tier in kernelTiers {
      let name = "\(tier) \(type) \(Source.self) \(rows)x\(columns) in \(blocking)"
      let cpu = try CPUBackend(tier: tier, threads: 1)
      let result = try cpu.quantized(
        values, rows: rows, columns: columns, as: type, recipe: recipe, blocking: blocking)
      #expect(differences(result.matrix.codes, expected.matrix.codes) == 0, "\(name) codes")
      #expect(
        differences(bytes(result.matrix.scales), bytes(expected.matrix.scales)) == 0,
        "\(name) scales")
      #expect(result.matrix.tensorScale == expected.matrix.tensorScale, "\(name)")
      #expect(result.error == expected.error, "\(name)")
      guard !(blocking.columns < blocking.rows && blocking.columns < 16) else { continue }
      // In place, without errors, over the codes of other values.
      var matrix = result.matrix
      try cpu.quantize(
        [Source](values.reversed()), into: &matrix, recipe: recipe, measures: false)
      let metrics = try cpu.quantize(values, into: &matrix, recipe: recipe, measures: false)
      #expect(differences(matrix.codes, expected.matrix.codes) == 0, "\(name) unmeasured codes")
      #expect(
        differences(bytes(matrix.scales), bytes(expected.matrix.scales)) == 0,
        "\(name) unmeasured scales")
      #expect(metrics == ErrorMetrics(), "\(name)")
    }
  }

  /// The files that `GoldenTests` holds the reference to.
  @Test(arguments: Vectors.names(prefix: "quant_golden_"))
  func equalsReferenceOnGoldenInputs(_ file: String) throws {
    let vectors = try Vectors(file)
    func check<Source: SourceValue>(_ name: String, _ values: () throws -> [Source]) throws {
      guard let info = vectors[name] else { return }
      let values = try values()
      for recipe in Recipe.allCases {
        for scheme in Scheme.allCases where recipe.supports(scheme) {
          let (rows, columns) = (info.shape[0], info.shape[1])
          switch scheme {
          case .nvfp4:
            try compare(NVFP4Matrix.self, values, rows, columns, recipe, scheme.blocking)
          case .mxfp4:
            try compare(MXFP4Matrix.self, values, rows, columns, recipe, scheme.blocking)
          case .mxfp8:
            try compare(MXFP8Matrix.self, values, rows, columns, recipe, scheme.blocking)
          case .fp8Block, .fp8Row, .fp8Tensor:
            let blocking = scheme.blocking
            switch recipe.rule(for: scheme, source: Source.sourceFormat, tensorMaximum: 1)?
              .scaleFormat
            {
            case .float32:
              try compare(Float8Matrix.self, values, rows, columns, recipe, blocking)
            case .bfloat16:
              try compare(
                BlockScaledMatrix<Float8E4M3, BFloat16>.self, values, rows, columns, recipe,
                blocking)
            default:
              try compare(
                BlockScaledMatrix<Float8E4M3, Float16>.self, values, rows, columns, recipe,
                blocking)
            }
          }
        }
      }
    }
    try check("bf16.input") { try vectors.bfloats("bf16.input") }
    try check("f16.input") { try vectors.halves("f16.input") }
    try check("f32.input") { try vectors.floats("f32.input") }
  }

  @Test(arguments: [1, 2, 5])
  func threadsDoNotMatter(_ threads: Int) throws {
    let (rows, columns) = (1030, 515)
    let values = TestValues.heavyTailed.values(
      rows * columns, seed: 3, of: BFloat16.self
    ) { BFloat16($0) }
    let cpu = CPUBackend(threads: threads)
    let fp4 = try NVFP4Matrix.quantized(values, rows: rows, columns: columns, recipe: .modelopt)
    let fast4 = try cpu.quantized(
      values, rows: rows, columns: columns, as: NVFP4Matrix.self, recipe: .modelopt)
    #expect(fast4.matrix == fp4.matrix && fast4.error == fp4.error)
    for blocking in [Blocking(rows: 128, columns: 128), .tensor, .row] {
      let fp8 = try Float8Matrix.quantized(
        values, rows: rows, columns: columns, recipe: .deepseek, blocking: blocking)
      let fast8 = try cpu.quantized(
        values, rows: rows, columns: columns, as: Float8Matrix.self, recipe: .deepseek,
        blocking: blocking)
      #expect(fast8.matrix == fp8.matrix && fast8.error == fp8.error, "\(blocking)")
      var again = fast8.matrix
      try cpu.quantize(values, into: &again, recipe: .deepseek)
      #expect(again == fp8.matrix, "\(blocking)")
    }
    // Searched scales are the reference's.
    let searched = try NVFP4Matrix.quantized(
      values, rows: rows, columns: columns, recipe: .modelopt, searchesScales: true)
    let fastSearched = try cpu.quantized(
      values, rows: rows, columns: columns, as: NVFP4Matrix.self, recipe: .modelopt,
      searchesScales: true)
    #expect(fastSearched.matrix == searched.matrix && fastSearched.error == searched.error)
  }

  @Test func wrongArgumentsAreErrors() throws {
    let cpu = CPUBackend()
    let values = [Float](repeating: 1, count: 6)
    #expect(throws: BlockScaleError.self) {
      try cpu.quantized(values, rows: 2, columns: 4, as: NVFP4Matrix.self, recipe: .modelopt)
    }
    #expect(throws: BlockScaleError.self) {
      try cpu.quantized(values, rows: 2, columns: 3, as: Float8Matrix.self, recipe: .deepseek)
    }
    #expect(throws: BlockScaleError.self) {
      try cpu.quantized(values, rows: 2, columns: 3, as: NVFP4Matrix.self, recipe: .deepseek)
    }
    var matrix = try cpu.quantized(
      values, rows: 2, columns: 3, as: NVFP4Matrix.self, recipe: .modelopt
    ).matrix
    #expect(throws: BlockScaleError.self) {
      try cpu.quantize([Float](), into: &matrix, recipe: .modelopt)
    }
  }
}

/// The bytes of plain values.
func bytes<Value>(_ values: [Value]) -> [UInt8] {
  // Plain bits, alive during the call.
  unsafe values.withUnsafeBytes { unsafe Array($0) }
}

/// The number of places in which two byte strings differ.
func differences(_ left: [UInt8], _ right: [UInt8]) -> Int {
  left.count == right.count
    ? zip(left, right).count { $0 != $1 } : max(left.count, right.count)
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import Minifloat
import Testing
import _BlockScaleTestSupport

/// A matrix and its transpose from one read, against the reference's two.
@Suite struct BothWaysTests {
  static let shapes = [(1, 1), (3, 17), (130, 257), (129, 1), (1, 600)]

  @Test(arguments: shapes)
  func equalsReference(_ rows: Int, _ columns: Int) throws {
    for recipe in [
      Recipe.deepseek, .deepseekUE8M0, .torchao, .transformerEngine, .coat, .modelopt,
      .compressedTensors, .comfy, .rceil,
    ] {
      for values in TestValues.allCases {
        try check(recipe, values, rows, columns, as: BFloat16.self) { BFloat16($0) }
        guard values == .special || values == .tiny else { continue }
        try check(recipe, values, rows, columns, as: Float.self) { $0 }
        try check(recipe, values, rows, columns, as: Float16.self) { Float16($0) }
      }
    }
  }

  /// Whole blocks, of which some tiers make several strips, tiles of several widths among them, where codes go
  /// past the caches.
  @Test(arguments: [(1024, 128), (256, 2304)])
  func wholeBlocksEqualReference(_ rows: Int, _ columns: Int) throws {
    let blockings = [Blocking(rows: 1, columns: 128), Blocking(rows: 128, columns: 128)]
    for recipe in [Recipe.deepseek, .transformerEngine, .modelopt] {
      for values in TestValues.allCases {
        try check(recipe, values, rows, columns, as: BFloat16.self, blockings: blockings) {
          BFloat16($0)
        }
      }
    }
    for recipe in [Recipe.coat, .deepseekUE8M0, .rceil, .comfy] {
      try check(recipe, .special, rows, columns, as: BFloat16.self, blockings: blockings) {
        BFloat16($0)
      }
    }
    // Square blocks go past the caches whatever their source.
    try check(.deepseek, .special, rows, columns, as: Float.self, blockings: [blockings[1]]) { $0 }
    try check(.deepseek, .special, rows, columns, as: Float16.self, blockings: [blockings[1]]) {
      Float16($0)
    }
  }

  /// Blocks of zeros of both signs, whose codes some recipes erase, in both orientations.
  @Test func zeroBlocksEqualReference() throws {
    for recipe in [Recipe.deepseek, .comfy] {
      for blocking in [Blocking(rows: 1, columns: 128), Blocking(rows: 128, columns: 128)] {
        try check(
          recipe, .normal, 384, 512, as: BFloat16.self, blockings: [blocking],
          zeros: (128..<256, 128..<384)
        ) { BFloat16($0) }
      }
    }
  }

  /// Values without zeros, nearly all of whose codes are normal ones; all codes go past
  /// the caches.
  @Test(arguments: [(640, 1152), (2176, 2048)])
  func nonzeroValuesEqualReference(_ rows: Int, _ columns: Int) throws {
    var generator = SplitMix(seed: 23)
    let values = (0..<rows * columns).map { _ -> BFloat16 in
      let value = generator.normal()
      return BFloat16(value == 0 ? 1 : value)
    }
    for blocking in [Blocking(rows: 1, columns: 128), Blocking(rows: 128, columns: 128)] {
      let expected = try Float8Matrix.quantizedBothWays(
        values, rows: rows, columns: columns, recipe: .deepseek, blocking: blocking)
      for tier in kernelTiers {
        for threads in [1, 2] {
          let cpu = try CPUBackend(tier: tier, threads: threads)
          var result = try cpu.quantizedBothWays(
            values, rows: rows, columns: columns, as: Float8Matrix.self, recipe: .deepseek,
            blocking: blocking)
          if rows < 1024 {
            try cpu.quantizeBothWays(values, into: &result, recipe: .deepseek, streamsFrom: 0)
          }
          for (result, expected, name) in [
            (result.matrix, expected.matrix, "matrix"),
            (result.transposed, expected.transposed, "transpose"),
          ] {
            #expect(differences(result.codes, expected.codes) == 0, "\(tier) \(blocking) \(name)")
            #expect(
              differences(bytes(result.scales), bytes(expected.scales)) == 0,
              "\(tier) \(blocking) scales of the \(name)")
          }
        }
      }
    }
  }

  private func check<Source: SourceValue>(
    _ recipe: Recipe, _ kind: TestValues, _ rows: Int, _ columns: Int, as source: Source.Type,
    blockings only: [Blocking]? = nil, zeros: (rows: Range<Int>, columns: Range<Int>)? = nil,
    _ convert: (Float) -> Source
  ) throws {
    var values = kind.values(rows * columns, seed: 5, of: source, convert)
    if let zeros {
      for row in zeros.rows {
        for column in zeros.columns {
          values[row * columns + column] = convert((row + column) % 2 == 0 ? 0 : -0.0)
        }
      }
    }
    func check<E, S>(_ type: BlockScaledMatrix<E, S>.Type, _ blockings: [Blocking]) throws {
      guard
        recipe.rule(
          element: E.elementFormat, scale: S.scaleFormat, source: Source.sourceFormat,
          tensorMaximum: 1, perTensor: false) != nil
      else { return }
      for blocking in blockings {
        let expected = try type.quantizedBothWays(
          values, rows: rows, columns: columns, recipe: recipe, blocking: blocking)
        for tier in kernelTiers {
          let cpu = try CPUBackend(tier: tier, threads: 2)
          let result = try cpu.quantizedBothWays(
            values, rows: rows, columns: columns, as: type, recipe: recipe, blocking: blocking)
          let name =
            "\(tier) \(recipe) \(kind) \(type) \(Source.self) \(rows)x\(columns) \(blocking)"
          #expect(differences(result.matrix.codes, expected.matrix.codes) == 0, "\(name)")
          #expect(
            differences(bytes(result.matrix.scales), bytes(expected.matrix.scales)) == 0,
            "\(name) scales")
          #expect(
            differences(result.transposed.codes, expected.transposed.codes) == 0,
            "\(name) transposed")
          #expect(
            differences(bytes(result.transposed.scales), bytes(expected.transposed.scales)) == 0,
            "\(name) transposed scales")
          // In place, over what other values left; also past the caches, as large matrices are.
          for streamsFrom in [0, Int.max] {
            var again = try cpu.quantizedBothWays(
              [Source](values.reversed()), rows: rows, columns: columns, as: type, recipe: recipe,
              blocking: blocking)
            try cpu.quantizeBothWays(
              values, into: &again, recipe: recipe, streamsFrom: streamsFrom)
            for (again, expected) in [
              (again.matrix, expected.matrix), (again.transposed, expected.transposed),
            ] {
              #expect(differences(again.codes, expected.codes) == 0, "\(name) in place")
              #expect(
                differences(bytes(again.scales), bytes(expected.scales)) == 0,
                "\(name) scales in place")
            }
          }
        }
      }
    }
    if let only {
      try check(Float8Matrix.self, only)
      try check(BlockScaledMatrix<Float8E4M3, BFloat16>.self, only)
      try check(BlockScaledMatrix<Float8E5M2, Float>.self, only)
      try check(BlockScaledMatrix<Float8E4M3, Float8E8M0>.self, only)
      return
    }
    let blockings = [Blocking(rows: 1, columns: 128), Blocking(rows: 128, columns: 128)]
    try check(Float8Matrix.self, blockings + [Blocking(rows: 1, columns: 16)])
    try check(BlockScaledMatrix<Float8E5M2, Float>.self, blockings)
    try check(BlockScaledMatrix<Float8E4M3, BFloat16>.self, blockings)
    try check(MXFP8Matrix.self, [Blocking(rows: 1, columns: 32), Blocking(rows: 32, columns: 32)])
    if rows < 100 { try check(NVFP4Matrix.self, [Blocking(rows: 1, columns: 16)]) }
  }

  @Test func unequalShapesAreErrors() throws {
    let values = [Float](repeating: 1, count: 6)
    let blocking = Blocking(rows: 1, columns: 16)
    var result = try CPUBackend().quantizedBothWays(
      values, rows: 2, columns: 3, as: Float8Matrix.self, recipe: .deepseek, blocking: blocking)
    result.transposed = result.matrix
    #expect(throws: BlockScaleError.self) {
      try CPUBackend().quantizeBothWays(values, into: &result, recipe: .deepseek)
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import Testing

/// Scales and factors that the FP8 rules give for chosen maxima, as bit patterns evaluated with IEEE
/// arithmetic outside this package.
@Suite struct Float8RuleTests {
  struct Row: Sendable, CustomTestStringConvertible {
    var name: String
    var maximum: UInt32
    /// The FP32 scale that codes follow, and the BF16 scale that is stored.
    var coatE4M3: (UInt32, UInt32)
    var coatE5M2: (UInt32, UInt32)
    /// The factor, and its reciprocal, which is stored.
    var torchao: (UInt32, UInt32)
    var transformerEngine: (UInt32, UInt32)
    var powerOfTwo: (UInt32, UInt32)
    var deepseek: UInt32
    var deepseekUE8M0: UInt32

    var testDescription: String { name }
  }

  static let rows: [Row] = [
    Row(
      name: "0", maximum: 0x00000000, coatE4M3: (0x2A7B5123, 0x2A7B),
      coatE5M2: (0x26FB5123, 0x26FB), torchao: (0x57CBBA10, 0x2720D7C5),
      transformerEngine: (0x3F800000, 0x3F800000), powerOfTwo: (0x3F800000, 0x3F800000),
      deepseek: 0x346FACAD, deepseekUE8M0: 0x34800000),
    Row(
      name: "2^-149", maximum: 0x00000001, coatE4M3: (0x2A7B5123, 0x2A7B),
      coatE5M2: (0x26FB5123, 0x26FB), torchao: (0x57CBBA10, 0x2720D7C5),
      transformerEngine: (0x7F7F0000, 0x00202020), powerOfTwo: (0x7F000000, 0x00400000),
      deepseek: 0x346FACAD, deepseekUE8M0: 0x34800000),
    Row(
      name: "2^-126", maximum: 0x00800000, coatE4M3: (0x2A7B5123, 0x2A7B),
      coatE5M2: (0x26FB5123, 0x26FB), torchao: (0x57CBBA10, 0x2720D7C5),
      transformerEngine: (0x7F7F0000, 0x00202020), powerOfTwo: (0x7F000000, 0x00400000),
      deepseek: 0x346FACAD, deepseekUE8M0: 0x34800000),
    Row(
      name: "1e-30", maximum: 0x0DA24260, coatE4M3: (0x2A7B5123, 0x2A7B),
      coatE5M2: (0x26FB5123, 0x26FB), torchao: (0x57CBBA10, 0x2720D7C5),
      transformerEngine: (0x75B0B471, 0x0939706D), powerOfTwo: (0x75800000, 0x09800000),
      deepseek: 0x346FACAD, deepseekUE8M0: 0x34800000),
    Row(
      name: "1e-12", maximum: 0x2B8CBCCC, coatE4M3: (0x2A7DD482, 0x2A7E),
      coatE5M2: (0x26FDD482, 0x26FE), torchao: (0x57CBBA10, 0x2720D7C5),
      transformerEngine: (0x57CBBA10, 0x2720D7C5), powerOfTwo: (0x57800000, 0x27800000),
      deepseek: 0x346FACAD, deepseekUE8M0: 0x34800000),
    Row(
      name: "1e-10", maximum: 0x2EDBE6FF, coatE4M3: (0x2AFB5123, 0x2AFB),
      coatE5M2: (0x277B5123, 0x277B), torchao: (0x5482629A, 0x2A7B5123),
      transformerEngine: (0x5482629A, 0x2A7B5123), powerOfTwo: (0x54800000, 0x2A800000),
      deepseek: 0x346FACAD, deepseekUE8M0: 0x34800000),
    Row(
      name: "1e-4", maximum: 0x38D1B717, coatE4M3: (0x346FACBD, 0x3470),
      coatE5M2: (0x30EFACBD, 0x30F0), torchao: (0x4A88B800, 0x346FACAD),
      transformerEngine: (0x4A88B800, 0x346FACAD), powerOfTwo: (0x4A800000, 0x34800000),
      deepseek: 0x346FACAD, deepseekUE8M0: 0x34800000),
    Row(
      name: "2^-9", maximum: 0x3B000000, coatE4M3: (0x36924925, 0x3692),
      coatE5M2: (0x33124925, 0x3312), torchao: (0x48600000, 0x36924925),
      transformerEngine: (0x48600000, 0x36924925), powerOfTwo: (0x48000000, 0x37000000),
      deepseek: 0x36924925, deepseekUE8M0: 0x37000000),
    Row(
      name: "0.1 (bf16 3dcd)", maximum: 0x3DCD0000, coatE4M3: (0x396A4925, 0x396A),
      coatE5M2: (0x35EA4925, 0x35EA), torchao: (0x458BDD09, 0x396A4924),
      transformerEngine: (0x458BDD09, 0x396A4924), powerOfTwo: (0x45800000, 0x39800000),
      deepseek: 0x396A4925, deepseekUE8M0: 0x39800000),
    Row(
      name: "1", maximum: 0x3F800000, coatE4M3: (0x3B124925, 0x3B12),
      coatE5M2: (0x37924925, 0x3792), torchao: (0x43E00000, 0x3B124925),
      transformerEngine: (0x43E00000, 0x3B124925), powerOfTwo: (0x43800000, 0x3B800000),
      deepseek: 0x3B124925, deepseekUE8M0: 0x3B800000),
    Row(
      name: "3", maximum: 0x40400000, coatE4M3: (0x3BDB6DB7, 0x3BDB),
      coatE5M2: (0x385B6DB7, 0x385B), torchao: (0x43155555, 0x3BDB6DB7),
      transformerEngine: (0x43155555, 0x3BDB6DB7), powerOfTwo: (0x43000000, 0x3C000000),
      deepseek: 0x3BDB6DB7, deepseekUE8M0: 0x3C000000),
    Row(
      name: "448", maximum: 0x43E00000, coatE4M3: (0x3F800000, 0x3F80),
      coatE5M2: (0x3C000000, 0x3C00), torchao: (0x3F800000, 0x3F800000),
      transformerEngine: (0x3F800000, 0x3F800000), powerOfTwo: (0x3F800000, 0x3F800000),
      deepseek: 0x3F800000, deepseekUE8M0: 0x3F800000),
    Row(
      name: "450", maximum: 0x43E10000, coatE4M3: (0x3F809249, 0x3F81),
      coatE5M2: (0x3C009249, 0x3C01), torchao: (0x3F7EDCBB, 0x3F809249),
      transformerEngine: (0x3F7EDCBB, 0x3F809249), powerOfTwo: (0x3F000000, 0x40000000),
      deepseek: 0x3F809249, deepseekUE8M0: 0x40000000),
    Row(
      name: "57344", maximum: 0x47600000, coatE4M3: (0x43000000, 0x4300),
      coatE5M2: (0x3F800000, 0x3F80), torchao: (0x3C000000, 0x43000000),
      transformerEngine: (0x3C000000, 0x43000000), powerOfTwo: (0x3C000000, 0x43000000),
      deepseek: 0x43000000, deepseekUE8M0: 0x43000000),
    Row(
      name: "bf16max", maximum: 0x7F7F0000, coatE4M3: (0x7B11B6DB, 0x7B12),
      coatE5M2: (0x7791B6DB, 0x7792), torchao: (0x03E0E0E1, 0x7B11B6DB),
      transformerEngine: (0x03E0E0E1, 0x7B11B6DB), powerOfTwo: (0x03800000, 0x7B800000),
      deepseek: 0x7B11B6DB, deepseekUE8M0: 0x7B800000),
  ]

  private func choice(
    _ recipe: Recipe, _ element: ElementFormat, _ row: Row, perTensor: Bool = false
  ) throws -> BlockRule.Choice {
    // TransformerEngine replaces an infinite factor by the greatest value of the source, here BF16.
    let rule = try #require(
      recipe.float8Rule(element: element, source: .bfloat16, perTensor: perTensor))
    return rule.choose(Float(bitPattern: row.maximum))
  }

  @Test(arguments: rows)
  func coat(_ row: Row) throws {
    for (element, bits) in [(ElementFormat.e4m3, row.coatE4M3), (.e5m2, row.coatE5M2)] {
      let group = try choice(.coat, element, row)
      #expect(group.factor.bitPattern == bits.0)
      #expect(group.scaleCode == bits.1)
      // Per tensor, codes follow the stored scale.
      let tensor = try choice(.coat, element, row, perTensor: true)
      #expect(tensor.factor.bitPattern == bits.1 << 16)
      #expect(tensor.scaleCode == bits.1)
    }
  }

  @Test(arguments: rows)
  func reciprocals(_ row: Row) throws {
    for (recipe, bits) in [
      (Recipe.torchao, row.torchao), (.transformerEngine, row.transformerEngine),
      (.transformerEnginePowerOfTwo, row.powerOfTwo),
    ] {
      let choice = try choice(recipe, .e4m3, row)
      #expect(choice.factor.bitPattern == bits.0, "\(recipe)")
      #expect(choice.scaleCode == bits.1, "\(recipe)")
    }
  }

  @Test(arguments: rows)
  func deepseek(_ row: Row) throws {
    for (recipe, bits) in [
      (Recipe.deepseek, row.deepseek), (.deepseekUE8M0, row.deepseekUE8M0),
    ] {
      let choice = try choice(recipe, .e4m3, row)
      #expect(choice.scaleCode == bits, "\(recipe)")
      #expect(choice.factor == 1 / Float(bitPattern: bits))
    }
  }

  /// Half a BF16 unit can take a maximum beyond the largest code, but never beyond what rounds to it.
  @Test func coatNeverOverflows() throws {
    for element in [ElementFormat.e4m3, .e5m2] {
      let rule = try #require(
        Recipe.coat.float8Rule(element: element, source: .bfloat16, perTensor: true))
      for bits in stride(from: UInt32(0x3F80_0000), to: 0x4080_0000, by: 997) {
        let maximum = Float(bitPattern: bits)
        let scaled = Double(maximum / rule.choose(maximum).factor)
        let code =
          element == .e4m3
          ? Float8E4M3(scaled).bitPattern : Float8E5M2(scaled).bitPattern
        #expect(code <= (element == .e4m3 ? 0x7E : 0x7B))
      }
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

@testable import BlockScale
import Minifloat
import Testing
import _BlockScaleTestSupport

/// COAT's operations against the kernels' own output, to the byte, save for the two conversions of
/// the interpreter that ``COATGoldenTests`` describes: each value is checked to be the interpreter's
/// under its rounding, and ours under rounding to nearest even, of the same FP32 number.
extension COATGoldenTests {
  private func input(_ name: String) throws -> Float8Tensor<Float8E4M3> {
    Tensor(
      try BlockScaledMatrix(
        rows: 64, columns: 128, blocking: Blocking(rows: 1, columns: 16),
        codes: vectors.bytes("\(name).0"), scales: vectors.bfloats("\(name).1")))
  }

  private func bfloats(_ name: String) throws -> BFloat16Tensor {
    Tensor(try Matrix(vectors.bfloats(name), rows: 64, columns: 128))
  }

  /// Checks BF16 numbers and golden ones against the FP32 numbers that both come from.
  private func compare(_ values: [BFloat16], golden: String, exact: [Float]) throws {
    #expect(values.map(\.bitPattern) == exact.map { BFloat16($0).bitPattern })
    let expected = try vectors.integers(golden, as: UInt16.self)
    #expect(expected == exact.map { interpreterBFloat16($0).bitPattern })
    // Cutting off and rounding agree for about half of all numbers.
    let equal = zip(values, expected).count { $0.bitPattern == $1 }
    #expect(equal > values.count / 3)
  }

  private func groupScales(_ values: [Float], _ greatest: Float) -> [Float] {
    stride(from: 0, to: values.count, by: 16).map { start in
      (values[start..<start + 16].map(\.magnitude).max()! + 1e-10) / greatest
    }
  }

  @Test(arguments: ["gate", "up"])
  func quantizeGroupsOperation(name: String) throws {
    let tensor: Float8Tensor<Float8E4M3> = try ReferenceBackend().quantizeGroups(
      bfloats("\(name).bf16"), recipe: .coat)
    let values = try vectors.bfloats("\(name).bf16").map { Float($0) }
    let scales = groupScales(values, 448)
    try compare(tensor.matrix.scales, golden: "\(name).1", exact: scales)
    try compare(
      tensor.matrix.codes, golden: "\(name).0",
      scaled: values.indices.map { values[$0] / scales[$0 / 16] }, .e4m3)
  }

  @Test(arguments: ActivationRecipe.allCases)
  func multiplyBackwardOperation(recipe: ActivationRecipe) throws {
    let (gate, up) = (try input("gate"), try input("up"))
    let gradient = try bfloats("grad.bf16")
    // The golden file was made with scales for E4M3 where nothing is quantized.
    let result = try ReferenceBackend().multiplyBackward(
      gate, up, gradient: gradient, as: Float8E4M3.self, recipe: recipe)
    let incoming = gradient.matrix.values.map { Float($0) }
    let first = zip(incoming, up.matrix.dequantized()).map { $0 * $1 }
    let second = zip(incoming, gate.matrix.dequantized()).map { $0 * $1 }
    try compare(result.first.matrix.values, golden: "mul_backward.0", exact: first)
    try compare(result.second.values.matrix.values, golden: "mul_backward.1.0", exact: second)
    try compare(
      result.second.groupScales.matrix.values, golden: "mul_backward.1.1",
      exact: groupScales(second, 448))
  }

  /// The second stage on the golden values and scales themselves.
  @Test(arguments: ActivationRecipe.allCases)
  func divisionTransposeOperation(recipe: ActivationRecipe) throws {
    let values = try bfloats("mul_backward.1.0")
    let scale = try vectors.bfloats("mul_backward_qt_e5m2.1.1")[0]
    let result = try ReferenceBackend().divisionTranspose(
      values, by: scale, as: Float8E5M2.self, recipe: recipe)
    #expect(result.scale.bitPattern == scale.bitPattern)
    try compare(
      result.tensor.matrix.codes, golden: "mul_backward_qt_e5m2.1.0",
      scaled: values.matrix.values.map { Float($0) / Float(scale) }, .e5m2)
    // The golden transpose is the transpose of the golden codes, ours of ours.
    let golden = try vectors.bytes("mul_backward_qt_e5m2.1.0")
    #expect(
      try vectors.bytes("mul_backward_qt_e5m2.1.2") == transposed(golden, rows: 64, columns: 128))
    #expect(
      result.transposed?.codes == transposed(result.tensor.matrix.codes, rows: 64, columns: 128))
  }

  @Test(arguments: ActivationRecipe.allCases)
  func multiplyForwardOperation(recipe: ActivationRecipe) throws {
    let (gate, up) = (try input("gate"), try input("up"))
    let result = try ReferenceBackend().multiplyForward(
      gate, up, as: Float8E4M3.self, recipe: recipe)
    let product = zip(gate.matrix.dequantized(), up.matrix.dequantized()).map { $0 * $1 }
    let exactScale = groupScales(product, 448).max()!
    #expect(try vectors.bfloats("mul_forward.1") == [interpreterBFloat16(exactScale)])
    #expect(result.scale == BFloat16(exactScale))
    let scaled = product.map { Float(BFloat16($0)) / Float(result.scale) }
    #expect(
      result.tensor.matrix.codes
        == scaled.map { Float8E4M3($0, overflow: .saturate).bitPattern })
    // Under the golden scale and values, the codes are compared with the golden ones.
    let golden = try ReferenceBackend().division(
      Tensor(Matrix(product.map { interpreterBFloat16($0) }, rows: 64, columns: 128)),
      by: interpreterBFloat16(exactScale), as: Float8E4M3.self, recipe: recipe)
    try compare(
      golden.matrix.codes, golden: "mul_forward.0",
      scaled: product.map {
        Float(interpreterBFloat16($0)) / Float(interpreterBFloat16(exactScale))
      }, .e4m3)
  }

  @Test func threeDimensionsAreTwo() throws {
    let reference = ReferenceBackend()
    let flat = try reference.multiplyBackward(
      input("gate"), input("up"), gradient: bfloats("grad.bf16"), outputQuantizedTranspose: true)
    let batched = try reference.multiplyBackward(
      Tensor(input("gate").matrix, shape: [4, 16, 128]),
      Tensor(input("up").matrix, shape: [4, 16, 128]),
      gradient: Tensor(bfloats("grad.bf16").matrix, shape: [4, 16, 128]),
      outputQuantizedTranspose: true)
    #expect(batched.first.shape == [4, 16, 128])
    #expect(batched.second.tensor.shape == [4, 16, 128])
    #expect(batched.first.matrix == flat.first.matrix)
    #expect(batched.second.tensor.matrix == flat.second.tensor.matrix)
    #expect(batched.second.transposed == flat.second.transposed)
    #expect(batched.second.transposed?.rows == 128)
  }
}

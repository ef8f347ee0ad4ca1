// SPDX-License-Identifier: Apache-2.0

@testable import BlockScale
import Minifloat
import Testing
import _BlockScaleTestSupport

/// COAT's kernels as Triton's CPU interpreter ran them.
///
/// The interpreter converts otherwise than a GPU, in two ways that these tests reproduce so that
/// everything else is still compared to the byte:
/// - FP32 to BF16 cuts bits off; a GPU rounds to nearest even.
/// - FP32 to FP8 rounds halves away from zero and ORs the carry of the significand into the exponent
///   field, so a carry into an odd exponent field is lost (125 becomes 64). Below the smallest
///   normal value it cuts bits off unevenly; there only our own rounding is checked.
@Suite struct COATGoldenTests {
  let vectors: Vectors

  init() throws { vectors = try Vectors("seed_coat_mul_64x128.safetensors") }

  func interpreterBFloat16(_ value: Float) -> BFloat16 {
    BFloat16(bitPattern: UInt16(truncatingIfNeeded: value.bitPattern >> 16))
  }

  /// The interpreter's code; nil below the smallest normal value.
  func interpreterCode(_ value: Float, _ format: ElementFormat) -> UInt8? {
    let (bits, bias, least): (UInt32, UInt32, Float) =
      format == .e4m3 ? (3, 120, 0x1p-6) : (2, 112, 0x1p-14)
    let sign = UInt8(value.bitPattern >> 31) << 7
    guard value.magnitude >= least else { return nil }
    let exponentField = (value.magnitude.bitPattern >> 23) - bias
    let significand = (value.bitPattern & 0x7F_FFFF + (1 << (22 - bits))) >> (23 - bits)
    return sign | UInt8(exponentField << bits | significand)
  }

  /// Compares codes with the interpreter's, given the values that were encoded.
  func compare(
    _ codes: [UInt8], golden: String, scaled: [Float], _ format: ElementFormat,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let expected = try vectors.bytes(golden)
    var conversionsThatDiffer = 0
    for index in codes.indices {
      let rounded =
        format == .e4m3
        ? Float8E4M3(scaled[index], overflow: .saturate).bitPattern
        : Float8E5M2(scaled[index], overflow: .saturate).bitPattern
      #expect(rounded == codes[index], sourceLocation: sourceLocation)
      guard let interpreted = interpreterCode(scaled[index], format) else { continue }
      #expect(interpreted == expected[index], sourceLocation: sourceLocation)
      if interpreted != rounded { conversionsThatDiffer += 1 }
    }
    // A few in a hundred carry into an odd exponent field, or tie.
    #expect(conversionsThatDiffer < codes.count / 20, sourceLocation: sourceLocation)
  }

  @Test(arguments: ["gate", "up"])
  func groups(name: String) throws {
    let values = try vectors.bfloats("\(name).bf16").map { Float($0) }
    let (matrix, _) = try BlockScaledMatrix<Float8E4M3, BFloat16>.quantized(
      values, rows: 64, columns: 128, recipe: .coat, blocking: Blocking(rows: 1, columns: 16))
    let scales = stride(from: 0, to: values.count, by: 16).map { start -> Float in
      (values[start..<start + 16].map(\.magnitude).max()! + 1e-10) / 448
    }
    #expect(matrix.scales.map(\.bitPattern) == scales.map { BFloat16($0).bitPattern })
    #expect(
      scales.map { interpreterBFloat16($0).bitPattern }
        == (try vectors.integers("\(name).1", as: UInt16.self)))
    try compare(
      matrix.codes, golden: "\(name).0",
      scaled: values.indices.map { values[$0] / scales[$0 / 16] }, .e4m3)
  }

  private func decoded(_ name: String) throws -> [Float] {
    try BlockScaledMatrix<Float8E4M3, BFloat16>(
      rows: 64, columns: 128, blocking: Blocking(rows: 1, columns: 16),
      codes: vectors.bytes("\(name).0"), scales: vectors.bfloats("\(name).1")
    ).dequantized()
  }

  /// What products quantize with: a maximum in FP32, a BF16 scale, and codes of the product in BF16.
  ///
  /// The operations themselves are checked in `COATGoldenTests+Operations.swift`.
  @Test func perTensorForward() throws {
    let product = zip(try decoded("gate"), try decoded("up")).map { $0 * $1 }
    let stored = product.map { Float(interpreterBFloat16($0)) }
    try comparePerTensor(
      stored, maximum: product.map(\.magnitude).max()!, as: Float8E4M3.self,
      names: ("mul_forward.0", "mul_forward.1", "mul_forward.2"))
  }

  @Test func perTensorBackward() throws {
    let gradient = zip(try decoded("gate"), try vectors.bfloats("grad.bf16")).map {
      $0 * Float($1)
    }
    let stored = gradient.map { Float(interpreterBFloat16($0)) }
    #expect(stored == (try vectors.bfloats("mul_backward.1.0").map { Float($0) }))
    try comparePerTensor(
      stored, maximum: gradient.map(\.magnitude).max()!, as: Float8E5M2.self,
      names: (
        "mul_backward_qt_e5m2.1.0", "mul_backward_qt_e5m2.1.1", "mul_backward_qt_e5m2.1.2"
      ))
  }

  private func comparePerTensor<Element: BlockElement>(
    _ values: [Float], maximum: Float, as element: Element.Type,
    names: (codes: String, scale: String, transposed: String)
  ) throws {
    let greatest = Element.elementFormat.greatestFiniteMagnitude
    let golden = try vectors.bfloats(names.scale)
    #expect(golden == [interpreterBFloat16((maximum + 1e-10) / greatest)])
    // The maximum is chosen so that rounding to nearest gives the scale that cutting off gave.
    let scale = Float(golden[0])
    let (matrix, _) = try BlockScaledMatrix<Element, BFloat16>.quantized(
      values, rows: 64, columns: 128, recipe: .coat, blocking: .tensor,
      sharedMaximum: scale * greatest)
    #expect(matrix.scales == golden)
    try compare(
      matrix.codes, golden: names.codes, scaled: values.map { $0 / scale }, Element.elementFormat)
    let transposed = matrix.transposed()
    #expect(transposed.rows == 128 && transposed.columns == 64 && transposed.blocking == .tensor)
    let original = try vectors.bytes(names.codes)
    let goldenTransposed = try vectors.bytes(names.transposed)
    for row in 0..<64 {
      for column in 0..<128 {
        #expect(transposed[column, row] == matrix[row, column])
        #expect(goldenTransposed[column * 64 + row] == original[row * 128 + column])
      }
    }
  }
}

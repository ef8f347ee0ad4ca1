// SPDX-License-Identifier: Apache-2.0

extension EntryWriter {
  mutating func writeConversion(_ instruction: Instruction) {
    switch instruction {
    case .convert(let result, let to, let value, let from, let rounding, let saturating):
      emit(
        "cvt", rounding.rawValue, saturating ? "sat" : "", to.rawValue, from.rawValue,
        operands: result.text, operand(value, from))
    case .packPair(let result, let format, let high, let low):
      writePackPair(result, format, operand(high, .f32), operand(low, .f32))
    case .packQuadStochastic(let result, let format, let values, let random):
      let texts = values.map { operand($0, .f32) }.joined(separator: ", ")
      emit(
        "cvt.rs.satfinite", format.quadName, "f32",
        operands: result.text, "{\(texts)}", heldOperand(random, .b32))
    case .unpackPair(let result, let value, .e2m1x2):
      let codes = scratch("b8")
      emit("cvt.u8.u16", operands: codes, value.text)
      emit("cvt.rn.f16x2.e2m1x2", operands: result.text, codes)
    case .unpackPair(let result, let value, let format):
      emit(
        "cvt.rn", format == .ue8m0x2 ? "bf16x2" : "f16x2", format.rawValue,
        operands: result.text, value.text)
    default:
      preconditionFailure("not of this family: \(instruction)")
    }
  }

  /// Pairs of eight- and four-bit codes always saturate; exponents are rounded up.
  private mutating func writePackPair(
    _ result: Register, _ format: PairFormat, _ high: String, _ low: String
  ) {
    switch format {
    case .f16x2, .bf16x2:
      emit("cvt.rn", format.rawValue, "f32", operands: result.text, high, low)
    case .e4m3x2, .e5m2x2:
      emit("cvt.rn.satfinite", format.rawValue, "f32", operands: result.text, high, low)
    case .ue8m0x2:
      emit("cvt.rp.satfinite", format.rawValue, "f32", operands: result.text, high, low)
    case .e2m1x2:
      // PTX wants a register of eight bits, a kind that nothing else needs.
      let codes = scratch("b8")
      emit("cvt.rn.satfinite", format.rawValue, "f32", operands: codes, high, low)
      emit("cvt.u16.u8", operands: result.text, codes)
    }
  }
}

extension PairFormat {
  /// Four codes instead of two.
  var quadName: String {
    switch self {
    case .e4m3x2: "e4m3x4"
    case .e5m2x2: "e5m2x4"
    case .e2m1x2: "e2m1x4"
    case .f16x2, .bf16x2, .ue8m0x2: rawValue
    }
  }

  /// The kind of register that holds four codes, where there are conversions to four.
  var quadKind: RegisterKind? {
    switch self {
    case .e4m3x2, .e5m2x2: .bits32
    case .e2m1x2: .bits16
    case .f16x2, .bf16x2, .ue8m0x2: nil
    }
  }
}

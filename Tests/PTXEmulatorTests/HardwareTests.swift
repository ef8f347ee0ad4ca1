// SPDX-License-Identifier: Apache-2.0

import PTX
import PTXEmulator
import Testing
import _BlockScaleTestSupport

/// Results of single instructions on an H100, made by `Tools/gpu_arithmetic_vectors.py`: what the
/// emulator computes has the same bits, and approximations lie within the errors that it assumes.
@Suite struct HardwareTests {
  /// An instruction of a vector.
  struct Case: CustomTestStringConvertible, Sendable {
    let name: String
    /// Registers of the operands; of 16 bits for the low half of `x`.
    let kinds: [RegisterKind]
    let result: RegisterKind
    let instruction: @Sendable (Register, [Register]) -> Instruction
    var testDescription: String { name }

    init(
      _ name: String, _ kinds: [RegisterKind] = [.bits32], to result: RegisterKind = .bits32,
      by instruction: @escaping @Sendable (Register, [Register]) -> Instruction
    ) {
      (self.name, self.kinds, self.result) = (name, kinds, result)
      self.instruction = instruction
    }
  }

  private static func convert(
    _ to: ScalarType, from: ScalarType, _ rounding: Rounding = .none
  ) -> @Sendable (Register, [Register]) -> Instruction {
    {
      .convert($0, to: to, .register($1[0]), from: from, rounding: rounding, saturating: false)
    }
  }

  private static func unary(_ name: String, _ operation: UnaryOperation, _ type: ScalarType) -> Case
  {
    Case(name) { .unary(operation, type, $0, .register($1[0])) }
  }

  private static func binary(
    _ name: String, _ operation: BinaryOperation, _ type: ScalarType
  ) -> Case {
    Case(name, [.bits32, .bits32]) {
      .binary(operation, type, $0, .register($1[0]), .register($1[1]))
    }
  }

  static let exact: [Case] =
    [
      ("pack_e4m3x2", PairFormat.e4m3x2), ("pack_e5m2x2", .e5m2x2), ("pack_f16x2", .f16x2),
      ("pack_bf16x2", .bf16x2),
    ].map { name, format in
      Case(name, [.bits32, .bits32], to: format.registerKind) {
        .packPair($0, format, high: .register($1[0]), low: .register($1[1]))
      }
    } + [
      Case("unpack_e4m3x2", [.bits16]) { .unpackPair($0, $1[0], from: .e4m3x2) },
      Case("unpack_e5m2x2", [.bits16]) { .unpackPair($0, $1[0], from: .e5m2x2) },
      Case("f32_to_f16", to: .bits16, by: convert(.f16, from: .f32, .nearestEven)),
      Case("f32_to_bf16_cut", to: .bits16, by: convert(.bf16, from: .f32, .towardZero)),
      Case("f16_to_f32", [.bits16], by: convert(.f32, from: .f16)),
      Case("bf16_to_f32", [.bits16], by: convert(.f32, from: .bf16)),
      Case("f32_to_s32", by: convert(.s32, from: .f32, .towardZeroInteger)),
      Case("f32_to_u32", by: convert(.u32, from: .f32, .nearestEvenInteger)),
      Case("f32_to_s64_high", to: .bits64, by: convert(.s64, from: .f32, .towardZeroInteger)),
      Case("f32_rounded", by: convert(.f32, from: .f32, .nearestEvenInteger)),
      binary("add_f32", .add, .f32), binary("sub_f32", .subtract, .f32),
      binary("mul_f32", .multiply, .f32), binary("div_f32", .divide, .f32),
      Case("fma_f32", [.bits32, .bits32]) {
        .ternary(.multiplyAdd, .f32, $0, .register($1[0]), .register($1[1]), .register($1[0]))
      },
      binary("min_f32", .minimum, .f32), binary("max_f32", .maximum, .f32),
      binary("min_nan_f32", .minimumNaN, .f32), binary("max_nan_f32", .maximumNaN, .f32),
      unary("neg_f32", .negate, .f32), unary("abs_f32", .absolute, .f32),
      unary("rcp_f32", .reciprocal, .f32), unary("sqrt_f32", .squareRoot, .f32),
      binary("add_f16x2", .add, .f16x2), binary("mul_f16x2", .multiply, .f16x2),
      binary("add_bf16x2", .add, .bf16x2), binary("max_bf16x2", .maximum, .bf16x2),
      unary("abs_bf16x2", .absolute, .bf16x2), unary("neg_bf16x2", .negate, .bf16x2),
      binary("div_u32", .divide, .u32), binary("rem_u32", .remainder, .u32),
      binary("div_s32", .divide, .s32), binary("rem_s32", .remainder, .s32),
    ]

  private func run(_ test: Case) throws -> (results: [UInt64], hardware: [UInt64]) {
    let vectors = try Vectors("h100_arithmetic.safetensors")
    func words(_ name: String) throws -> [UInt64] {
      try vectors.integers(name, as: UInt32.self).map(UInt64.init)
    }
    let operands = [try words("x"), try words("y")].prefix(test.kinds.count)
    let results = try runInstruction(
      test.kinds, result: test.result, Array(operands), test.instruction)
    return (
      test.result == .bits64 ? results.map { $0 >> 32 } : results, try words(test.name)
    )
  }

  @Test(arguments: exact)
  func isExact(_ test: Case) throws {
    let (results, hardware) = try run(test)
    let vectors = try Vectors("h100_arithmetic.safetensors")
    let x = try vectors.integers("x", as: UInt32.self)
    let y = try vectors.integers("y", as: UInt32.self)
    for index in results.indices where results[index] != hardware[index] {
      Issue.record(
        """
        \(test.name) of \(String(x[index], radix: 16)) and \(String(y[index], radix: 16)): \
        \(String(results[index], radix: 16)), on an H100 \(String(hardware[index], radix: 16))
        """)
    }
  }

  static let approximate = [
    unary("rcp_approx_f32", .approximateReciprocal, .f32),
    unary("rsqrt_approx_f32", .approximateReciprocalRoot, .f32),
    unary("ex2_approx_f32", .approximateExponential2, .f32),
    unary("lg2_approx_f32", .approximateLogarithm2, .f32),
    unary("tanh_approx_f32", .approximateTanh, .f32),
  ]

  /// The errors are those of the emulator's perturbed results: 2^-11 for tanh, 2^-21 else.
  @Test(arguments: approximate)
  func isWithinItsError(_ test: Case) throws {
    let (results, hardware) = try run(test)
    let bound: Float = test.name == "tanh_approx_f32" ? 0x1p-11 : 0x1p-21
    for index in results.indices {
      let value = Float(bitPattern: UInt32(results[index]))
      let measured = Float(bitPattern: UInt32(hardware[index]))
      if value.isNaN || value.isInfinite || measured.isNaN || measured.isInfinite {
        #expect(results[index] == hardware[index], "\(index)")
      } else {
        let error = (value - measured).magnitude
        #expect(error <= bound * Swift.max(value.magnitude, 1), "\(index): \(value), \(measured)")
      }
    }
  }
}

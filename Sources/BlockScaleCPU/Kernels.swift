// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import _BlockScaleShims

/// The kernels of a tier, a constant table of functions.
// Sendable in spite of its pointer: the table is never written and never freed.
@safe struct Kernels: @unchecked Sendable {
  private let table: UnsafePointer<bs_kernels_t>

  /// - Returns: nil for the portable tier, whose kernels are the reference.
  init?(_ tier: CPUTier) {
    let table =
      switch tier {
      case .portable: unsafe UnsafePointer<bs_kernels_t>?.none
      case .neon: unsafe bs_kernels_neon()
      case .avx2: unsafe bs_kernels_avx2()
      // These multiply BF16; everything else runs as on AVX-512.
      case .avx512, .avx512BF16, .amx: unsafe bs_kernels_avx512()
      }
    guard let table = unsafe table else { return nil }
    unsafe self.table = table
  }

  /// The functions.
  var functions: bs_kernels_t {
    @inline(__always)
    _read {
      // The table is a constant of the program.
      yield unsafe table.pointee
    }
  }

  /// Writes stored scales as FP32, every NaN without a payload.
  func loadScales(
    _ scales: UnsafeRawPointer, _ format: ScaleFormat, count: Int,
    into values: UnsafeMutablePointer<Float>
  ) {
    // The caller vouches for the extent of both.
    switch format {
    case .float32: unsafe functions.load_scales(Int32(BS_FLOAT32_SCALES), scales, count, values)
    case .e8m0: unsafe functions.load_scales(Int32(BS_E8M0_SCALES), scales, count, values)
    case .e4m3: unsafe functions.load_scales(Int32(BS_E4M3_SCALES), scales, count, values)
    case .bfloat16, .float16:
      for index in 0..<count {
        let code = unsafe scales.loadUnaligned(fromByteOffset: index * 2, as: UInt16.self)
        let value = format.value(ofCode: UInt32(code))
        unsafe values[index] = value.isNaN ? .nan : value
      }
    }
  }
}

extension SourceFormat {
  /// The number by which kernels know the format.
  var kernelCode: UInt8 {
    switch self {
    case .float32: UInt8(BS_FLOAT32)
    case .bfloat16: UInt8(BS_BFLOAT16)
    case .float16: UInt8(BS_FLOAT16)
    }
  }

  /// The value of a magnitude's bits in this format.
  func value(ofMagnitude bits: UInt32) -> Float {
    switch self {
    case .float32: Float(bitPattern: bits)
    case .bfloat16: Float(bitPattern: bits << 16)
    case .float16: Float(Float16(bitPattern: UInt16(truncatingIfNeeded: bits)))
    }
  }

  /// The bits of infinity; those of NaN are larger.
  var infinityBits: UInt32 {
    switch self {
    case .float32: 0x7F80_0000
    case .bfloat16: 0x7F80
    case .float16: 0x7C00
    }
  }
}

extension ElementFormat {
  /// The number by which kernels know the format.
  var kernelCode: UInt8 {
    switch self {
    case .e4m3: UInt8(BS_E4M3)
    case .e5m2: UInt8(BS_E5M2)
    case .e2m1: UInt8(BS_E2M1)
    }
  }
}

extension bs_rule_t {
  /// What kernels need to know of a rule.
  init(_ rule: BlockRule, source: SourceFormat) {
    self.init()
    self.source = source.kernelCode
    element = rule.element.format.kernelCode
    intermediate = rule.element.intermediate.kernelCode
    zero_sign =
      switch rule.element.zeroSign {
      case .kept: UInt8(BS_ZERO_SIGN_KEPT)
      case .keptUnlessInputIsZero: UInt8(BS_ZERO_SIGN_KEPT_UNLESS_INPUT_IS_ZERO)
      case .positive: UInt8(BS_ZERO_SIGN_POSITIVE)
      case .negativeForZeroInput: UInt8(BS_ZERO_SIGN_NEGATIVE_FOR_ZERO_INPUT)
      }
    set(rule.tensorScale)
    let t = rule.element.ties.e2m1Thresholds
    thresholds = (t[0], t[1], t[2], t[3], t[4], t[5], t[6])
  }

  /// What kernels need to know to decode.
  init(element: ElementFormat, tensorScale: TensorScale?, result: SourceFormat) {
    self.init()
    source = result.kernelCode
    self.element = element.kernelCode
    set(tensorScale)
  }

  private mutating func set(_ tensorScale: TensorScale?) {
    guard let tensorScale else {
      tensor_mode = UInt8(BS_NO_TENSOR_SCALE)
      return
    }
    tensor_mode = UInt8(tensorScale.isDivisor ? BS_TENSOR_DIVISOR : BS_TENSOR_MULTIPLIER)
    tensor_scale = tensorScale.value.isNaN ? .nan : tensorScale.value
  }
}

extension bs_factor_t {
  /// The factor of a block, in the form that is quickest and has the same results.
  ///
  /// - Parameter maximum: The largest magnitude of the block.
  init(_ choice: BlockRule.Choice, divides: Bool, maximum: Float) {
    let factor = choice.factor
    let erases: UInt32 = choice.isErased ? 1 : 0
    guard divides else {
      unsafe self.init(multiplier: factor, divisor: 0, least: .max, erases: erases, table: nil)
      return
    }
    let reciprocal = 1 / factor
    if factor > 0, reciprocal.isFinite, factor.significandBitPattern == 0, factor.isNormal {
      // The reciprocal of a power of two is exact.
      unsafe self.init(multiplier: reciprocal, divisor: 0, least: .max, erases: erases, table: nil)
    } else if factor > 0x1p-60, factor < 0x1p60, maximum * reciprocal < 0x1p60 {
      // Far from the ends of the range, so that all remainders that matter are exact.
      unsafe self.init(
        multiplier: reciprocal, divisor: factor, least: .max, erases: erases, table: nil)
    } else {
      unsafe self.init(multiplier: 0, divisor: factor, least: .max, erases: erases, table: nil)
    }
  }
}

extension bs_errors_t {
  /// Moves the sums into metrics and begins anew.
  mutating func flush(into metrics: inout ErrorMetrics) {
    func lanes(_ values: SIMD16<Double>) -> Double { values.lowHalf.sum() + values.highHalf.sum() }
    func total(_ counts: SIMD16<Int32>) -> Int { -Int(counts.wrappedSum()) }
    var part = ErrorMetrics()
    // Sixteen numbers of C are as many lanes.
    part.signalPower = unsafe lanes(unsafeBitCast(signal, to: SIMD16<Double>.self))
    part.errorPower = unsafe lanes(unsafeBitCast(error, to: SIMD16<Double>.self))
    part.saturatedCount = unsafe total(unsafeBitCast(saturated, to: SIMD16<Int32>.self))
    part.underflowedCount = unsafe total(unsafeBitCast(underflowed, to: SIMD16<Int32>.self))
    part.nonFiniteCount = unsafe total(unsafeBitCast(non_finite, to: SIMD16<Int32>.self))
    let largest = unsafe unsafeBitCast(maximum, to: SIMD16<Int32>.self).max()
    part.maximumError = Float(bitPattern: UInt32(largest))
    part.count = Int(count) - part.nonFiniteCount
    metrics.merge(part)
    self = bs_errors_t()
  }
}

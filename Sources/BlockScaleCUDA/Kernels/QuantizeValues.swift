// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

/// Eight neighbouring values of a row in registers, as they lie in memory.
struct SourceRun {
  static let count = 8

  let k: KernelBuilder
  let format: SourceFormat
  /// Two values each of BF16 or FP16, or one of FP32.
  let words: [Value<UInt32>]

  init(_ k: KernelBuilder, _ format: SourceFormat, words: [Value<UInt32>]) {
    precondition(words.count * 4 == Self.count * format.byteCount, "eight values")
    self.k = k
    self.format = format
    self.words = words
  }

  /// The values, in FP32, which holds them exactly.
  func floats() -> [Value<Float>] {
    switch format {
    case .float32: words.map(\.floatFromBits)
    case .bfloat16:
      words.flatMap { word in
        let pair = word.reinterpreted(as: Pair<BFloat16>.self).floats
        return [pair.low, pair.high]
      }
    case .float16:
      words.flatMap { word in
        let pair = word.reinterpreted(as: Pair<Half>.self).floats
        return [pair.low, pair.high]
      }
    }
  }

  /// Two words with a byte for each value: 0x80 where its sign bit is set.
  func signs() -> [Value<UInt32>] {
    if format == .float32 {
      return [0, 4].map { first in k.signs(words[first..<first + 4].map(\.floatFromBits)) }
    }
    return [0, 2].map {
      words[$0].permuted(with: words[$0 + 1], selector: Value(0x7531)) & 0x8080_8080
    }
  }

  /// The largest magnitude of the run.
  func largest(ignoringNaN: Bool) -> LargestMagnitude {
    let magnitudes = words.map {
      LargestMagnitude(
        format: format, bits: $0 & (format == .float32 ? 0x7FFF_FFFF : 0x7FFF_7FFF),
        ignoresNaN: ignoringNaN)
    }
    return magnitudes.dropFirst().reduce(magnitudes[0]) { $0.combined($1) }
  }
}

/// The largest magnitudes seen so far; of BF16 or FP16 those of even and of odd columns in one word.
///
/// Maxima are exact, so they are taken in the format of the values, two at a time.
struct LargestMagnitude {
  let format: SourceFormat
  let bits: Value<UInt32>
  let ignoresNaN: Bool

  func combined(_ other: LargestMagnitude) -> LargestMagnitude {
    let result: Value<UInt32> =
      switch format {
      case .float32: larger(Float.self, other)
      case .bfloat16: larger(Pair<BFloat16>.self, other)
      case .float16: larger(Pair<Half>.self, other)
      }
    return LargestMagnitude(format: format, bits: result, ignoresNaN: ignoresNaN)
  }

  private func larger<Type: RegisterValue>(
    _ type: Type.Type, _ other: LargestMagnitude
  ) -> Value<UInt32> {
    let (left, right) = (bits.reinterpreted(as: type), other.bits.reinterpreted(as: type))
    let result = ignoresNaN ? maximum(left, right) : maximumOrNaN(left, right)
    return result.reinterpreted(as: UInt32.self)
  }

  /// The largest among lanes whose indices differ in these bits.
  func reduced(over distances: [Int]) -> LargestMagnitude {
    distances.reduce(self) { $0.combined($0.shuffled(xor: $1)) }
  }

  /// That of the lane whose index differs in these bits.
  func shuffled(xor bits: Int) -> LargestMagnitude {
    LargestMagnitude(format: format, bits: self.bits.shuffled(xor: bits), ignoresNaN: ignoresNaN)
  }

  /// This one where the predicate holds, else the other.
  func selected(_ predicate: Value<Bool>, else other: LargestMagnitude) -> LargestMagnitude {
    LargestMagnitude(
      format: format, bits: predicate.select(bits, other.bits), ignoresNaN: ignoresNaN)
  }

  /// The largest magnitude as FP32; NaN if one is and NaN counts.
  func float() -> Value<Float> {
    let both: (low: Value<Float>, high: Value<Float>)
    switch format {
    case .float32:
      // Where all are NaN and NaN does not count, there is nothing: zero.
      return ignoresNaN ? maximum(bits.floatFromBits, Value(0)) : bits.floatFromBits
    case .bfloat16: both = bits.reinterpreted(as: Pair<BFloat16>.self).floats
    case .float16: both = bits.reinterpreted(as: Pair<Half>.self).floats
    }
    return ignoresNaN
      ? maximum(maximum(both.low, both.high), Value(0)) : maximumOrNaN(both.low, both.high)
  }
}

/// How a kernel brings eight values of a row into registers.
struct SourceReader {
  let k: KernelBuilder
  let format: SourceFormat
  /// Whether rows begin at multiples of 16 bytes and hold a multiple of eight values.
  let isAligned: Bool
  let values: GlobalPointer<UInt16>
  let rows: Value<UInt32>
  let columns: Value<UInt32>

  /// Eight values; those outside the matrix are zero.
  func run(row: Value<UInt32>, column: Value<UInt32>) -> SourceRun {
    let shift = format.byteCount.trailingZeroBitCount
    let place = values.assuming(UInt8.self)[column.widened << shift]
      .advanced(rows: row, of: columns << shift)
    let isRow = row .< rows
    return SourceRun(k, format, at: place, isAligned: isAligned) {
      isRow .& (column + $0 .< columns)
    }
  }
}

extension SourceRun {
  /// Loads eight neighbours; those that do not lie inside are zero.
  ///
  /// - Parameters:
  ///   - isAligned: Whether they begin at a multiple of 16 bytes and lie inside all or not at all.
  ///   - isInside: Whether the value at an index of the run is one of the matrix.
  init(
    _ k: KernelBuilder, _ format: SourceFormat, at place: GlobalPointer<UInt8>, isAligned: Bool,
    isInside: (Int) -> Value<Bool>
  ) {
    if isAligned {
      let inside = isInside(0)
      let words = stride(from: 0, to: 2 * format.byteCount, by: 4).flatMap { first in
        place.advanced(by: 4 * first).assuming(UInt32.self)
          .load(count: 4, cache: .readOnly, if: inside, otherwise: Value(0))
      }
      self.init(k, format, words: words)
      return
    }
    if format == .float32 {
      let words = (0..<Self.count).map {
        place.advanced(by: 4 * $0).assuming(UInt32.self)
          .load(cache: .readOnly, if: isInside($0), otherwise: Value(0))
      }
      self.init(k, format, words: words)
      return
    }
    let halves = (0..<Self.count).map {
      place.advanced(by: 2 * $0).assuming(UInt16.self)
        .load(cache: .readOnly, if: isInside($0), otherwise: Value<UInt16>(bits: 0)).widened
    }
    self.init(
      k, format, words: stride(from: 0, to: 8, by: 2).map { halves[$0] | halves[$0 + 1] << 16 })
  }
}

/// Reads values of a whole tensor by their index.
struct TensorReader {
  let k: KernelBuilder
  let format: SourceFormat
  let isAligned: Bool
  let values: GlobalPointer<UInt16>
  let count: Value<UInt64>

  /// Eight values from an index on; those beyond the last are zero.
  func run(at index: Value<UInt64>) -> SourceRun {
    let place = values.assuming(UInt8.self)[
      index.multiplied(by: Value(format.byteCount), adding: Value(0))]
    return SourceRun(k, format, at: place, isAligned: isAligned) { index + Value($0) .< count }
  }
}

// SPDX-License-Identifier: Apache-2.0

package import BlockScale
package import Minifloat
package import PTX

/// The formats of COAT's flow.
package protocol ActivationElement: Float8Element, KernelFloat8, MemoryElement
where Loaded == UInt16 {}

extension Float8E4M3: ActivationElement {}
extension Float8E5M2: ActivationElement {}

/// Sixteen neighbouring elements of a row of a matrix in global memory, or fewer, one thread's share.
///
/// Those outside the matrix read as zero and are not written.
package struct RowRun {
  package static let width = 16

  private let k: KernelBuilder
  /// Elements of the run.
  private let length: Int
  /// Whether every row begins on a multiple of sixteen bytes, so that no run is partial.
  private let isAligned: Bool
  /// Whether the run has elements at all.
  package let isInside: Value<Bool>
  private let count: Value<UInt32>
  /// The first element's place in the matrix.
  let index: Value<UInt64>

  package init(
    _ k: KernelBuilder, row: Value<UInt32>, column: Value<UInt32>, rows: Value<UInt32>,
    columns: Value<UInt32>, isAligned: Bool, length: Int = width
  ) {
    precondition(length % 4 == 0 && (!isAligned || length == Self.width), "runs are whole words")
    self.k = k
    self.length = length
    self.isAligned = isAligned
    isInside = (row .< rows) .& (column .< columns)
    count = columns - column
    index = row.multipliedWide(by: columns, adding: column.widened)
  }

  /// One of the runs that follow each other without gaps, in rows that hold whole ones.
  init(_ k: KernelBuilder, number: Value<UInt32>, of numbers: Value<UInt32>) {
    self.k = k
    isAligned = true
    isInside = number .< numbers
    length = Self.width
    count = Value(Self.width)
    index = number.multipliedWide(by: Value(Self.width))
  }

  // MARK: Reading

  /// Values of a format in FP32.
  package func values(
    _ source: GlobalPointer<UInt8>, _ format: SourceFormat = .bfloat16
  ) -> [Value<Float>] {
    words(source, bytesPerValue: format.byteCount).flatMap { word -> [Value<Float>] in
      let floats: (low: Value<Float>, high: Value<Float>)
      switch format {
      case .float32: return [word.floatFromBits]
      case .bfloat16: floats = word.reinterpreted(as: Pair<BFloat16>.self).floats
      case .float16: floats = word.reinterpreted(as: Pair<Half>.self).floats
      }
      return [floats.low, floats.high]
    }
  }

  /// The values of codes in FP32.
  package func values<Element: ActivationElement>(_ codes: GlobalPointer<Element>) -> [Value<Float>]
  {
    words(codes.assuming(UInt8.self), bytesPerValue: 1).flatMap {
      k.values(of: $0, as: Element.self)
    }
  }

  /// Values as they lie in memory, in words.
  func words(_ source: GlobalPointer<UInt8>, bytesPerValue: Int) -> [Value<UInt32>] {
    let first = source[index * bytesPerValue]
    let bytes = length * bytesPerValue
    if isAligned {
      return stride(from: 0, to: bytes, by: 16).flatMap { offset in
        first.advanced(by: offset).assuming(UInt32.self).load(
          count: 4, cache: .readOnly, if: isInside, otherwise: Value(0))
      }
    }
    let perWord = 4 / bytesPerValue
    return (0..<bytes / 4).map { word in
      reduced(
        (0..<perWord).map { part in
          let place = word * perWord + part
          let isThere = isInside .& (count .> place)
          let address = first.advanced(by: place * bytesPerValue)
          if bytesPerValue == 4 {
            return address.assuming(UInt32.self).load(if: isThere, otherwise: Value(0))
          }
          let bits: Value<UInt16> =
            bytesPerValue == 1
            ? address.load(if: isThere, otherwise: Value<UInt16>(bits: 0))
            : address.assuming(UInt16.self).load(if: isThere, otherwise: Value<UInt16>(bits: 0))
          return part == 0 ? bits.widened : bits.widened << (part * 8 * bytesPerValue)
        }, |)
    }
  }

  // MARK: Writing

  /// Stores values, rounded to BF16.
  package func store(_ values: [Value<Float>], to target: GlobalPointer<BFloat16>) {
    let words = k.bfloat16Words(values)
    store(words, to: target.assuming(UInt8.self), bytesPerValue: 2)
  }

  /// Stores codes, four in a word, as ``KernelBuilder/codeWords(_:as:)`` gives them.
  package func store<Element: ActivationElement>(
    codeWords: [Value<UInt32>], to target: GlobalPointer<Element>
  ) {
    store(codeWords, to: target.assuming(UInt8.self), bytesPerValue: 1)
  }

  /// Stores values of one, two or four bytes, given in words.
  func store(
    _ words: [Value<UInt32>], to target: GlobalPointer<UInt8>, bytesPerValue: Int
  ) {
    let first = target[index * bytesPerValue]
    if isAligned {
      for start in stride(from: 0, to: words.count, by: 4) {
        first.advanced(by: start * 4).assuming(UInt32.self).store(
          Array(words[start..<start + 4]), if: isInside)
      }
      return
    }
    let perWord = 4 / bytesPerValue
    for place in 0..<length {
      let isThere = isInside .& (count .> place)
      let address = first.advanced(by: place * bytesPerValue)
      if bytesPerValue == 4 {
        address.assuming(UInt32.self).store(words[place], if: isThere)
        continue
      }
      let bits = (words[place / perWord] >> (place % perWord * 8 * bytesPerValue)).low16
      if bytesPerValue == 1 {
        address.store(bits, if: isThere)
      } else {
        address.assuming(UInt16.self).store(bits, if: isThere)
      }
    }
  }
}

extension KernelBuilder {
  /// Values rounded to BF16, two in a word; every NaN becomes `BFloat16.nan`.
  func bfloat16Words(_ values: [Value<Float>]) -> [Value<UInt32>] {
    let words = stride(from: 0, to: values.count, by: 2).map {
      variable(
        pair(low: values[$0], high: values[$0 + 1], as: BFloat16.self)
          .reinterpreted(as: UInt32.self))
    }
    // The conversion gives the NaN of all ones, which the maximum keeps.
    let largest = reduced(words.map { $0.value.reinterpreted(as: Pair<BFloat16>.self) }) {
      maximumOrNaN($0, $1)
    }.reinterpreted(as: UInt32.self)
    let ones = 0x7FFF
    when(((largest & ones) .== ones) .| ((largest >> 16 & ones) .== ones)) {
      for word in words {
        let excess = ones - Int(BFloat16.nan.bitPattern)
        let low = ((word.value & 0xFFFF) .== ones).select(word.value - excess, word.value)
        word.value = ((low >> 16) .== ones).select(low - excess << 16, low)
      }
    }
    return words.map { $0.value }
  }

  /// The codes nearest to values, ties to even, saturating, four in a word.
  package func codeWords<Element: ActivationElement>(
    _ values: [Value<Float>], as element: Element.Type
  ) -> [Value<UInt32>] {
    stride(from: 0, to: values.count, by: 4).map { codes(Array(values[$0..<$0 + 4]), as: element) }
  }
}

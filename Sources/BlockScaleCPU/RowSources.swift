// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat

/// A matrix of codes as rows read it.
struct CodeRows: Sendable {
  let codes: [UInt8]
  let scales: [BFloat16]
  let format: ElementFormat
  let columns: Int
  /// The vectors that share a scale.
  let groupVectors: Int
  /// The scales of a row; zero if there is one for all.
  let scaleStride: Int

  init<Element: Float8Element>(_ matrix: BlockScaledMatrix<Element, BFloat16>) {
    codes = matrix.codes
    scales = matrix.scales
    format = Element.elementFormat
    columns = matrix.columns
    let isGrouped = matrix.blocking.rows == 1 && matrix.blocking.columns % 16 == 0
    groupVectors = isGrouped ? matrix.blocking.columns / 16 : (columns + 15) / 16
    scaleStride = isGrouped ? (columns - 1) / matrix.blocking.columns + 1 : 0
  }

  /// Code times scale.
  func decode(_ row: Int, into result: Row) {
    switch format {
    case .e5m2: decode(row, into: result, E5M2Lanes.self)
    default: decode(row, into: result, E4M3Lanes.self)
    }
  }

  @inline(__always)
  private func decode<Lanes: Float8Lanes>(_ row: Int, into result: Row, _ lanes: Lanes.Type) {
    precondition(result.columns == columns && codes.count >= (row + 1) * columns)
    // Buffers of arrays that are alive during the call; the row lies inside, and there is a scale for
    // each of its groups.
    unsafe codes.withUnsafeBytes { codes in
      unsafe scales.withUnsafeBufferPointer { scales in
        let address = unsafe codes.baseAddress.unsafelyUnwrapped + row * columns
        for group in 0..<(result.count + groupVectors - 1) / groupVectors {
          let scale = unsafe Float(scales[row * scaleStride + group])
          for index in group * groupVectors..<min(result.count, (group + 1) * groupVectors) {
            let left = columns - index * 16
            var bytes = SIMD16<UInt8>()
            if left >= 16 {
              bytes = unsafe address.loadUnaligned(
                fromByteOffset: index * 16, as: SIMD16<UInt8>.self)
            } else {
              for lane in 0..<left { bytes[lane] = unsafe address[index * 16 + lane] }
            }
            result[index] = Lanes.decode(SIMD16<Int32>(truncatingIfNeeded: bytes)) * scale
          }
        }
      }
    }
    if result.columns % 16 != 0 { result.clearTail() }
  }
}

extension UnsafeRawPointer {
  /// One byte.
  fileprivate subscript(offset: Int) -> UInt8 {
    // The caller stays inside its memory.
    unsafe load(fromByteOffset: offset, as: UInt8.self)
  }
}

/// A matrix of values as rows read it.
struct ValueRows: Sendable {
  private enum Storage: Sendable {
    case float32([Float])
    case bfloat16([BFloat16])
  }

  private let storage: Storage
  let columns: Int

  init<Value>(_ matrix: Matrix<Value>) {
    columns = matrix.columns
    // Casting an array with `as` would go through its elements. The types are compared first.
    storage =
      if Value.self == BFloat16.self {
        .bfloat16(unsafe unsafeBitCast(matrix.values, to: [BFloat16].self))
      } else if Value.self == Float.self {
        .float32(unsafe unsafeBitCast(matrix.values, to: [Float].self))
      } else {
        .float32(matrix.widened())
      }
  }

  init(_ values: [BFloat16], columns: Int) {
    storage = .bfloat16(values)
    self.columns = columns
  }

  /// The values in FP32.
  func load(_ row: Int, into result: Row) {
    precondition(result.columns == columns)
    let first = row * columns
    let whole = columns / 16
    // Buffers of arrays that are alive during the calls; the row lies inside.
    switch storage {
    case .bfloat16(let values):
      precondition(values.count >= first + columns)
      unsafe values.withUnsafeBytes { bytes in
        let address = unsafe bytes.baseAddress.unsafelyUnwrapped + first * 2
        for index in 0..<whole {
          let halves = unsafe address.loadUnaligned(
            fromByteOffset: index * 32, as: SIMD16<UInt16>.self)
          result[index] = SIMD16<Float>(bits: SIMD16<Int32>(truncatingIfNeeded: halves) &<< 16)
        }
      }
      loadTail(whole, result) { Float(values[first + $0]) }
    case .float32(let values):
      precondition(values.count >= first + columns)
      unsafe values.withUnsafeBytes { bytes in
        let address = unsafe bytes.baseAddress.unsafelyUnwrapped + first * 4
        for index in 0..<whole {
          result[index] = unsafe address.loadUnaligned(
            fromByteOffset: index * 64, as: SIMD16<Float>.self)
        }
      }
      loadTail(whole, result) { values[first + $0] }
    }
  }

  @inline(__always)
  private func loadTail(_ index: Int, _ result: Row, _ value: (Int) -> Float) {
    guard index < result.count else { return }
    var last = SIMD16<Float>()
    for column in index * 16..<columns { last[column % 16] = value(column) }
    result[index] = last
  }
}

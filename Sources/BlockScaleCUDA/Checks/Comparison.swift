// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat

/// Where a kernel's result is not the expected one.
package struct KernelMismatch: Error, CustomStringConvertible {
  package let description: String

  package init(description: String) { self.description = description }
}

/// Compares elements of a result.
///
/// - Throws: ``KernelMismatch``, with the first place and how many differ.
func expectEqual<Element: Equatable>(
  _ name: String, _ result: [Element], _ expected: [Element], columns: Int
) throws {
  if result == expected { return }
  guard result.count == expected.count else {
    throw KernelMismatch(
      description: "\(name) has \(result.count) elements instead of \(expected.count)")
  }
  let places = result.indices.filter { result[$0] != expected[$0] }
  guard let first = places.first else { return }
  throw KernelMismatch(
    description: "\(name) differs in \(places.count) of \(result.count) elements, first in row "
      + "\(first / columns), column \(first % columns): \(result[first]) instead of \(expected[first])"
  )
}

/// Compares codes, scales and tensor scale, all to the last bit.
///
/// - Throws: ``KernelMismatch``, with what differs first.
func expectEqual<Element, Scale>(
  _ name: String, _ result: BlockScaledMatrix<Element, Scale>,
  _ expected: BlockScaledMatrix<Element, Scale>
) throws {
  guard result.rows == expected.rows, result.columns == expected.columns,
    result.blocking == expected.blocking
  else {
    throw KernelMismatch(
      description: "\(name) is \(result.rows)x\(result.columns) in blocks of \(result.blocking) "
        + "instead of \(expected.rows)x\(expected.columns) in blocks of \(expected.blocking)")
  }
  try expectEqual(
    "\(name)'s codes", result.codes, expected.codes,
    columns: Element.elementFormat.byteCount(result.columns))
  let grid = result.blocking.grid(rows: result.rows, columns: result.columns)
  try expectEqual(
    "\(name)'s scales", result.scaleBits, expected.scaleBits, columns: grid.columns)
  try expectEqual(
    "\(name)'s tensor scale", [result.tensorScale], [expected.tensorScale], columns: 1)
}

extension BlockScaledMatrix {
  /// The bits of all scales, in which NaN equals itself.
  fileprivate var scaleBits: [UInt32] {
    let byteCount = Scale.scaleFormat.byteCount
    // Scales are plain bits, of as many bytes as the format has.
    return unsafe scales.withUnsafeBytes { bytes in
      (0..<scales.count).map { index in
        (0..<byteCount).reduce(UInt32(0)) {
          unsafe $0 | UInt32(bytes[index * byteCount + $1]) << (8 * $1)
        }
      }
    }
  }
}

/// Compares codes, scale and transpose.
func expectEqual<Element>(
  _ name: String, _ result: PerTensorActivation<Element>, _ expected: PerTensorActivation<Element>
) throws {
  try expectEqual(
    "\(name)'s scale", [result.scale.bitPattern], [expected.scale.bitPattern], columns: 1)
  try expectEqual(name, result.tensor.matrix, expected.tensor.matrix)
  if let transposed = result.transposed, let wanted = expected.transposed {
    try expectEqual("\(name)'s transpose", transposed, wanted)
  } else if (result.transposed == nil) != (expected.transposed == nil) {
    throw KernelMismatch(description: "\(name) has a transpose where none is expected, or none")
  }
}

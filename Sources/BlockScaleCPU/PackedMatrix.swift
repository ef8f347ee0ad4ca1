// SPDX-License-Identifier: Apache-2.0

import BlockScale
import _BlockScaleShims

/// The right operand of products, laid out once for the processor.
///
/// Codes and block scales keep their bits and their size; they are rearranged so that sixteen rows
/// of the operand, outputs of the product, are read side by side. A weight is packed when it is
/// loaded or quantized and then owned by whoever multiplies with it.
public struct PackedMatrix: Sendable {
  /// The rows of the operand, which are the outputs of a product.
  public let outputs: Int
  /// The columns of the operand, along which products are summed.
  public let depth: Int

  let format: ColumnFormat
  /// Codes of sixteen outputs after one another.
  let codes: AlignedBuffer
  let codeBlockBytes: Int
  /// Scales of one byte of sixteen outputs after one another, where they are folded into codes.
  let foldedScales: AlignedBuffer?
  let scaleBlockBytes: Int
  /// Scales of partial sums: for sixteen outputs after one another, sixteen for each part.
  let partScales: [Float]
  let partDepth: Int?
  /// The outputs that share a scale of a partial sum.
  let partRows: Int
  /// Scales of outputs, padded to sixteen; empty if all are one.
  let outputScales: [Float]
  /// What every sum is multiplied by.
  let factor: Float

  /// The depth that kernels see.
  var paddedDepth: Int { (depth + 31) / 32 * 32 }
  /// The groups of sixteen outputs.
  var blockCount: Int { (outputs + 15) / 16 }
  /// The bytes of codes and scales, padding included.
  public var byteCount: Int {
    codes.byteCount + (foldedScales?.byteCount ?? 0) + 4 * (partScales.count + outputScales.count)
  }

  /// Sixteen outputs for a kernel.
  ///
  /// The pointers are valid while this value is alive.
  func columns(ofBlock block: Int) -> bs_columns_t {
    precondition((0..<blockCount).contains(block), "The matrix has no block \(block) of outputs")
    // Inside the buffers, which have room for every block.
    return unsafe bs_columns_t(
      codes: UnsafeRawPointer(codes.address + block * codeBlockBytes),
      scales: foldedScales.map {
        unsafe UnsafePointer($0.pointer(to: UInt8.self) + block * scaleBlockBytes)
      },
      code_format: format.codes, scale_place: format.scalePlace,
      scale_block: Int32(format.scaleBlock), scales_are_powers: format.scalesArePowers,
      power_offset: Int32(format.powerOffset))
  }
}

/// The formats of packed columns, as kernels tell them apart.
struct ColumnFormat: Sendable {
  var codes: bs_codes_t
  var scalePlace = BS_SCALES_NONE
  var scaleBlock = 16
  var scalesArePowers = false
  /// What is subtracted from E8M0 codes; see `powerOffset`.
  var powerOffset = 0
}

// SPDX-License-Identifier: Apache-2.0

/// An element format with its blocks and scale format, by the name that users give it.
public enum Scheme: String, Sendable, Hashable, CaseIterable {
  /// E2M1 in blocks of 1x16 with E4M3 scales, and a tensor scale.
  case nvfp4
  /// E2M1 in blocks of 1x32 with E8M0 scales.
  case mxfp4
  /// E4M3 in blocks of 1x32 with E8M0 scales.
  case mxfp8
  /// FP8 in blocks of 128x128.
  case fp8Block = "fp8-block"
  /// FP8 with one scale a row (output channel).
  case fp8Row = "fp8-row"
  /// FP8 with one scale a tensor.
  case fp8Tensor = "fp8-tensor"

  /// The format of the codes; FP8 weights are E4M3.
  public var elementFormat: ElementFormat {
    switch self {
    case .nvfp4, .mxfp4: .e2m1
    case .mxfp8, .fp8Block, .fp8Row, .fp8Tensor: .e4m3
    }
  }

  /// The blocks that share a scale.
  public var blocking: Blocking {
    switch self {
    case .nvfp4: Blocking(rows: 1, columns: 16)
    case .mxfp4, .mxfp8: Blocking(rows: 1, columns: 32)
    case .fp8Block: Blocking(rows: 128, columns: 128)
    case .fp8Row: .row
    case .fp8Tensor: .tensor
    }
  }

  /// Whether the numerics are those of 8-bit elements with floating-point scales.
  package var isFloat8: Bool {
    switch self {
    case .fp8Block, .fp8Row, .fp8Tensor: true
    case .nvfp4, .mxfp4, .mxfp8: false
    }
  }
}

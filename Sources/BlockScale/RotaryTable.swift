// SPDX-License-Identifier: Apache-2.0

import RealModule

/// How Llama 3.1 stretches rotary frequencies beyond the context that a model was first trained on.
///
/// Source: transformers `_compute_llama3_parameters`, modeling_rope_utils.py.
public struct RotaryScaling: Sendable, Hashable {
  /// What slow frequencies are divided by.
  public var factor: Double
  /// Waves longer than the original context over this are slow.
  public var lowFrequencyFactor: Double
  /// Waves shorter than the original context over this are left alone.
  public var highFrequencyFactor: Double
  /// The positions of the original context.
  public var originalPositions: Int

  /// Creates a scaling.
  public init(
    factor: Double, lowFrequencyFactor: Double, highFrequencyFactor: Double, originalPositions: Int
  ) {
    self.factor = factor
    self.lowFrequencyFactor = lowFrequencyFactor
    self.highFrequencyFactor = highFrequencyFactor
    self.originalPositions = originalPositions
  }

  /// A frequency, in radians a position, after stretching.
  func scaled(_ frequency: Double) -> Double {
    // Waves in the original context.
    let waves = Double(originalPositions) * frequency / (2 * Double.pi)
    if waves < lowFrequencyFactor { return frequency / factor }
    if waves > highFrequencyFactor { return frequency }
    let smooth =
      (waves - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor)
    return (1 - smooth) * frequency / factor + smooth * frequency
  }
}

/// The angles of rotary position embedding: cosines and sines for each position and pair.
///
/// Value i of a head and value i + dimension/2 are turned by `position · base^(−2i/dimension)`.
public struct RotaryTable: Sendable, Hashable {
  /// The values of a head.
  public let dimension: Int
  /// The positions from zero on.
  public let positions: Int
  /// `positions × dimension/2`.
  package let cosines: [Float]
  /// `positions × dimension/2`.
  package let sines: [Float]

  /// Creates a table.
  ///
  /// Angles are computed in FP64 and their cosines and sines rounded once.
  ///
  /// - Throws: ``BlockScaleError`` if the dimension is odd, there are no positions, or the base is not
  ///   a positive number.
  /// - Complexity: O(positions × dimension).
  public init(
    dimension: Int, base: Double, scaling: RotaryScaling? = nil, positions: Int
  ) throws(BlockScaleError) {
    guard dimension > 0, dimension % 2 == 0, positions > 0, base > 0, base.isFinite else {
      throw BlockScaleError(
        .wrongShape,
        "Rotation turns pairs of values at one position or more, with a positive base; it has "
          + "\(dimension) values, \(positions) positions and the base \(base).")
    }
    let half = dimension / 2
    let frequencies = (0..<half).map { pair in
      let frequency = Double.pow(base, -2 * Double(pair) / Double(dimension))
      return scaling?.scaled(frequency) ?? frequency
    }
    self.dimension = dimension
    self.positions = positions
    cosines = (0..<positions * half).map {
      Float(Double.cos(Double($0 / half) * frequencies[$0 % half]))
    }
    sines = (0..<positions * half).map {
      Float(Double.sin(Double($0 / half) * frequencies[$0 % half]))
    }
  }

  /// Checks the tensor that is to be turned.
  package func check(_ tensor: BFloat16Tensor, offset: Int) throws(BlockScaleError) {
    guard tensor.shape.count == 3, tensor.shape[2] % dimension == 0 else {
      throw BlockScaleError(
        .wrongShape,
        "Rotation takes heads of \(dimension) values in a tensor of three dimensions, not one of "
          + "shape (\(tensor.shape.map(String.init).joined(separator: "x"))).")
    }
    guard offset >= 0, offset + tensor.shape[1] <= positions else {
      throw BlockScaleError(
        .wrongShape,
        "Positions \(offset) to \(offset + tensor.shape[1] - 1) lie outside the "
          + "\(positions) positions of the rotation.")
    }
  }
}

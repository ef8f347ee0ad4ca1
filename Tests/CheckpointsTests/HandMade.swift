// SPDX-License-Identifier: Apache-2.0

import Safetensors
import _BlockScaleTestSupport

/// Checkpoints that no run of this package would write.
enum HandMade {
  /// NVFP4 weights of ModelOpt, each with its tensor scale and block scales that fit its codes.
  static func modelopt(
    _ weights: [(name: String, scale: Float)], rows: Int = 8, columns: Int = 64
  ) -> [SafetensorsFile.Contents] {
    weights.enumerated().flatMap { index, weight -> [SafetensorsFile.Contents] in
      var generator = SplitMix(seed: UInt64(index))
      let codes = (0..<rows * columns / 2).map { place -> UInt8 in
        // Each block has a 6, as a quantizer leaves it.
        place % 8 == 0 ? 0x17 : UInt8.random(in: 0...255, using: &generator)
      }
      // 4, 8, 16 and 32: powers of two that are far from both ends of E4M3.
      let scales = (0..<rows * columns / 16).map { UInt8(0x48 + $0 % 4 * 8) }
      return [
        (weight.name, .u8, [rows, columns / 2], codes),
        ("\(weight.name)_scale", .f8E4M3, [rows, columns / 16], scales),
        ("\(weight.name)_scale_2", .f32, [], bytes(weight.scale)),
      ]
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

extension KernelCheck {
  /// RMSNorm and LayerNorm from FP8, forward and backward.
  static var norms: [KernelCheck] {
    // Those added have more than a panel of whole groups, rows of several steps, and short last steps.
    (awkwardShapes + [(70, 48), (3, 2064), (2, 4096), (1, 4624), (3, 2049)]).flatMap { shape in
      ActivationCase.variants.flatMap { variant -> [KernelCheck] in
        let size = "\(shape.rows)x\(shape.columns) \(variant.description)"
        return [
          KernelCheck("rms norm \(size)") { try checkRMSNorm(ActivationCase(shape, variant), $0) },
          KernelCheck("layer norm \(size)") {
            try checkLayerNorm(ActivationCase(shape, variant), $0)
          },
        ]
      }
    }
  }
}

private func checkRMSNorm(_ a: ActivationCase, _ executor: any KernelExecutor) throws {
  let reference = ReferenceBackend()
  try expectEqual(
    "the result",
    executor.rmsNormForward(a.first, weight: a.weight, as: Float8E4M3.self, recipe: a.recipe),
    reference.rmsNormForward(a.first, weight: a.weight, as: Float8E4M3.self, recipe: a.recipe))
  try expectEqual(
    executor.rmsNormBackward(a.first, weight: a.weight, gradient: a.gradient),
    reference.rmsNormBackward(a.first, weight: a.weight, gradient: a.gradient))
}

private func checkLayerNorm(_ a: ActivationCase, _ executor: any KernelExecutor) throws {
  let reference = ReferenceBackend()
  for (weight, bias) in [(nil, nil), (a.weight, nil), (a.weight, a.bias)] as [([Float]?, [Float]?)]
  {
    try expectEqual(
      "the result",
      executor.layerNormForward(
        a.first, weight: weight, bias: bias, as: Float8E5M2.self, recipe: a.recipe),
      reference.layerNormForward(
        a.first, weight: weight, bias: bias, as: Float8E5M2.self, recipe: a.recipe))
  }
  for weight in [nil, a.weight] {
    try expectEqual(
      executor.layerNormBackward(a.first, weight: weight, gradient: a.gradient),
      reference.layerNormBackward(a.first, weight: weight, gradient: a.gradient))
  }
}

private func expectEqual(_ result: NormGradients, _ expected: NormGradients) throws {
  try expectEqual("the input's gradient", result.input, expected.input)
  for (name, sums, wanted) in [
    ("weight", result.weight, expected.weight), ("bias", result.bias, expected.bias),
  ] {
    // Processors differ in the NaN that they make.
    func bits(_ values: [Float]?) -> [UInt32] {
      (values ?? []).map { $0.isNaN ? Float.nan.bitPattern : $0.bitPattern }
    }
    try expectEqual(
      "the \(name)'s gradient", bits(sums), bits(wanted), columns: max(1, wanted?.count ?? 0))
  }
}

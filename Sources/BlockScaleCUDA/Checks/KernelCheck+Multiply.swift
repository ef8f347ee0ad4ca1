// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

extension KernelCheck {
  /// COAT's products, forward and backward.
  static var multiplication: [KernelCheck] {
    awkwardShapes.flatMap { shape -> [KernelCheck] in
      let size = "\(shape.rows)x\(shape.columns)"
      return [
        KernelCheck("multiply forward e4m3 g16 \(size)") {
          try checkForward(on: $0, shape, groupSize: 16, recipe: .storedScale)
        },
        KernelCheck("multiply forward e4m3 g128 coat \(size)") {
          try checkForward(on: $0, shape, groupSize: 128, recipe: .coat)
        },
        KernelCheck("multiply backward e5m2 g16 \(size)") {
          try checkBackward(on: $0, shape, groupSize: 16, recipe: .storedScale)
        },
        KernelCheck("multiply backward e5m2 g32 coat \(size)") {
          try checkBackward(on: $0, shape, groupSize: 32, recipe: .coat)
        },
      ]
    }
  }
}

private func factors(
  _ shape: (rows: Int, columns: Int), groupSize: Int, recipe: ActivationRecipe
) throws -> (
  first: Float8Tensor<Float8E4M3>, second: Float8Tensor<Float8E4M3>, gradient: BFloat16Tensor
) {
  var samples = Samples(seed: UInt64(shape.rows * 1000 + shape.columns))
  let reference = ReferenceBackend()
  func codes() throws -> Float8Tensor<Float8E4M3> {
    try reference.quantizeGroups(
      Tensor(samples.matrix(rows: shape.rows, columns: shape.columns)), groupSize: groupSize,
      recipe: recipe)
  }
  return (
    try codes(), try codes(), Tensor(try samples.matrix(rows: shape.rows, columns: shape.columns))
  )
}

private func checkForward(
  on executor: any KernelExecutor, _ shape: (rows: Int, columns: Int), groupSize: Int,
  recipe: ActivationRecipe
) throws {
  let (first, second, _) = try factors(shape, groupSize: groupSize, recipe: recipe)
  let result = try executor.multiplyForward(first, second, as: Float8E4M3.self, recipe: recipe)
  let expected = try ReferenceBackend().multiplyForward(
    first, second, as: Float8E4M3.self, recipe: recipe)
  try expectEqual("the product", result, expected)
}

private func checkBackward(
  on executor: any KernelExecutor, _ shape: (rows: Int, columns: Int), groupSize: Int,
  recipe: ActivationRecipe
) throws {
  let (first, second, gradient) = try factors(shape, groupSize: groupSize, recipe: recipe)
  let result = try executor.multiplyBackward(
    first, second, gradient: gradient, as: Float8E5M2.self, outputQuantizedTranspose: true,
    recipe: recipe)
  let expected = try ReferenceBackend().multiplyBackward(
    first, second, gradient: gradient, as: Float8E5M2.self, outputQuantizedTranspose: true,
    recipe: recipe)
  try expectEqual(
    "the first gradient", result.first.matrix.values.map(\.bitPattern),
    expected.first.matrix.values.map(\.bitPattern), columns: shape.columns)
  try expectEqual("the second gradient", result.second, expected.second)
}

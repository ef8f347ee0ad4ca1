// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

extension KernelCheck {
  /// SwiGLU with its results quantized in both orientations.
  static var swiGLU: [KernelCheck] {
    let shapes = awkwardShapes + [(128, 128), (144, 264)]
    var checks = [KernelCheck("swiglu both ways e4m3, every gate") { try checkEveryGate(on: $0) }]
    for shape in shapes {
      for (recipe, layout, isFinite) in [
        (Recipe.deepseek, ScaleLayout.blockMajor, true),
        (.transformerEnginePowerOfTwo, .linear, false),
      ] {
        let name =
          "\(shape.rows)x\(shape.columns) \(recipe.rawValue)" + (isFinite ? "" : " with NaN")
        checks.append(
          KernelCheck("swiglu both ways e4m3 \(name)") {
            try checkForward(on: $0, shape, recipe, layout, isFinite: isFinite)
          })
        checks.append(
          KernelCheck("swiglu backward both ways e4m3 \(name)") {
            try checkBackward(
              on: $0, shape, as: Float8E4M3.self, recipe, layout, isFinite: isFinite)
          })
        checks.append(
          KernelCheck("swiglu backward both ways e5m2 \(name)") {
            try checkBackward(
              on: $0, shape, as: Float8E5M2.self, recipe, layout, isFinite: isFinite)
          })
      }
    }
    return checks
  }
}

extension Samples {
  /// A matrix as `matrix` or as `matrixWithoutLimits`.
  mutating func matrix(
    _ shape: (rows: Int, columns: Int), isFinite: Bool
  ) throws(BlockScaleError) -> BFloat16Tensor {
    Tensor(
      isFinite
        ? try matrix(rows: shape.rows, columns: shape.columns)
        : try matrixWithoutLimits(rows: shape.rows, columns: shape.columns))
  }
}

private func checkForward(
  on executor: any KernelExecutor, _ shape: (rows: Int, columns: Int), _ recipe: Recipe,
  _ layout: ScaleLayout, isFinite: Bool
) throws {
  var samples = Samples(seed: UInt64(shape.rows * 1000 + shape.columns))
  let gate = try samples.matrix(shape, isFinite: isFinite)
  let up = try samples.matrix(shape, isFinite: isFinite)
  let result = try executor.swiGLUForwardBothWays(
    gate: gate, up: up, recipe: recipe, scaleLayout: layout)
  let expected = try ReferenceBackend().swiGLUForwardBothWays(gate: gate, up: up, recipe: recipe)
  try expectEqual("the product", result, expected)
}

/// All BF16 gates, each in a block of its binade; where σ is tiny the product is not.
private func checkEveryGate(on executor: any KernelExecutor) throws {
  let gates = (0..<1 << 16).map { BFloat16(bitPattern: UInt16($0)) }
  let ups = gates.map { BFloat16(bitPattern: Float($0) < -64 ? 0x7E80 : 0x3F80) }
  let gate = Tensor(try Matrix(gates, rows: 512, columns: 128))
  let up = Tensor(try Matrix(ups, rows: 512, columns: 128))
  let result = try executor.swiGLUForwardBothWays(gate: gate, up: up, recipe: .deepseek)
  let expected = try ReferenceBackend().swiGLUForwardBothWays(gate: gate, up: up, recipe: .deepseek)
  try expectEqual("the product", result, expected)
}

private func checkBackward<Element: Float8Element>(
  on executor: any KernelExecutor, _ shape: (rows: Int, columns: Int), as element: Element.Type,
  _ recipe: Recipe, _ layout: ScaleLayout, isFinite: Bool
) throws {
  var samples = Samples(seed: UInt64(shape.rows * 1000 + shape.columns))
  let reference = ReferenceBackend()
  func codes() throws -> Float8Matrix {
    try reference.quantized(
      samples.matrix(shape, isFinite: isFinite).matrix, as: Float8Matrix.self, recipe: recipe,
      blocking: Blocking(rows: 1, columns: 128))
  }
  let (gate, up) = (try codes(), try codes())
  let gradient = try samples.matrix(shape, isFinite: isFinite).matrix
  let result = try executor.swiGLUBackwardBothWays(
    gate: gate, up: up, gradient: gradient, as: element, recipe: recipe, scaleLayout: layout)
  let expected = try reference.swiGLUBackwardBothWays(
    gate: gate, up: up, gradient: gradient, as: element, recipe: recipe)
  try expectEqual("the gate's gradient", result.gate, expected.gate)
  try expectEqual("up's gradient", result.up, expected.up)
}

private func expectEqual<Element>(
  _ name: String, _ result: BothWays<Element>, _ expected: BothWays<Element>
) throws {
  try expectEqual(name, result.matrix, expected.matrix)
  try expectEqual("\(name)'s transpose", result.transposed, expected.transposed)
}

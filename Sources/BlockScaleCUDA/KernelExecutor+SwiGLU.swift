// SPDX-License-Identifier: Apache-2.0

package import BlockScale
package import Minifloat
package import PTX

extension KernelExecutor {
  /// `silu(gate) · up` in FP8, as a matrix and its transpose, both in 1×128 blocks along their rows.
  ///
  /// The bytes are those of ``ReferenceBackend/swiGLUForwardBothWays(gate:up:as:recipe:)``; gate and up
  /// are read once.
  ///
  /// - Throws: ``BlockScaleError`` if the shapes differ or kernels do not have the recipe,
  ///   ``KernelError`` if the target lacks what the kernel asks for, and what the executor throws.
  package func swiGLUForwardBothWays<Element: Float8Element>(
    gate: BFloat16Tensor, up: BFloat16Tensor, as element: Element.Type = Float8E4M3.self,
    recipe: Recipe, scaleLayout: ScaleLayout = .linear
  ) throws -> BothWays<Element> {
    try up.check("up projection", hasShapeOf: gate, "gate")
    let matrix = gate.matrix
    let shape = try MatrixShape(rows: matrix.rows, columns: matrix.columns)
    let kernel = SwiGLUForward(
      try QuantizeRule(
        recipe, element: Element.elementFormat, scale: .float32, source: .bfloat16),
      scaleLayout: scaleLayout, isAligned: shape.isAligned,
      isTransposeAligned: shape.rows % 16 == 0)
    let gates = try DeviceBuffer(matrix.values, on: self)
    let ups = try DeviceBuffer(up.matrix.values, on: self)
    let result = try BothWaysBuffers<Element>(shape, scaleLayout, on: self)
    try launch(
      kernel.launch(
        in: KernelLibrary(for: target), gate: gates.address, up: ups.address,
        into: result.addresses, shape: shape))
    return try result.matrices()
  }

  /// The gradients of SwiGLU in FP8, each as a matrix and its transpose in 1×128 blocks, from the gate
  /// and up in such blocks.
  ///
  /// The bytes are those of ``ReferenceBackend/swiGLUBackwardBothWays(gate:up:gradient:as:recipe:)``.
  ///
  /// - Throws: As `swiGLUForwardBothWays` does, and ``BlockScaleError`` for other blocks.
  package func swiGLUBackwardBothWays<Input: ActivationElement, Element: Float8Element>(
    gate: BlockScaledMatrix<Input, Float>, up: BlockScaledMatrix<Input, Float>,
    gradient: Matrix<BFloat16>, as element: Element.Type = Float8E5M2.self, recipe: Recipe,
    scaleLayout: ScaleLayout = .linear
  ) throws -> (gate: BothWays<Element>, up: BothWays<Element>) {
    try checkSwiGLU(gate: gate, up: up, gradient: gradient)
    let shape = try MatrixShape(rows: gate.rows, columns: gate.columns)
    let kernel = SwiGLUBackward(
      Input.elementFormat,
      try QuantizeRule(
        recipe, element: Element.elementFormat, scale: .float32, source: .bfloat16),
      scaleLayout: scaleLayout, isAligned: shape.isAligned,
      isTransposeAligned: shape.rows % 16 == 0)
    let gateCodes = try DeviceBuffer(gate.codes, on: self)
    let upCodes = try DeviceBuffer(up.codes, on: self)
    let gateScales = try DeviceBuffer(gate.scales(in: scaleLayout), on: self)
    let upScales = try DeviceBuffer(up.scales(in: scaleLayout), on: self)
    let incoming = try DeviceBuffer(gradient.values, on: self)
    let first = try BothWaysBuffers<Element>(shape, scaleLayout, on: self)
    let second = try BothWaysBuffers<Element>(shape, scaleLayout, on: self)
    try launch(
      kernel.launch(
        in: KernelLibrary(for: target),
        gate: BlockScaledAddresses(codes: gateCodes.address, scales: gateScales.address),
        up: BlockScaledAddresses(codes: upCodes.address, scales: upScales.address),
        gradient: incoming.address, intoGate: first.addresses, up: second.addresses, shape: shape))
    return (try first.matrices(), try second.matrices())
  }
}

extension BlockScaledMatrix where Scale == Float {
  /// The scales as they lie in the device's memory.
  ///
  /// - Precondition: Blocks have one row; bytes alone are swizzled.
  fileprivate func scales(in layout: ScaleLayout) -> [Float] {
    switch layout {
    case .linear: scales
    case .blockMajor: depthMajorScales.values
    case .swizzled: preconditionFailure("FP32 scales are not swizzled")
    }
  }
}

/// Memory that receives a matrix and its transpose in 1×128 blocks.
private struct BothWaysBuffers<Element: Float8Element>: ~Copyable {
  private let matrix: ResultBuffers<Element, Float>
  private let transpose: ResultBuffers<Element, Float>

  init(_ shape: MatrixShape, _ layout: ScaleLayout, on executor: any KernelExecutor) throws {
    let blocking = Blocking(rows: 1, columns: 128)
    let type = BlockScaledMatrix<Element, Float>.self
    let matrix = try ResultBuffers(
      type, rows: shape.rows, columns: shape.columns, blocking: blocking, layout: layout,
      on: executor)
    transpose = try ResultBuffers(
      type, rows: shape.columns, columns: shape.rows, blocking: blocking, layout: layout,
      on: executor)
    self.matrix = matrix
  }

  var addresses: BothWaysAddresses {
    BothWaysAddresses(matrix: matrix.addresses, transpose: transpose.addresses)
  }

  func matrices() throws -> BothWays<Element> {
    BothWays(
      matrix: try matrix.matrix(tensorScale: nil),
      transposed: try transpose.matrix(tensorScale: nil))
  }
}

// SPDX-License-Identifier: Apache-2.0

package import BlockScale
import Minifloat
import OrderedCollections
package import Safetensors

// Parameters as a model wants them.

extension Checkpoint {
  /// The names of the parameters, in the order of their files.
  package var parameterNames: [String] { Array(parameters.keys) }

  /// The contents of `config.json`, if there is one.
  package var modelConfiguration: JSONValue? { configuration }

  /// The shape of a parameter, or nil if there is none of that name.
  package func shape(of name: String) -> [Int]? { parameters[name]?.shape }

  /// Whether a parameter is stored in blocks.
  package func isQuantized(_ name: String) -> Bool {
    if case .quantized = parameters[name] { true } else { false }
  }

  /// The values of a parameter in FP32, decoded if it is stored in blocks.
  ///
  /// - Throws: ``CheckpointError`` if there is none of that name or its type is no number.
  package func values(of name: String) throws -> [Float] {
    guard let parameter = parameters[name] else { throw missing(name) }
    guard let reader = try ValueReader(parameter) else {
      throw CheckpointError(
        .unsupported, "\(path): parameter '\(name)' has a type that is no number of a common kind.")
    }
    defer { reader.discard() }
    return reader.panels.flatMap { reader.values(matrix: $0.matrix, rows: $0.rows) }
  }

  /// A parameter that is stored in blocks, as an operand of products: its codes and scales as they
  /// are.
  ///
  /// - Throws: ``CheckpointError`` if there is none of that name, or it is stored plain or as a stack.
  package func operand(of name: String) throws -> Operand {
    guard let parameter = parameters[name] else { throw missing(name) }
    guard case .quantized(let tensor) = parameter, tensor.matrices == 1 else {
      throw CheckpointError(
        .unsupported, "\(path): parameter '\(name)' is no matrix in blocks.")
    }
    let panel = PanelReader(tensor: tensor).panel(matrix: 0, rows: 0..<tensor.rows)
    defer { tensor.codes.file.discard(of: tensor.codes.info) }
    func operand<Element: BlockElement, Scale: BlockScaleValue>(
      _ element: Element.Type, _ scales: [Scale]
    ) throws(BlockScaleError) -> Operand {
      try Operand(
        BlockScaledMatrix<Element, Scale>(
          rows: tensor.rows, columns: tensor.columns, blocking: tensor.blocking,
          codes: panel.codes, scales: scales, tensorScale: tensorScale))
    }
    let tensorScale = try tensor.readTensorScale()
    func operand<Scale: BlockScaleValue>(_ scales: [Scale]) throws(BlockScaleError) -> Operand {
      switch tensor.element {
      case .e2m1: try operand(Float4E2M1.self, scales)
      case .e4m3: try operand(Float8E4M3.self, scales)
      case .e5m2: try operand(Float8E5M2.self, scales)
      }
    }
    switch tensor.scaleFormat {
    case .e4m3: return try operand(panel.scales.map { Float8E4M3(bitPattern: $0) })
    case .e8m0: return try operand(panel.scales.map { Float8E8M0(bitPattern: $0) })
    case .float32, .bfloat16, .float16:
      let width = tensor.scaleFormat.byteCount
      return try operand(
        stride(from: 0, to: panel.scales.count, by: width).map { start in
          let code = (0..<width).reduce(UInt32(0)) {
            $0 | UInt32(panel.scales[start + $1]) << UInt32(8 * $1)
          }
          return tensor.scaleFormat.value(ofCode: code)
        })
    }
  }

  private func missing(_ name: String) -> CheckpointError {
    CheckpointError(.malformedTensor, "\(path): there is no parameter '\(name)'.")
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import BlockScaleLayers
import Minifloat

/// A piece of work with its data, to be timed again and again.
protocol TimedCase: AnyObject {
  func run() throws
}

extension ProductCase: TimedCase {}

/// Values that look like those of a model, in BF16.
func normalValues(rows: Int, columns: Int, seed: UInt64) throws -> Matrix<BFloat16> {
  // Sums of four uniform numbers from a congruential generator's upper half.
  var state = seed
  return try Matrix(
    (0..<rows * columns).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      let bits = (state >> 32) &* 0x1_0000_0001
      let sum = (0..<4).reduce(0) { $0 + Int(bits >> (16 * UInt64($1)) & 0xFFFF) }
      return BFloat16(nearest: Float(sum - 2 * 0xFFFF) * 1e-6, overflow: .ieee)
    }, rows: rows, columns: columns)
}

/// One linear layer, forward and backward.
final class LayerCase: TimedCase {
  private let step: () throws -> Void

  init(_ kind: String, m: Int, n: Int, k: Int, backend: CPUBackend) throws {
    let weight = try Matrix(
      normalValues(rows: n, columns: k, seed: 1).values.map { Float($0) }, rows: n, columns: k)
    let x = BFloat16Tensor(try normalValues(rows: m, columns: k, seed: 2))
    let dy = BFloat16Tensor(try normalValues(rows: m, columns: n, seed: 3))
    func steps<Layer: LinearLayer>(of layer: Layer) -> () throws -> Void {
      var gradients = LinearGradients(for: layer)
      return {
        let saved = try layer.forward(x).saved
        _ = try layer.backward(dy, saved: saved, into: &gradients)
      }
    }
    switch kind {
    case "fp8": step = steps(of: try Float8BlockwiseLinear(weight: weight, on: backend))
    case "nvfp4": step = steps(of: try NVFP4Linear(weight: weight, on: backend))
    default: step = steps(of: try BFloat16Linear(weight: weight, on: backend))
    }
  }

  func run() throws { try step() }
}

/// One quantization or its inverse, into memory that is used again.
final class QuantizeCase: TimedCase {
  private let work: () throws -> Void

  init?(_ name: String, rows: Int, columns: Int, backend: CPUBackend) throws {
    let values = try normalValues(rows: rows, columns: columns, seed: 1)
    var back = values.values
    func case8(_ blocking: Blocking, decodes: Bool) throws -> () throws -> Void {
      var matrix = try backend.quantized(
        values, as: Float8Matrix.self, recipe: .deepseek, blocking: blocking)
      return decodes
        ? { try backend.dequantize(matrix, into: &back) }
        : { try backend.quantize(values.values, into: &matrix, recipe: .deepseek) }
    }
    func case4(decodes: Bool) throws -> () throws -> Void {
      var matrix = try backend.quantized(values, as: NVFP4Matrix.self, recipe: .torchao)
      return decodes
        ? { try backend.dequantize(matrix, into: &back) }
        : { try backend.quantize(values.values, into: &matrix, recipe: .torchao) }
    }
    let rowBlocks = Blocking(rows: 1, columns: 128)
    let squares = Blocking(rows: 128, columns: 128)
    switch name {
    case "quantize-fp8-1x128": work = try case8(rowBlocks, decodes: false)
    case "quantize-fp8-128x128": work = try case8(squares, decodes: false)
    case "quantize-nvfp4": work = try case4(decodes: false)
    case "dequantize-fp8-1x128": work = try case8(rowBlocks, decodes: true)
    case "dequantize-fp8-128x128": work = try case8(squares, decodes: true)
    case "dequantize-nvfp4": work = try case4(decodes: true)
    default: return nil
    }
  }

  func run() throws { try work() }
}

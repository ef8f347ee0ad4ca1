// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BlockScale
import BlockScaleCPU
import Minifloat

/// What can be multiplied.
enum ProductOperation: String, CaseIterable, ExpressibleByArgument {
  case bf16
  case nvfp4
  case nvfp4DGrad = "nvfp4-dgrad"
  case nvfp4Both = "nvfp4-both"
  case mxfp4
  case mxfp8
  case fp8Block = "fp8-block"
  case fp8WGrad = "fp8-wgrad"
  case bf16WGrad = "bf16-wgrad"
  case fp8Row = "fp8-row"
}

/// One product with its data: Y[m, n] = Σ over k.
final class ProductCase {
  private let backend: CPUBackend
  private let left: Operand
  private let right: Operand
  /// More than the caches hold where few rows meet them, as in a model.
  private var packed: [PackedMatrix] = []
  private var turn = 0
  /// What a gradient of a BF16 weight is made of.
  private var activations: (gradient: Matrix<BFloat16>, input: Matrix<BFloat16>)?
  private var result: Matrix<BFloat16>
  private var gradient: Matrix<Float>

  init(_ operation: ProductOperation, m: Int, n: Int, k: Int, backend: CPUBackend) throws {
    self.backend = backend
    func values(_ rows: Int, _ columns: Int, _ seed: UInt32) throws -> Matrix<BFloat16> {
      // A linear congruential generator's high bits: uniform in -1..<1.
      var state = seed
      return try Matrix(
        (0..<rows * columns).map { _ in
          state = state &* 1_664_525 &+ 1_013_904_223
          return BFloat16(Float(Int32(bitPattern: state)) * 0x1p-31)
        }, rows: rows, columns: columns)
    }
    func fp8(_ matrix: Matrix<BFloat16>, _ blocking: Blocking) throws -> Operand {
      try Operand(
        backend.quantized(matrix, as: Float8Matrix.self, recipe: .deepseek, blocking: blocking))
    }
    let rowBlocks = Blocking(rows: 1, columns: 128)
    let x = try values(m, k, 1)
    let w = try values(n, k, 2)
    switch operation {
    case .bf16: (left, right) = (Operand(x), Operand(w))
    case .bf16WGrad:
      (left, right) = (Operand(x), Operand(w))
      activations = (backend.transpose(x), backend.transpose(w))
    case .nvfp4:
      left = Operand(x)
      right = try Operand(
        backend.quantized(w, as: NVFP4Matrix.self, recipe: .modelopt))
    case .nvfp4DGrad:
      left = Operand(x)
      let stored = try values(k, n, 2)
      right = try Operand(
        backend.quantized(stored, as: NVFP4Matrix.self, recipe: .modelopt)
          .transposed())
    case .nvfp4Both:
      left = try Operand(
        backend.quantized(x, as: NVFP4Matrix.self, recipe: .modelopt))
      right = try Operand(
        backend.quantized(w, as: NVFP4Matrix.self, recipe: .modelopt))
    case .mxfp4:
      left = Operand(x)
      right = try Operand(
        backend.quantized(w, as: MXFP4Matrix.self, recipe: .ocp))
    case .mxfp8:
      left = Operand(x)
      right = try Operand(
        backend.quantized(w, as: MXFP8Matrix.self, recipe: .ocp))
    case .fp8Block:
      (left, right) = try (fp8(x, rowBlocks), fp8(w, Blocking(rows: 128, columns: 128)))
    case .fp8WGrad: (left, right) = try (fp8(x, rowBlocks), fp8(w, rowBlocks))
    case .fp8Row: (left, right) = try (fp8(x, .row), fp8(w, .row))
    }
    switch operation {
    // Both operands of a weight's gradient are new at every step.
    case .fp8WGrad, .bf16WGrad:
      gradient = try Matrix([Float](repeating: 0, count: m * n), rows: m, columns: n)
      result = try Matrix([BFloat16(bitPattern: 0)], rows: 1, columns: 1)
    default:
      let copies = m > 8 ? 1 : max(1, 300_000_000 / (n * k / 2))
      for _ in 0..<copies { packed.append(try backend.pack(right)) }
      gradient = try Matrix([0], rows: 1, columns: 1)
      result = try backend.multiply(left, packed[0], as: BFloat16.self)
    }
  }

  /// The bytes of the packed right operand.
  var packedByteCount: Int { packed.first?.byteCount ?? 0 }

  func run() throws {
    if let activations {
      try backend.multiply(
        Operand(backend.transpose(activations.gradient)),
        backend.packTransposed(activations.input), into: &gradient, adding: true)
    } else if packed.isEmpty {
      try backend.multiply(left, backend.pack(right), into: &gradient, adding: true)
    } else {
      turn = (turn + 1) % packed.count
      try backend.multiply(left, packed[turn], into: &result)
    }
  }
}

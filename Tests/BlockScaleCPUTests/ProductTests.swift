// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import Minifloat
import Testing
import _BlockScaleTestSupport

/// Products on every tier of this machine against the reference.
@Suite struct ProductTests {
  static let tiers = CPUTier.available

  /// M, N, K, chosen so that every edge of a tile and a block is met.
  static let shapes = [
    (1, 1, 1), (1, 16, 32), (2, 17, 33), (3, 40, 130), (4, 96, 256), (5, 31, 129), (16, 33, 128),
    (17, 48, 300), (33, 65, 257), (70, 130, 384),
  ]

  enum Form: String, CaseIterable {
    case bfloat16, fp8Rows, fp8Blocks, fp8RowBlocks, fp8Tensor, fp8E5M2Rows, nvfp4, nvfp4Squares
    case mxfp4, mxfp8

    func operand(rows: Int, columns: Int, seed: UInt64) throws -> Operand {
      let values = heavyTailed(rows * columns, seed: seed)
      func fp8(_ blocking: Blocking) throws -> Operand {
        try Operand(
          Float8Matrix.quantized(
            values, rows: rows, columns: columns, recipe: .deepseek, blocking: blocking
          ).matrix)
      }
      switch self {
      case .bfloat16:
        return Operand(try Matrix(values.map { BFloat16($0) }, rows: rows, columns: columns))
      case .fp8Rows: return try fp8(.row)
      case .fp8Blocks: return try fp8(Blocking(rows: 128, columns: 128))
      case .fp8RowBlocks: return try fp8(Blocking(rows: 1, columns: 128))
      case .fp8Tensor: return try fp8(.tensor)
      case .fp8E5M2Rows:
        return try Operand(
          BlockScaledMatrix<Float8E5M2, Float>.quantized(
            values, rows: rows, columns: columns, recipe: .torchao,
            blocking: Blocking(rows: 1, columns: 128)
          ).matrix)
      case .nvfp4:
        return try Operand(
          NVFP4Matrix.quantized(values, rows: rows, columns: columns, recipe: .modelopt).matrix)
      case .nvfp4Squares:
        return try Operand(
          NVFP4Matrix.quantized(
            values, rows: rows, columns: columns, recipe: .torchao,
            blocking: Blocking(rows: 16, columns: 16)
          ).matrix)
      case .mxfp4:
        return try Operand(
          MXFP4Matrix.quantized(values, rows: rows, columns: columns, recipe: .ocp).matrix)
      case .mxfp8:
        return try Operand(
          MXFP8Matrix.quantized(values, rows: rows, columns: columns, recipe: .rceil).matrix)
      }
    }
  }

  @Test(arguments: tiers, Form.allCases)
  func equalsTheReference(_ tier: CPUTier, _ form: Form) throws {
    let cpu = try CPUBackend(tier: tier, threads: 2)
    for (index, (m, n, k)) in Self.shapes.enumerated() {
      let right = try form.operand(rows: n, columns: k, seed: UInt64(index))
      let packed = try cpu.pack(right)
      for leftForm in [Form.bfloat16, .fp8RowBlocks, .nvfp4, form] {
        let left = try leftForm.operand(rows: m, columns: k, seed: 100 + UInt64(index))
        let bias = index % 2 == 0 ? heavyTailed(n, seed: 7) : nil
        let expected = try ReferenceBackend().multiply(left, right, bias: bias, as: Float.self)
        let result = try cpu.multiply(left, packed, bias: bias, as: Float.self)
        let bound = try errorBound(left, right)
        for place in 0..<m * n {
          let difference = abs(result.values[place] - expected.values[place])
          #expect(
            difference <= bound[place],
            "\(tier) \(leftForm)·\(form) \(m)x\(n)x\(k) at \(place): \(result.values[place]) for \(expected.values[place])"
          )
          if !(difference <= bound[place]) { return }
        }
      }
    }
  }

  @Test(arguments: tiers)
  func transposedWeights(_ tier: CPUTier) throws {
    let cpu = try CPUBackend(tier: tier, threads: 2)
    for (m, n, k) in Self.shapes {
      let values = heavyTailed(n * k, seed: 3)
      let left = try Form.bfloat16.operand(rows: m, columns: n, seed: 4)
      let nvfp4 = try NVFP4Matrix.quantized(
        values, rows: n, columns: k, recipe: .modelopt
      ).matrix.transposed()
      let mxfp8 = try MXFP8Matrix.quantized(values, rows: n, columns: k, recipe: .ocp)
        .matrix.transposed()
      let fp8 = try Float8Matrix.quantized(
        values, rows: n, columns: k, recipe: .deepseek, blocking: Blocking(rows: 128, columns: 128)
      ).matrix.transposed()
      for right in try [Operand(nvfp4), Operand(mxfp8), Operand(fp8)] {
        let expected = try ReferenceBackend().multiply(left, right, as: Float.self)
        let result = try cpu.multiply(left, cpu.pack(right), as: Float.self)
        let bound = try errorBound(left, right)
        for place in 0..<m * k {
          #expect(abs(result.values[place] - expected.values[place]) <= bound[place])
        }
      }
    }
  }

  /// Few and many rows are cut differently; several runs of k, and several strips of outputs.
  @Test(arguments: tiers, [(37, 50, 8300), (141, 290, 2200), (1060, 33, 2200)])
  func depthsBeyondOneRun(_ tier: CPUTier, _ shape: (m: Int, n: Int, k: Int)) throws {
    let cpu = try CPUBackend(tier: tier, threads: 2)
    for form in [Form.nvfp4, .fp8Blocks, .fp8RowBlocks, .bfloat16] {
      let left = try (form == .nvfp4 ? Form.bfloat16 : form).operand(
        rows: shape.m, columns: shape.k, seed: 1)
      let right = try form.operand(rows: shape.n, columns: shape.k, seed: 2)
      let expected = try ReferenceBackend().multiply(left, right, as: Float.self)
      let result = try cpu.multiply(left, cpu.pack(right), as: Float.self)
      let bound = try errorBound(left, right)
      for place in 0..<shape.m * shape.n {
        #expect(abs(result.values[place] - expected.values[place]) <= bound[place])
      }
    }
  }

  /// The last tasks have fewer outputs than the others, by the number of threads.
  @Test(arguments: tiers)
  func theNumberOfThreadsChangesNothing(_ tier: CPUTier) throws {
    for (rows, outputs) in [(2, 333), (70, 333), (170, 1100)] {
      let right = try Form.nvfp4.operand(rows: outputs, columns: 300, seed: 2)
      let left = try Form.bfloat16.operand(rows: rows, columns: 300, seed: 1)
      let results = try [1, 2, 5, .max].map { threads in
        let cpu = try CPUBackend(tier: tier, threads: threads)
        return try cpu.multiply(left, cpu.pack(right), as: BFloat16.self)
      }
      for result in results.dropFirst() { #expect(result == results[0]) }
    }
  }

  @Test(arguments: tiers)
  func outputsAreRoundedOnceAndAdded(_ tier: CPUTier) throws {
    let cpu = try CPUBackend(tier: tier, threads: 2)
    for rows in [3, 21] {
      let left = try Form.bfloat16.operand(rows: rows, columns: 96, seed: 1)
      let packed = try cpu.pack(try Form.fp8Rows.operand(rows: 45, columns: 96, seed: 2))
      let exact = try cpu.multiply(left, packed, as: Float.self)
      let half = try cpu.multiply(left, packed, as: Float16.self)
      let brain = try cpu.multiply(left, packed, as: BFloat16.self)
      #expect(half.values == exact.values.map { Float16($0) })
      #expect(brain.values == exact.values.map { BFloat16($0) })
      var sum = try Matrix([Float](repeating: 2, count: rows * 45), rows: rows, columns: 45)
      try cpu.multiply(left, packed, into: &sum, adding: true)
      #expect(sum.values == exact.values.map { 2 + $0 })
      var halfSum = half
      try cpu.multiply(left, packed, into: &halfSum, adding: true)
      #expect(
        halfSum.values == zip(half.values, exact.values).map { Float16(Float($0) + $1) })
      var brainSum = brain
      try cpu.multiply(left, packed, into: &brainSum, adding: true)
      #expect(
        brainSum.values == zip(brain.values, exact.values).map { BFloat16(Float($0) + $1) })
    }
  }

  @Test(arguments: tiers)
  func aScaleOfNaNIsNotHidden(_ tier: CPUTier) throws {
    let cpu = try CPUBackend(tier: tier)
    var values = heavyTailed(20 * 64, seed: 5)
    values[64 + 20] = .nan
    for rows in [1, 20] {
      let left = try Form.bfloat16.operand(rows: rows, columns: 64, seed: 6)
      for right in try [
        Operand(NVFP4Matrix.quantized(values, rows: 20, columns: 64, recipe: .torchao).matrix),
        Operand(MXFP8Matrix.quantized(values, rows: 20, columns: 64, recipe: .ocp).matrix),
        Operand(
          Float8Matrix.quantized(
            values, rows: 20, columns: 64, recipe: .deepseek,
            blocking: Blocking(rows: 1, columns: 32)
          ).matrix),
      ] {
        let result = try cpu.multiply(left, cpu.pack(right), as: Float.self)
        for row in 0..<rows {
          for output in 0..<20 { #expect(result[row, output].isNaN == (output == 1)) }
        }
        // Rounding keeps it a NaN.
        let half = try cpu.multiply(left, cpu.pack(right), as: Float16.self)
        #expect(half.values.map(\.isNaN) == result.values.map(\.isNaN))
        let brain = try cpu.multiply(left, cpu.pack(right), as: BFloat16.self)
        #expect(brain.values.map { Float($0).isNaN } == result.values.map(\.isNaN))
      }
    }
  }

  @Test func extremePowersOfTwoStayInRange() throws {
    // Scales of 2^100 and more would overflow BF16 if they were folded as they are.
    for tier in Self.tiers {
      let cpu = try CPUBackend(tier: tier)
      for exponent in [100, -100] {
        let scale = Float(sign: .plus, exponent: exponent, significand: 1)
        let values = heavyTailed(24 * 64, seed: 8).map { $0 * scale }
        let right = try Operand(
          MXFP8Matrix.quantized(values, rows: 24, columns: 64, recipe: .ocp).matrix)
        let left = try Form.bfloat16.operand(rows: 20, columns: 64, seed: 9)
        let expected = try ReferenceBackend().multiply(left, right, as: Float.self)
        let result = try cpu.multiply(left, cpu.pack(right), as: Float.self)
        let bound = try errorBound(left, right)
        for place in expected.values.indices {
          #expect(abs(result.values[place] - expected.values[place]) <= bound[place])
        }
      }
    }
  }

  @Test(arguments: tiers)
  func powersWhoseProductLeavesTheRange(_ tier: CPUTier) throws {
    let cpu = try CPUBackend(tier: tier)
    let scale = Float(sign: .plus, exponent: 100, significand: 1)
    func operand(rows: Int, seed: UInt64, _ scale: Float) throws -> Operand {
      var values = heavyTailed(rows * 64, seed: seed).map { $0 * scale }
      // One row of zeros, whose sums are zero whatever the powers.
      for index in 64..<128 { values[index] = 0 }
      return try Operand(
        MXFP8Matrix.quantized(values, rows: rows, columns: 64, recipe: .ocp).matrix)
    }
    for rows in [2, 20] {
      for (first, second) in [(scale, scale), (1 / scale, 1 / scale), (scale, 1 / scale)] {
        let left = try operand(rows: rows, seed: 8, first)
        let right = try operand(rows: 24, seed: 9, second)
        let expected = try ReferenceBackend().multiply(left, right, as: Float.self)
        let result = try cpu.multiply(left, cpu.pack(right), as: Float.self)
        for row in 0..<rows { #expect(result[row, 1] == 0) }
        for output in 0..<24 { #expect(result[1, output] == 0) }
        // Beyond the range sums may be infinities or NaN.
        let bound = try errorBound(left, right)
        for place in expected.values.indices where expected.values[place].isFinite {
          #expect(abs(result.values[place] - expected.values[place]) <= bound[place])
        }
      }
    }
  }

  @Test(arguments: tiers)
  func groupsHaveTheirOwnMatrices(_ tier: CPUTier) throws {
    let cpu = try CPUBackend(tier: tier)
    for form in [Form.bfloat16, .fp8RowBlocks, .fp8Rows, .mxfp8, .nvfp4, .nvfp4Squares] {
      // Groups begin where blocks of rows do.
      let counts = form == .nvfp4Squares ? [16, 0, 16, 7] : [5, 0, 33, 1]
      let left = try form.operand(rows: 39, columns: 130, seed: 1)
      let right = try (0..<4).map {
        try form.operand(rows: 20, columns: 130, seed: UInt64(10 + $0))
      }
      let result = try cpu.multiplyGroups(
        left, rowCounts: counts, right.map { try cpu.pack($0) }, as: Float.self)
      var first = 0
      for (group, count) in counts.enumerated() where count > 0 {
        let rows = try left.rows(first..<first + count)
        let expected = try ReferenceBackend().multiply(rows, right[group], as: Float.self)
        // Without a copy of the rows as with one.
        let alone = try cpu.multiply(rows, cpu.pack(right[group]), as: Float.self)
        #expect(Array(result.values[first * 20..<(first + count) * 20]) == alone.values)
        let bound = try errorBound(rows, right[group])
        for place in 0..<count * 20 {
          #expect(
            abs(result.values[first * 20 + place] - expected.values[place]) <= bound[place])
        }
        first += count
      }
      #expect {
        try cpu.multiplyGroups(
          left, rowCounts: [5, 6], right.prefix(2).map { try cpu.pack($0) }, as: Float.self)
      } throws: {
        "\($0)".contains("2 groups of 5, 6 rows do not make up the 39 rows")
      }
    }
  }

  @Test(arguments: tiers)
  func aTransposeIsPackedFromOneRead(_ tier: CPUTier) throws {
    let cpu = try CPUBackend(tier: tier, threads: 2)
    for (m, n, k) in Self.shapes {
      let matrix = try Matrix(
        heavyTailed(k * n, seed: 2).map { BFloat16($0) }, rows: k, columns: n)
      let left = try Form.bfloat16.operand(rows: m, columns: k, seed: 3)
      let plain = try cpu.multiply(
        left, cpu.pack(Operand(cpu.transpose(matrix))), as: Float.self)
      let direct = try cpu.multiply(left, cpu.packTransposed(matrix), as: Float.self)
      #expect(plain == direct)
      #expect(cpu.transpose(matrix) == ReferenceBackend().transpose(matrix))
    }
  }

  @Test func columnSumsAreAddedInOrder() throws {
    let cpu = CPUBackend(threads: 2)
    for (rows, columns) in [(1, 1), (3, 16), (70, 47), (33, 300), (5, 1025)] {
      let matrix = try Matrix(
        heavyTailed(rows * columns, seed: 2).map { BFloat16($0) }, rows: rows, columns: columns)
      var sums = heavyTailed(columns, seed: 3)
      var expected = sums
      cpu.addColumnSums(of: matrix, to: &sums)
      ReferenceBackend().addColumnSums(of: matrix, to: &expected)
      #expect(sums == expected)
    }
  }

  @Test func blocksOfOneColumnAreRefusedFromTheLeft() throws {
    let values = heavyTailed(32 * 48, seed: 1)
    let left = try Operand(
      NVFP4Matrix.quantized(values, rows: 32, columns: 48, recipe: .modelopt).matrix.transposed())
    let right = try Form.bfloat16.operand(rows: 8, columns: 32, seed: 2)
    let cpu = CPUBackend()
    let packed = try cpu.pack(right)
    let refused = { (error: any Error) in
      "\(error)".contains("Blocks of 16x1 cannot be multiplied from the left")
    }
    #expect {
      try ReferenceBackend().multiply(left, right, as: Float.self)
    } throws: {
      refused($0)
    }
    #expect {
      try cpu.multiply(left, packed, as: Float.self)
    } throws: {
      refused($0)
    }
  }

  /// Depths of parts that kernels unroll and others, for every number of tiles of rows that is decoded
  /// along with the products, and more.
  @Test(arguments: tiers)
  func partsOfAnyDepth(_ tier: CPUTier) throws {
    let cpu = try CPUBackend(tier: tier, threads: 2)
    for (m, depth) in [(9, 32), (40, 64), (64, 96), (80, 128), (128, 160), (150, 128), (150, 32)] {
      let blocking = Blocking(rows: 1, columns: depth)
      func operand(_ rows: Int, _ seed: UInt64) throws -> Operand {
        try Operand(
          Float8Matrix.quantized(
            heavyTailed(rows * 420, seed: seed), rows: rows, columns: 420, recipe: .deepseek,
            blocking: blocking
          ).matrix)
      }
      let (left, right) = try (operand(m, 1), operand(72, 2))
      let expected = try ReferenceBackend().multiply(left, right, as: Float.self)
      let result = try cpu.multiply(left, cpu.pack(right), as: Float.self)
      let bound = try errorBound(left, right)
      for place in expected.values.indices {
        let difference = abs(result.values[place] - expected.values[place])
        #expect(difference <= bound[place], "\(m) rows, parts of \(depth), at \(place)")
        if !(difference <= bound[place]) { return }
      }
    }
  }

  @Test func shapesThatDoNotFitAreNamed() throws {
    let cpu = CPUBackend()
    let left = try Form.bfloat16.operand(rows: 3, columns: 40, seed: 1)
    let packed = try cpu.pack(try Form.nvfp4.operand(rows: 8, columns: 48, seed: 2))
    #expect {
      try cpu.multiply(left, packed, as: Float.self)
    } throws: {
      "\($0)".contains("left operand has 40 columns and the right one 48")
    }
    let fitting = try cpu.pack(try Form.nvfp4.operand(rows: 8, columns: 40, seed: 2))
    #expect {
      try cpu.multiply(left, fitting, bias: [1, 2], as: Float.self)
    } throws: {
      "\($0)".contains("bias has 2 values for 8 outputs")
    }
    #expect {
      try Matrix([Float](), rows: .max, columns: 2)
    } throws: {
      "\($0)".contains("more values than can be counted")
    }
    #expect {
      try Operand(
        BlockScaledMatrix<Float8E4M3, BFloat16>.quantized(
          heavyTailed(3 * 40, seed: 1), rows: 3, columns: 40, recipe: .coat,
          blocking: Blocking(rows: 1, columns: 16)
        ).matrix)
    } throws: {
      "\($0)".contains("Blocks of 1x16")
    }
  }
}

/// What another order of FP32 sums may differ by: each of K additions rounds once.
private func errorBound(_ left: Operand, _ right: Operand) throws -> [Float] {
  let x = left.magnitudes()
  let w = right.magnitudes()
  let k = left.columns
  return (0..<left.rows * right.rows).map { index in
    let (m, n) = (index / right.rows, index % right.rows)
    var sum: Float = 0
    for column in 0..<k { sum += x[m * k + column] * w[n * k + column] }
    return sum * Float(k + 8) * .ulpOfOne + .leastNormalMagnitude
  }
}

extension Operand {
  /// The magnitudes of the values with all their scales.
  fileprivate func magnitudes() -> [Float] {
    let values = exactValues()
    return values.indices.map { index in
      let (row, column) = (index / columns, index % columns)
      let part = partDepth.map { column / $0 } ?? 0
      return abs(
        values[index] * partScale(row: row, part: part, depth: partDepth ?? columns)
          * rowScale(row) * factor)
    }
  }
}

/// Values whose magnitudes spread over several powers of two, with zeros among them.
func heavyTailed(_ count: Int, seed: UInt64) -> [Float] {
  var generator = SplitMix(seed: seed)
  return (0..<count).map { _ in
    let uniform = Float.random(in: -1...1, using: &generator)
    return Int.random(in: 0..<50, using: &generator) == 0
      ? 0 : uniform / (0.05 + abs(Float.random(in: -1...1, using: &generator)))
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCUDA
import Minifloat
import PTX
import PTXEmulator
import Testing
import _BlockScaleTestSupport

@Suite struct BlockwiseGEMMTests {
  // MARK: The text

  @Test(
    .enabled(if: Assembler.installed != nil, Comment(rawValue: Assembler.absence)),
    arguments: BlockwiseGEMM.Configuration.all)
  func assemblesWithoutSpills(_ configuration: BlockwiseGEMM.Configuration) throws {
    let tree = try BlockwiseGEMM(configuration).tree(for: .sm90a)
    let usage = try #require(try Assembler.installed?.assemble(tree.text, for: "sm_90a").first)
    print(usage.entry, usage.registers, "registers,", tree.sharedBytes, "bytes of shared memory")
    // With more at entry, ptxas does not interleave the promotion with the products.
    #expect(usage.registers <= 168)
  }

  @Test func namesWhatATargetLacks() {
    #expect(throws: KernelError.self) { try BlockwiseGEMM(.small).tree(for: .sm120a) }
  }

  // MARK: Configurations

  @Test func choosesByShape() {
    func chosen(_ rows: Int, _ columns: Int) -> BlockwiseGEMM.Configuration {
      .chosen(rows: rows, columns: columns, multiprocessors: 132)
    }
    #expect(chosen(8192, 8192) == .largePair)
    #expect(chosen(4096, 4096) == .largePair)
    // One tile of 128 columns a cluster would compute nothing.
    #expect(chosen(65_536, 128) == .large)
    #expect(chosen(1, 7168) == .small)
    #expect(chosen(128, 7168) == .small)
  }

  @Test func fillsTheMultiprocessors() throws {
    func blocks(_ configuration: BlockwiseGEMM.Configuration, _ m: Int, _ n: Int) throws -> Int {
      let rows = DeviceRows(address: 1 << 20, rowBytes: 16 * 1024)
      return try BlockwiseGEMM(configuration).launch(
        BlockwiseGEMM.Product(
          rows: m, columns: n, depth: 128, a: rows,
          aScales: DeviceRows(address: 0, rowBytes: 1 << 20),
          b: rows, bScales: 0, y: rows),
        target: .sm90a, multiprocessors: 133
      ).grid.x
    }
    #expect(try blocks(.large, 4096, 4096) == 133)
    #expect(try blocks(.largePair, 4096, 4096) == 132)
    #expect(try blocks(.largePair, 256, 129) == 2)
    #expect(try blocks(.largePair, 257, 257) == 8)
    #expect(try blocks(.small, 129, 129) == 4)
  }

  // MARK: Sentences

  @Test func refusesWhatItCannotMultiply() throws {
    let device = EmulatedDevice()
    let left = try Self.matrix(4, 256, .init(rows: 1, columns: 128), seed: 1)
    let right = try Self.matrix(8, 256, .init(rows: 128, columns: 128), seed: 2)
    let shallow = try Self.matrix(8, 128, .init(rows: 128, columns: 128), seed: 3)
    #expect(
      Self.sentence { try device.multiply(left, shallow) }
        == "The left operand has 256 columns and the right one 128; a product sums along both.")
    #expect(
      Self.sentence { try device.multiply(left, left) }
        == "The right operand has blocks of 1x128; this product takes 128x128.")
    #expect(
      Self.sentence { try device.multiply(right, right) }
        == "The left operand has blocks of 128x128; this product takes 1x128.")
    #expect(device.launches.isEmpty)
  }

  @Test func refusesRowsThatTensorMapsCannotReach() {
    func sentence(rowBytes: Int, address: UInt64 = 1 << 20) -> String {
      let good = DeviceRows(address: 1 << 20, rowBytes: 1024)
      return Self.sentence {
        try BlockwiseGEMM(.small).launch(
          BlockwiseGEMM.Product(
            rows: 8, columns: 8, depth: 100, a: DeviceRows(address: address, rowBytes: rowBytes),
            aScales: good, b: good, bScales: 0, y: good),
          target: .sm90a, multiprocessors: 1)
      }
    }
    #expect(
      sentence(rowBytes: 100)
        == "Rows of A are 100 bytes apart; tensor copies want a multiple of 16, at least 100.")
    #expect(
      sentence(rowBytes: 96)
        == "Rows of A are 96 bytes apart; tensor copies want a multiple of 16, at least 100.")
    #expect(
      sentence(rowBytes: 112, address: 8) == "A starts at an address that is not a multiple of 16.")
  }

  // MARK: Results

  /// A shape, the configuration and how the emulator runs it.
  struct Run: Sendable, CustomTestStringConvertible {
    var m: Int, n: Int, k: Int
    var configuration: BlockwiseGEMM.Configuration
    var completion = Emulator.Completion.latest
    var seed: UInt64?

    var testDescription: String {
      "\(m)x\(n)x\(k) in tiles of \(configuration.tileRows), \(configuration.clusterBlocks) a cluster, "
        + "\(completion)" + (seed.map { ", schedule \($0)" } ?? "")
    }
  }

  static let runs: [Run] = [
    Run(m: 1, n: 8, k: 1, configuration: .small),
    Run(m: 1, n: 1, k: 129, configuration: .large, completion: .earliest),
    Run(m: 65, n: 136, k: 130, configuration: .small, completion: .earliest, seed: 1),
    Run(m: 130, n: 257, k: 300, configuration: .small, seed: 2),
    Run(m: 300, n: 131, k: 520, configuration: .large),
    Run(m: 257, n: 40, k: 128, configuration: .large, completion: .earliest, seed: 3),
    Run(m: 300, n: 260, k: 397, configuration: .largePair),
    Run(m: 200, n: 129, k: 520, configuration: .largePair, completion: .earliest),
    Run(m: 3, n: 300, k: 520, configuration: .largePair, seed: 4),
  ]

  @Test(arguments: runs)
  func agreesWithTheReference(_ run: Run) throws {
    var options = Emulator.Options()
    options.completion = run.completion
    options.schedule = run.seed.map { .random(seed: $0) } ?? .roundRobin
    // Two multiprocessors, so that blocks take several tiles and rings wrap.
    let device = EmulatedDevice(multiprocessors: 2, options)
    let left = try Self.matrix(run.m, run.k, .init(rows: 1, columns: 128), seed: 11)
    let right = try Self.matrix(run.n, run.k, .init(rows: 128, columns: 128), seed: 12)
    let result = try device.multiply(left, right, configuration: run.configuration)
    #expect(device.launches.first?.tree.name == BlockwiseGEMM(run.configuration).name)
    try BlockwiseGEMM.expectProduct(result, of: left, right, sums: .exact)
  }

  @Test func aNaNScaleSpoilsItsRowOnly() throws {
    var left = try Self.matrix(70, 200, .init(rows: 1, columns: 128), seed: 21)
    let right = try Self.matrix(9, 200, .init(rows: 128, columns: 128), seed: 22)
    left.scales[2 * 66 + 1] = .nan
    let result = try EmulatedDevice().multiply(left, right)
    for row in 0..<70 {
      for column in 0..<9 { #expect(Float(result[row, column]).isNaN == (row == 66)) }
    }
  }

  // MARK: Helpers

  private static func matrix(
    _ rows: Int, _ columns: Int, _ blocking: Blocking, seed: UInt64
  ) throws -> Float8Matrix {
    var samples = Samples(seed: seed)
    return try samples.float8(rows, columns, blocking)
  }

  private static func sentence(_ body: () throws -> some Any) -> String {
    do {
      _ = try body()
      return ""
    } catch { return "\(error)" }
  }
}

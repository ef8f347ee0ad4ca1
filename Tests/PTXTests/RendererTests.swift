// SPDX-License-Identifier: Apache-2.0

import PTX
import Testing
import _BlockScaleTestSupport

@Suite struct RendererTests {
  @Test(arguments: ExampleTrees.all.indices)
  func textIsPinned(index: Int) throws {
    let tree = ExampleTrees.all[index]
    #expect(try GoldenText.difference(of: tree.text, from: tree.name) == nil)
  }

  @Test(.enabled(if: Assembler.installed != nil, Comment(rawValue: Assembler.absence)))
  func examplesAssemble() throws {
    let assembler = try #require(Assembler.installed)
    var table = AssemblyTable()
    for tree in ExampleTrees.all {
      let text = try tree.text
      for usage in try assembler.assemble(text, for: tree.target.name) {
        table.add(
          usage, configuration: "\(tree.bounds.threads) threads", target: tree.target.name,
          sharedBytes: tree.sharedBytes, text: text)
      }
    }
    print(table)
  }

  /// Several entries share one declaration of shared memory; lines of source can be left out, or be a
  /// table for profilers.
  @Test func modulesAndOptions() throws {
    var other = ExampleTrees.copyTiles
    other.name = "otherTiles"
    let trees = [ExampleTrees.copyTiles, other]
    let text = try Renderer(namesLines: false, hasLineTable: true).text(of: trees)
    #expect(text.matches(of: /\.extern \.shared/).count == 1)
    #expect(text.matches(of: /\.visible \.entry/).count == 2)
    #expect(!text.contains("//"))
    #expect(text.contains("\n  .loc 1 30 0\n"))
    #expect(text.hasSuffix("\n.file 1 \"PTXTests/ExampleTrees.swift\"\n"))
    guard let assembler = Assembler.installed else { return print(Assembler.absence) }
    let usages = try assembler.assemble(text, for: "sm_90a")
    #expect(usages.map(\.entry).sorted() == ["copyTiles", "otherTiles"])
  }

  /// A guard predicates what acts, in scopes too.
  @Test(arguments: [Target.sm90a, .sm100a])
  func guardedInstructionsAssemble(target: Target) throws {
    // Products are of whole warpgroups; under a guard ptxas makes them serial.
    for (family, instructions) in Samples.families where family != "products" {
      let present = instructions.filter {
        $0.requirement.map { target.features.contains($0) } ?? true
      }
      let statements = present.enumerated().map { index, instruction in
        Statement.instruction(
          instruction, guardedBy: Guard(p(15), is: index.isMultiple(of: 2)), at(index + 1))
      }
      let text = try tree(named: family, for: target, statements).text
      let acting = text.split(separator: "\n").filter {
        $0.hasPrefix("  ") && $0.hasSuffix(";") && !$0.contains(".reg ") && !$0.contains(" ret;")
          && !$0.contains(".param")
      }
      #expect(acting.allSatisfy { $0.contains("@%p15 ") || $0.contains("@!%p15 ") })
      guard let assembler = Assembler.installed else { return print(Assembler.absence) }
      _ = try assembler.assemble(text, for: target.name)
    }
  }

  @Test func literals() throws {
    func line(_ instruction: Instruction) throws -> String {
      let lines = try tree([instruction]).text.split(separator: "\n")
      return String(lines[lines.count - 3].drop { $0 == " " })
    }
    #expect(try line(.move(r(0), .immediate(0xFFFF_FFFF_0000_000A))) == "mov.b32 %r0, 0xA;")
    #expect(
      try line(.binary(.add, .f32, r(0), .r(1), .float(-1))) == "add.rn.f32 %r0, %r1, 0fBF800000;")
    #expect(
      try line(.binary(.add, .f64, d(0), .d(1), .immediate(1.0.bitPattern)))
        == "add.rn.f64 %d0, %d1, 0d3FF0000000000000;")
    #expect(try line(.binary(.add, .s32, r(0), .r(1), -7)) == "add.s32 %r0, %r1, -7;")
    #expect(try line(.binary(.add, .u32, r(0), .r(1), -7)) == "add.u32 %r0, %r1, 4294967289;")
    #expect(try line(.binary(.shiftLeft, .u64, d(0), .d(1), 48)) == "shl.b64 %d0, %d1, 48;")
    #expect(
      try line(
        .store(
          MemoryAccess(space: .shared, type: .u8), from: [-1], address: Address(r(0), offset: -4)))
        == "st.shared::cta.u8 [%r0+-4], 255;")
  }
}

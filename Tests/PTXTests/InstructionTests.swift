// SPDX-License-Identifier: Apache-2.0

import Foundation
import PTX
import Testing
import _BlockScaleTestSupport

@Suite struct InstructionTests {
  /// Each form of a family goes through the assembler on each target that has it, and is refused by name
  /// on those that lack it.
  @Test(arguments: Samples.families.map(\.name), Target.all)
  func assemblesOrIsRefused(family: String, target: Target) throws {
    let instructions = try #require(Samples.families.first { $0.name == family }).instructions
    var present: [Instruction] = []
    for instruction in instructions {
      guard let feature = instruction.requirement, !target.features.contains(feature) else {
        present.append(instruction)
        continue
      }
      let sentence = try #require(complaint(of: tree(for: target, [instruction])))
      for word in [instruction.name, feature.rawValue, target.name, "sample", "Samples.swift:1"] {
        #expect(sentence.contains(word), "\(sentence)")
      }
    }
    let text = try tree(for: target, present).text
    guard let assembler = Assembler.installed else { return print(Assembler.absence) }
    _ = try assembler.assemble(text, for: target.name)
  }

  /// The samples leave out no case of `Instruction`.
  @Test func samplesAreComplete() throws {
    let source = URL(filePath: #filePath).deletingLastPathComponent()
      .appending(path: "../../Sources/PTX/Instruction.swift")
    let declaration = try String(contentsOf: source, encoding: .utf8)
      .components(separatedBy: "\n}\n")[0]
    let cases = declaration.matches(of: /(?m)^  case ([a-zA-Z0-9]+)/).map { String($0.output.1) }
    let sampled = Set(
      Samples.families.flatMap(\.instructions).map { instruction in
        Mirror(reflecting: instruction).children.first?.label ?? "\(instruction)"
      })
    #expect(cases.count > 60)
    #expect(Set(cases).subtracting(sampled) == [])
  }

  /// Samples name the registers that the text names, so reads and writes leave none out.
  @Test func operandsAreThoseOfTheText() throws {
    for instruction in Samples.families.flatMap(\.instructions) {
      let text =
        try tree([instruction].filter { target(of: $0) == .sm90a }).text
        + tree(for: .sm100a, [instruction].filter { target(of: $0) == .sm100a }).text
      // Declarations end with a count in angle brackets, which no operand has.
      let named = Set(text.matches(of: /%[phrd][0-9]+/).map { String($0.output) })
      var operands = Set((instruction.writes + instruction.reads).map(name))
      if case .loadParameter = instruction { operands = Set(instruction.writes.map(name)) }
      #expect(named == operands, "\(text)")
    }
  }

  private func target(of instruction: Instruction) -> Target {
    instruction.requirement.map { Target.sm90a.features.contains($0) } ?? true ? .sm90a : .sm100a
  }

  private func name(_ register: Register) -> String {
    switch register.kind {
    case .predicate: "%p\(register.index)"
    case .bits16: "%h\(register.index)"
    case .bits32: "%r\(register.index)"
    case .bits64: "%d\(register.index)"
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScaleCommands
import Testing

@Suite struct TextTableTests {
  private static let table: TextTable = {
    var table = TextTable([.init("tensor"), .init("shape", .right), .init("form")])
    table.addRow(["model.layers.0.self_attn.q_proj.weight", "4096×4096", "FP8"])
    table.addRow(["lm_head.weight", "8×64", "BF16, untouched"])
    return table
  }()

  @Test func alignsColumns() {
    #expect(
      Self.table.render() == """
        tensor                                      shape  form
        model.layers.0.self_attn.q_proj.weight  4096×4096  FP8
        lm_head.weight                               8×64  BF16, untouched

        """)
  }

  @Test func truncatesTheLongestColumn() {
    let text = Self.table.render(width: 50)
    #expect(
      text == """
        tensor                      shape  form
        model.laye…proj.weight  4096×4096  FP8
        lm_head.weight               8×64  BF16, untouched

        """)
    #expect(Self.table.render(width: 1000) == Self.table.render())
    // Eight columns remain, though the table is too wide with them.
    #expect(Self.table.render(width: 1).contains("\nmod…ight  4096×4096  FP8\n"))
  }

  @Test func hasTitlesAlone() {
    #expect(TextTable([.init("a"), .init("b", .right)]).render(width: 1) == "a  b\n")
  }

  @Test func disarmsControlCharacters() {
    var table = TextTable([.init("name")])
    table.addRow(["a\u{1B}[31m\nb"])
    #expect(table.render() == "name\na\u{FFFD}[31m\u{FFFD}b\n")
  }

  @Test(arguments: [(5, "abcde"), (4, "a…de"), (3, "a…e"), (2, "…e"), (1, "…"), (0, "")])
  func truncation(_ width: Int, _ expected: String) {
    #expect("abcde".truncatedInMiddle(to: width) == expected)
  }
}

// SPDX-License-Identifier: Apache-2.0

/// What kernels cost, a line for each kernel, configuration and target.
package struct AssemblyTable: CustomStringConvertible {
  private var rows = [
    ["kernel", "configuration", "target", "registers", "shared", "text"]
  ]

  package init() {}

  /// Adds what `ptxas` said; shared memory is what the kernel's launch asks for besides.
  package mutating func add(
    _ usage: Assembler.Usage, configuration: String, target: String, sharedBytes: Int, text: String
  ) {
    rows.append([
      usage.entry, configuration, target, "\(usage.registers)",
      "\(sharedBytes + usage.sharedBytes)",
      "\(text.utf8.count)",
    ])
  }

  package var description: String {
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      zip(row, widths).enumerated().map { index, cell in
        let blanks = String(repeating: " ", count: cell.1 - cell.0.count)
        return index < 3 ? cell.0 + blanks : blanks + cell.0
      }.joined(separator: "  ")
    }.joined(separator: "\n")
  }
}

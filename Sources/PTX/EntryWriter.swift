// SPDX-License-Identifier: Apache-2.0

/// Writes one kernel, line by line.
///
/// Families of instructions are extensions. Each writes with `emit`, after it has asked for the text
/// of its operands: an operand that PTX takes from registers alone opens a scope with a register of
/// its own, which ends with the instruction.
struct EntryWriter {
  let tree: KernelTree
  let options: Renderer
  var files: FileTable
  private var text = ""
  private var depth = 1
  /// What predicates each line of the instruction being written.
  private var guardText = ""
  private var scratchCount = 0
  private var line: SourceLine?
  /// What begins comments that name lines of the present file.
  private var commentStart = ""
  private var labelCount = 0

  init(_ tree: KernelTree, options: Renderer, files: FileTable) {
    self.tree = tree
    self.options = options
    self.files = files
    text.reserveCapacity(1 << 14)
  }

  // MARK: Lines

  /// Writes `opcode operands;` with the parts of the opcode joined by dots; empty parts are left out.
  mutating func emit(_ opcode: String..., operands: String...) {
    indent()
    text += guardText
    append(opcode, separator: ".")
    if !operands.isEmpty { text += " " }
    append(operands, separator: ", ")
    text += ";\n"
  }

  mutating func writeLine(_ string: String) {
    indent()
    text += string
    text += "\n"
  }

  /// Labels stand at the left margin.
  mutating func writeLabel(_ label: String) {
    text += label
    text += ":\n"
  }

  mutating func nextLabelNumber() -> Int {
    defer { labelCount += 1 }
    return labelCount
  }

  private mutating func indent() {
    for _ in 0..<depth { text += "  " }
  }

  /// Leaves out empty parts.
  private mutating func append(_ parts: [String], separator: String) {
    var isFirst = true
    for part in parts where !part.isEmpty {
      if !isFirst { text += separator }
      isFirst = false
      text += part
    }
  }

  // MARK: Scopes

  /// Writes one instruction, each of its lines predicated by the guard.
  mutating func write(_ instruction: Instruction, guardedBy guardian: Guard?) {
    guardText = guardian.map { "@\($0.text) " } ?? ""
    write(instruction)
    if scratchCount > 0 {
      depth -= 1
      writeLine("}")
      scratchCount = 0
    }
    guardText = ""
  }

  /// A register of the instruction's own, of a type that need not be among the four kinds.
  mutating func scratch(_ type: String) -> String {
    if scratchCount == 0 {
      writeLine("{")
      depth += 1
    }
    let name = "%scratch\(scratchCount)"
    scratchCount += 1
    writeLine(".reg .\(type) \(name);")
    return name
  }

  // MARK: Source lines

  /// Names the Swift line where it changes.
  mutating func note(_ line: SourceLine) {
    guard line != self.line else { return }
    if options.namesLines {
      if line.file != self.line?.file { commentStart = "// \(line.fileName):" }
      writeLine(commentStart + String(line.line))
    }
    self.line = line
    if options.hasLineTable {
      writeLine(".loc \(files.number(of: line.file)) \(line.line) 0")
    }
  }

  // MARK: The entry

  /// The whole entry: its parameters, bounds, registers and body.
  mutating func entry() -> String {
    depth = 0
    writeLine(".visible .entry \(tree.name)(")
    for (index, parameter) in tree.parameters.enumerated() {
      writeLine("  \(parameter.declaration)\(index + 1 < tree.parameters.count ? "," : "")")
    }
    writeLine(")")
    writeLine(".reqntid \(tree.bounds.threads), 1, 1")
    if let blocks = tree.bounds.minimumBlocks { writeLine(".minnctapersm \(blocks)") }
    if let registers = tree.bounds.maximumRegisters { writeLine(".maxnreg \(registers)") }
    writeLine("{")
    depth = 1
    for kind in RegisterKind.allCases where tree.registerCounts[kind.rawValue] > 0 {
      writeLine(".reg .\(kind.typeName) \(kind.prefix)<\(tree.registerCounts[kind.rawValue])>;")
    }
    write(tree.body, leavingTo: nil)
    emit("ret")
    depth = 0
    writeLine("}")
    return text
  }
}

extension KernelParameter {
  fileprivate var declaration: String {
    let name = PTXName.parameter(self)
    return switch kind {
    case .pointer, .uint64: ".param .u64 \(name)"
    case .uint32: ".param .u32 \(name)"
    case .float: ".param .f32 \(name)"
    case .tensorMap: ".param .align 64 .b8 \(name)[128]"
    }
  }
}

extension SourceLine {
  /// The file without its folders.
  var fileName: Substring {
    file.lastIndex(of: "/").map { file[file.index(after: $0)...] } ?? file[...]
  }
}

// SPDX-License-Identifier: Apache-2.0

import Foundation

/// NVIDIA's assembler, which says whether PTX text is right and what it costs.
///
/// `nvidia-cuda-nvcc` on PyPI holds it; `.ci/run` installs it.
package struct Assembler: Sendable {
  private let path: String

  /// The `ptxas` that the variable `PTXAS` names, or of `PATH`, or of the Python wheel; `nil` if there
  /// is none.
  package static let installed: Assembler? = {
    let environment = ProcessInfo.processInfo.environment
    var paths = environment["PTXAS"].map { [$0] } ?? []
    paths += (environment["PATH"] ?? "").split(separator: ":").map { "\($0)/ptxas" }
    if let wheel = wheelPath() { paths.append(wheel) }
    return paths.first(where: FileManager.default.isExecutableFile).map(Assembler.init(path:))
  }()

  /// Why tests do without it.
  package static let absence: String =
    "no ptxas: set PTXAS, or `pip install nvidia-cuda-nvcc==13.0.88`; kernels are not assembled"

  /// Where the wheel of Python's path keeps it.
  private static func wheelPath() -> String? {
    let script = """
      import glob, os, sysconfig, site
      for p in {sysconfig.get_paths()["purelib"], site.getusersitepackages(), *site.getsitepackages()}:
        for f in glob.glob(os.path.join(p, "nvidia", "*", "bin", "ptxas")): print(f)
      """
    guard let result = try? run("/usr/bin/env", ["python3", "-c", script]), result.status == 0
    else {
      return nil
    }
    return result.output.split(separator: "\n").first.map(String.init)
  }

  // MARK: Assembling

  /// What a kernel costs on one target.
  package struct Usage: Hashable, Sendable {
    package let entry: String
    package let registers: Int
    /// Bytes that the kernel asks for statically.
    package let sharedBytes: Int
    package let stackBytes: Int
    package let spillBytes: Int

    package init(entry: String, registers: Int, sharedBytes: Int, stackBytes: Int, spillBytes: Int)
    {
      self.entry = entry
      self.registers = registers
      self.sharedBytes = sharedBytes
      self.stackBytes = stackBytes
      self.spillBytes = spillBytes
    }
  }

  /// What `ptxas` refused, or what it wrote that a kernel must not have.
  package struct Fault: Error, CustomStringConvertible {
    package let description: String
  }

  /// Assembles a module for a target and checks each entry.
  ///
  /// - Throws: `Fault` where the text is refused, and where an entry spills registers, has a stack frame
  ///   or gets a warning of the C75xx series (products made serial, `setmaxnreg` ignored).
  package func assemble(_ text: String, for target: String) throws -> [Usage] {
    let folder = FileManager.default.temporaryDirectory
      .appending(path: "ptx-\(ProcessInfo.processInfo.processIdentifier)-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let source = folder.appending(path: "module.ptx")
    try Data(text.utf8).write(to: source)
    let result = try Self.run(
      path,
      [
        "-v", "-arch=\(target)", "--warn-on-spills", "--warn-on-local-memory-usage",
        source.path(), "-o", folder.appending(path: "module.cubin").path(),
      ])
    guard result.status == 0 else {
      throw Fault(description: "\(target): " + Self.located(result.output, in: text))
    }
    let usages = try Self.usages(of: result.output)
    let complaints = result.output.split(separator: "\n").filter { $0.contains("(C75") }
    let faults =
      complaints.map(String.init)
      + usages.filter { $0.stackBytes > 0 || $0.spillBytes > 0 }.map {
        "\($0.entry) has a stack frame of \($0.stackBytes) bytes and spills \($0.spillBytes)"
      }
    if !faults.isEmpty {
      throw Fault(description: "\(target): " + faults.joined(separator: "; "))
    }
    return usages
  }

  /// The first complaints, each with the line of text that it is about.
  private static func located(_ output: String, in text: String) -> String {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    return output.split(separator: "\n").prefix(8).map { complaint in
      guard let range = complaint.range(of: ", line "),
        let number = Int(complaint[range.upperBound...].prefix { $0.isNumber }),
        lines.indices.contains(number - 1)
      else { return String(complaint) }
      return "\(lines[number - 1].trimmingCharacters(in: .whitespaces))"
        + complaint[range.lowerBound...]
    }.joined(separator: "\n")
  }

  /// Reads what `ptxas -v` says of each entry.
  package static func usages(of output: String) throws -> [Usage] {
    var usages: [Usage] = []
    var entry: String?
    var frame = (stack: 0, spills: 0)
    for line in output.split(separator: "\n") {
      if line.contains("Compiling entry function") {
        entry = line.split(separator: "'").dropFirst().first.map(String.init)
      } else if line.contains("bytes stack frame") {
        frame = (
          number(before: " bytes stack frame", in: line) ?? 0,
          (number(before: " bytes spill stores", in: line) ?? 0)
            + (number(before: " bytes spill loads", in: line) ?? 0)
        )
      } else if let registers = number(before: " registers", in: line), let name = entry {
        usages.append(
          Usage(
            entry: name, registers: registers,
            sharedBytes: number(before: " bytes smem", in: line) ?? 0,
            stackBytes: frame.stack, spillBytes: frame.spills))
        entry = nil
      }
    }
    guard !usages.isEmpty else { throw Fault(description: "ptxas names no entry: \(output)") }
    return usages
  }

  private static func number(before words: String, in line: some StringProtocol) -> Int? {
    guard let range = line.range(of: words) else { return nil }
    return Int(String(line[..<range.lowerBound].reversed().prefix { $0.isNumber }.reversed()))
  }

  // MARK: Processes

  private static func run(
    _ path: String, _ arguments: [String]
  ) throws -> (status: Int32, output: String) {
    let process = Process()
    process.executableURL = URL(filePath: path)
    process.arguments = arguments
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let data = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: data, as: UTF8.self))
  }
}

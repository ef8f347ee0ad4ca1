// SPDX-License-Identifier: Apache-2.0

import PTX
import Testing
import _BlockScaleTestSupport

/// The check itself finds what it is for.
@Suite struct AssemblerTests {
  @Test func reportIsRead() throws {
    let usages = try Assembler.usages(
      of: """
        ptxas info    : 0 bytes gmem
        ptxas info    : Compiling entry function 'first' for 'sm_90a'
        ptxas info    : Function properties for first
            16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
        ptxas info    : Used 168 registers, used 2 barriers, 1024 bytes smem, 600 bytes cmem[0]
        ptxas info    : Compiling entry function 'second' for 'sm_90a'
        ptxas info    : Function properties for second
            0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
        ptxas info    : Used 24 registers, used 0 barriers
        """)
    #expect(
      usages == [
        Assembler.Usage(
          entry: "first", registers: 168, sharedBytes: 1024, stackBytes: 16, spillBytes: 20),
        Assembler.Usage(
          entry: "second", registers: 24, sharedBytes: 0, stackBytes: 0, spillBytes: 0),
      ])
    #expect(throws: Assembler.Fault.self) { try Assembler.usages(of: "") }
  }

  @Test(.enabled(if: Assembler.installed != nil, Comment(rawValue: Assembler.absence)))
  func faultsAreFound() throws {
    let assembler = try #require(Assembler.installed)
    func fault(_ text: String) -> String {
      do {
        _ = try assembler.assemble(text, for: "sm_90a")
        return "none"
      } catch { return "\(error)" }
    }
    // Words that PTX does not have, with their line.
    #expect(fault(try tree([.trap]).text.replacing("trap", with: "trip")).contains("trip;, line"))
    // More values at once than there are registers.
    let bounds = LaunchBounds(threads: 128, maximumRegisters: 24)
    let global = MemoryAccess(space: .global, type: .f32, isVolatile: true)
    let body =
      [Statement.instruction(.loadParameter(d(0), parameter: 0), guardedBy: nil, at(1))]
      + (0..<64).map {
        .instruction(.load(global, to: [r($0)], address: Address(d(0))), guardedBy: nil, at(2))
      }
      + (0..<64).map {
        .instruction(.store(global, from: [.r($0)], address: Address(d(0))), guardedBy: nil, at(3))
      }
    #expect(fault(try tree(bounds: bounds, body).text).contains("spills"))
    // Registers moved between warpgroups where nothing says how many there are (C7508).
    let moves = [
      Statement.instruction(.setMaximumRegisters(40, increasing: false), guardedBy: nil, at(1))
    ]
    #expect(fault(try tree(bounds: LaunchBounds(threads: 128), moves).text).contains("(C7508)"))
    // A sum that is read before its product has finished.
    var early = Samples.products.prefix(3)
    early.append(.store(global, from: [.r(0)], address: Address(d(3))))
    #expect(fault(try tree(Array(early)).text).contains("(C75"))
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Checkpoints
import Foundation
import OrderedCollections
import Safetensors
import Synchronization
import SystemPackage
import Testing
import _BlockScaleTestSupport

/// Where output goes, and what is never touched.
@Suite struct OutputTests {
  let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func file() throws -> Checkpoint {
    try SafetensorsFile.write(TinyModel().tensors, to: scratch("in.safetensors"))
    return try Checkpoint(path: scratch("in.safetensors"))
  }

  private func folder() throws -> Checkpoint {
    try Checkpoint(path: TinyModel().write(to: scratch("in"), in: scratch))
  }

  private func quantize(
    _ input: Checkpoint, to name: String, scheme: Scheme = .mxfp8, resume: Bool = false,
    overwrite: Bool = false
  ) throws {
    _ = try Converter(jobs: 2, resume: resume, overwrite: overwrite)
      .quantize(input, to: scratch(name), scheme: scheme)
  }

  @Test func anExistingFileIsReplacedOnlyOnRequest() throws {
    let input = try file()
    try scratch.write("precious", to: "out.safetensors")
    let error = failure { try quantize(input, to: "out.safetensors") }
    #expect(error?.code == .outputExists && error?.text.contains("--overwrite") == true)
    #expect(text(of: scratch("out.safetensors")) == "precious")
    #expect(scratch.names == ["in.safetensors", "out.safetensors"])
    try quantize(input, to: "out.safetensors", overwrite: true)
    #expect(try Checkpoint(path: scratch("out.safetensors")).layout == .compressedTensors)
    #expect(scratch.names == ["in.safetensors", "out.safetensors"])
  }

  @Test func anExistingFolderIsReplacedAsAWhole() throws {
    let input = try folder()
    try quantize(input, to: "out")
    try scratch.write("old", to: "out/old.txt")
    #expect(failure { try quantize(input, to: "out") }?.code == .outputExists)
    try quantize(input, to: "out", scheme: .nvfp4, overwrite: true)
    #expect(try Checkpoint(path: scratch("out")).layout == .modelopt)
    #expect(!FileManager.default.fileExists(atPath: scratch("out/old.txt").string))
    #expect(scratch.names == ["in", "out"])
  }

  @Test func aNeighbourWithATemporaryNameSurvives() throws {
    let input = try folder()
    try scratch.makeFolder("out.replaced")
    try scratch.write("precious", to: "out.replaced/x")
    try quantize(input, to: "out")
    #expect(text(of: scratch("out.replaced/x")) == "precious")
    let error = failure { try quantize(input, to: "out", overwrite: true) }
    #expect(error?.code == .systemCall)
    #expect(text(of: scratch("out.replaced/x")) == "precious")
    #expect(try Checkpoint(path: scratch("out")).layout == .compressedTensors)
  }

  @Test(arguments: ["photo.jpg", "model.safetensors"])
  func aFolderOfOtherThingsIsNotReplaced(_ name: String) throws {
    let input = try folder()
    try scratch.makeFolder("out")
    try scratch.write("precious", to: "out/\(name)")
    // A checkpoint has no folders in it.
    if name.hasSuffix(".safetensors") { try scratch.makeFolder("out/photos") }
    let error = failure { try quantize(input, to: "out", overwrite: true) }
    #expect(error?.code == .outputExists && error?.text.contains("is not replaced") == true)
    #expect(text(of: scratch("out/\(name)")) == "precious")
    #expect(scratch.names == ["in", "out"])
  }

  @Test func aFileIsNoFolder() throws {
    try scratch.makeFolder("out.safetensors")
    let input = try file()
    let error = failure { try quantize(input, to: "out.safetensors", overwrite: true) }
    #expect(error?.code == .outputExists && error?.text.contains("is a folder") == true)
    let model = try folder()
    try scratch.write("x", to: "out")
    #expect(failure { try quantize(model, to: "out", overwrite: true) }?.code == .outputExists)
    #expect(text(of: scratch("out")) == "x")
  }

  @Test(arguments: ["in.safetensors", "link.safetensors", "./folder/../in.safetensors"])
  func theInputIsNotOverwritten(_ name: String) throws {
    let input = try file()
    try scratch.makeFolder("folder")
    try FileManager.default.createSymbolicLink(
      atPath: scratch("link.safetensors").string,
      withDestinationPath: scratch("in.safetensors").string)
    let before = try stored(scratch("in.safetensors"))
    let error = failure { try quantize(input, to: name, overwrite: true) }
    #expect(error?.code == .outputIsInput)
    #expect(try stored(scratch("in.safetensors")) == before)
    #expect(scratch.names == ["folder", "in.safetensors", "link.safetensors"])
  }

  @Test(arguments: ["in", "link", "."])
  func theInputFolderIsNotOverwritten(_ name: String) throws {
    let input = try folder()
    try FileManager.default.createSymbolicLink(
      atPath: scratch("link").string, withDestinationPath: scratch("in").string)
    let error = failure { try quantize(input, to: name, overwrite: true) }
    #expect(error?.code == .outputIsInput)
    #expect(scratch.names == ["in", "link"])
    #expect(text(of: scratch("in/config.json")) == TinyModel.configuration)
  }

  @Test func aPlaceThatCannotBeWritten() throws {
    let input = try file()
    let error = failure { try quantize(input, to: "gone/out.safetensors") }
    #expect(error?.code == .systemCall)
    #expect(
      error?.text
        == "\(scratch("gone/out.safetensors")): cannot be written, since there is no folder "
        + "'\(scratch("gone"))'.")
  }

  #if os(Linux)
    /// sysfs lets nobody create a file, not even the superuser, whom permissions do not stop.
    @Test(arguments: ["blockscale", "blockscale.safetensors"])
    func aPlaceThatIsDenied(_ name: String) throws {
      let input = name.hasSuffix(".safetensors") ? try file() : try folder()
      let error = failure {
        _ = try converter.quantize(
          input, to: FilePath("/sys/\(name)"), scheme: .nvfp4, layout: .modelopt)
      }
      #expect(error?.code == .systemCall)
      let reasons = [Errno.permissionDenied, .notPermitted, .readOnlyFileSystem]
      #expect(
        reasons.map { "/sys/\(name): cannot be written: \($0)." }.contains(error?.text))
    }
  #endif

  /// A run that failed is continued with the same options, begun anew with --overwrite, and refused
  /// otherwise.
  @Test func leftoversOfAnInterruptedRun() throws {
    var tensors = TinyModel().tensors
    let last = tensors.count - 1
    let good = tensors[last].bytes
    tensors[last].bytes.replaceSubrange(0..<2, with: [0xC0, 0x7F])
    try SafetensorsFile.write(tensors, to: scratch("in.safetensors"))
    let bad = try Checkpoint(path: scratch("in.safetensors"))
    #expect(failure { try quantize(bad, to: "out") }?.code == .nonFinite)
    #expect(scratch.names == ["in.safetensors", "out.partial", "out.partial.journal"])

    let refused = failure { try quantize(bad, to: "out") }
    #expect(refused?.code == .outputExists && refused?.text.contains("--resume") == true)
    let otherOptions = failure { try quantize(bad, to: "out", scheme: .nvfp4, resume: true) }
    #expect(otherOptions?.code == .cannotResume)
    #expect(failure { try quantize(bad, to: "out", resume: true) }?.code == .nonFinite)

    tensors[last].bytes = good
    try SafetensorsFile.write(tensors, to: scratch("in.safetensors"))
    let repaired = try Checkpoint(path: scratch("in.safetensors"))
    // The input is another one now.
    #expect(failure { try quantize(repaired, to: "out", resume: true) }?.code == .cannotResume)
    try quantize(repaired, to: "out", overwrite: true)
    try quantize(repaired, to: "fresh")
    #expect(try stored(scratch("out")) == stored(scratch("fresh")))
    #expect(scratch.names == ["fresh", "in.safetensors", "out"])
  }

  /// The second run finds the journal locked, whatever its options.
  @Test func twoRunsAtOnce() throws {
    let input = try folder()
    let errors = Mutex<[CheckpointError.Code?]>([])
    let target = scratch("out")
    let isFirst = Mutex(true)
    _ = try Converter(jobs: 1) { progress in
      guard case .advanced = progress, isFirst.withLock({ exchange(&$0, with: false) }) else {
        return
      }
      for (resume, overwrite) in [(true, false), (false, true), (false, false)] {
        let error = failure {
          _ = try Converter(jobs: 1, resume: resume, overwrite: overwrite)
            .quantize(input, to: target, scheme: .mxfp8)
        }
        errors.withLock { $0.append(error?.code) }
      }
    }.quantize(input, to: target, scheme: .mxfp8)
    #expect(errors.withLock { $0 } == [.outputExists, .outputExists, .outputExists])
    #expect(try Verification(Checkpoint(path: target), against: input, jobs: 2).isClean)
    #expect(scratch.names == ["in", "out"])
  }
}

private func exchange<Value>(_ value: inout Value, with new: Value) -> Value {
  defer { value = new }
  return value
}

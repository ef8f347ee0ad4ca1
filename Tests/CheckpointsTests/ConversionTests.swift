// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Checkpoints
import OrderedCollections
import Safetensors
import SystemPackage
import Testing
import _BlockScaleTestSupport

/// Moving from layout to layout.
@Suite struct ConversionTests {
  private func quantized(
    _ scratch: Scratch, scheme: Scheme, layout: Layout, recipe: Recipe? = nil
  ) throws -> Checkpoint {
    let source = try Checkpoint(path: TinyModel().write(to: scratch("source"), in: scratch))
    _ = try converter.quantize(
      source, to: scratch("start"), scheme: scheme, layout: layout, recipe: recipe)
    return try Checkpoint(path: scratch("start"))
  }

  /// Around the layouts of NVFP4: codes and block scales come back as they were, and the tensor
  /// scale up to the rounding of the reciprocal that compressed-tensors stores.
  @Test func aroundAllLayoutsOfNVFP4() throws {
    let scratch = try Scratch()
    var checkpoint = try quantized(scratch, scheme: .nvfp4, layout: .modelopt)
    let start = checkpoint
    for (index, layout) in [Layout.compressedTensors, .torchao, .comfy, .modelopt].enumerated() {
      let reports = try converter.convert(checkpoint, to: scratch("\(index)"), layout: layout)
      #expect(reports.allSatisfy { $0.notes.isEmpty })
      checkpoint = try Checkpoint(path: scratch("\(index)"))
      #expect(checkpoint.layout == layout)
      // The recorded recipe made the codes, so that the bytes are still checked against it, except
      // for the tensor scale's reciprocal.
      #expect(try Verification(checkpoint, jobs: 2).isClean)
      let comparison = try Comparison(reference: start, candidate: checkpoint, jobs: 2)
      #expect(comparison.tensors.allSatisfy { $0.error.sqnr > 130 })
      #expect(comparison.missing.isEmpty && comparison.extra.isEmpty)
    }
    let (before, after) = (try stored(start.path), try stored(checkpoint.path))
    #expect(before.keys.sorted() == after.keys.sorted())
    for (name, tensor) in before {
      if name.hasSuffix("weight_scale_2") {
        let ratio = try #require(after[name]).float / tensor.float
        #expect(abs(ratio - 1) <= 0x1p-23)
      } else {
        #expect(after[name] == tensor, "\(name)")
      }
    }
  }

  static let others: [(Scheme, Layout, Layout)] = [
    (.mxfp4, .compressedTensors, .mlx), (.mxfp4, .mlx, .torchao), (.mxfp4, .torchao, .modelopt),
    (.mxfp8, .modelopt, .torchao), (.mxfp8, .torchao, .mlx), (.mxfp8, .mlx, .compressedTensors),
    (.fp8Block, .deepseek, .modelopt), (.fp8Block, .modelopt, .compressedTensors),
    (.fp8Block, .compressedTensors, .deepseek), (.fp8Row, .modelopt, .compressedTensors),
    (.fp8Row, .compressedTensors, .torchao), (.fp8Row, .torchao, .modelopt),
    (.fp8Tensor, .torchao, .compressedTensors),
  ]

  /// Of the other schemes the values never change.
  @Test(arguments: others)
  func valuesStay(_ scheme: Scheme, _ from: Layout, _ to: Layout) throws {
    let scratch = try Scratch()
    let start = try quantized(scratch, scheme: scheme, layout: from)
    _ = try converter.convert(start, to: scratch("out"), layout: to)
    let end = try Checkpoint(path: scratch("out"))
    #expect(end.layout == to)
    let comparison = try Comparison(reference: start, candidate: end, jobs: 2)
    #expect(comparison.tensors.count == 9)
    #expect(comparison.tensors.allSatisfy { $0.error.errorPower == 0 })
    #expect(try Verification(end, jobs: 2).isClean)
  }

  @Test(arguments: [Layout.modelopt, .compressedTensors, .torchao, .comfy])
  func oneLevelOfScalesGetsANeutralTensorScale(_ layout: Layout) throws {
    let scratch = try Scratch()
    let start = try quantized(scratch, scheme: .nvfp4, layout: .mlx)
    _ = try converter.convert(start, to: scratch("out"), layout: layout)
    let end = try Checkpoint(path: scratch("out"))
    let comparison = try Comparison(reference: start, candidate: end, jobs: 2)
    #expect(comparison.tensors.allSatisfy { $0.error.errorPower == 0 })
    #expect(try Verification(end, jobs: 2).isClean)
    // And back, since 1 folds away.
    _ = try converter.convert(end, to: scratch("back"), layout: .mlx)
    #expect(try stored(scratch("back")) == stored(scratch("start")))
  }

  /// MLX has one level: a power of two is multiplied into the block scales if they stay exact.
  @Test(arguments: [(Float(0.25), true), (0.3, false), (0x1p-30, false), (0x1p30, false)])
  func tensorScaleIsFoldedWhereThatIsExact(_ scale: Float, _ isExact: Bool) throws {
    let scratch = try Scratch()
    try SafetensorsFile.write(
      HandMade.modelopt([("a.weight", scale)]), metadata: ["format": "pt"],
      to: scratch("in.safetensors"))
    let input = try Checkpoint(path: scratch("in.safetensors"))
    let error = failure {
      _ = try converter.convert(input, to: scratch("out.safetensors"), layout: .mlx)
    }
    #expect(error?.code == (isExact ? nil : .unsupported))
    guard isExact else {
      #expect(error?.text.contains("a.weight") == true)
      #expect(scratch.names == ["in.safetensors"])
      return
    }
    let comparison = try Comparison(
      reference: input, candidate: Checkpoint(path: scratch("out.safetensors")), jobs: 2)
    #expect(comparison.tensors.map(\.error.errorPower) == [0])
  }

  /// MXFP4 blocks that lie within 2^17 of the largest become NVFP4 without loss.
  @Test(arguments: [(UInt8(110), false), (109, true)])
  func mxfp4BecomesNVFP4(_ smallest: UInt8, _ loses: Bool) throws {
    let scratch = try Scratch()
    // The largest scale is 127, so that 110 is 2^17 less and its block scale E4M3's least, 2^-9.
    try SafetensorsFile.write(
      [
        ("a.weight_packed", .u8, [4, 32], (0..<128).map { UInt8(truncatingIfNeeded: $0 &* 37) }),
        ("a.weight_scale", .u8, [4, 2], [127, smallest, 126, 120, 125, 118, 124, 119]),
      ], to: scratch("in.safetensors"))
    let input = try Checkpoint(path: scratch("in.safetensors"))
    let reports = try converter.convert(
      input, to: scratch("out.safetensors"), layout: .modelopt, scheme: .nvfp4)
    #expect(reports[0].notes.contains { $0.contains("quantized again") } == loses)
    #expect(try stored(scratch("out.safetensors"))["a.weight_scale_2"]?.float == 0x1p-8)
    let comparison = try Comparison(
      reference: input, candidate: Checkpoint(path: scratch("out.safetensors")), jobs: 2)
    #expect((comparison.tensors[0].error.errorPower == 0) == !loses)
    #expect(comparison.tensors[0].error.sqnr > 60)
  }

  /// ComfyUI stores NVFP4 only, so that MXFP4 becomes it unasked; MXFP8 has nowhere to go.
  @Test func schemesThatALayoutLacks() throws {
    let scratch = try Scratch()
    let start = try quantized(scratch, scheme: .mxfp4, layout: .compressedTensors)
    _ = try converter.convert(start, to: scratch("comfy"), layout: .comfy)
    let comparison = try Comparison(
      reference: start, candidate: Checkpoint(path: scratch("comfy")), jobs: 2)
    #expect(comparison.tensors.allSatisfy { $0.error.errorPower == 0 })
    for (layout, scheme) in [(Layout.deepseek, Scheme?.none), (.modelopt, .mxfp8)] {
      let error = failure {
        _ = try converter.convert(start, to: scratch("bad"), layout: layout, scheme: scheme)
      }
      #expect(error?.code == .unsupported)
    }
    #expect(scratch.names == ["comfy", "source", "start"])
  }
}

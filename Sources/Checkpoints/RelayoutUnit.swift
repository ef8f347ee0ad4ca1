// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import Minifloat
import Safetensors

/// Stores the block-scaled weights that share a tensor scale in another layout.
///
/// Codes are moved as they are. Block scales change only where partners come with different tensor
/// scales and the consumer has room for one, or where MXFP4 becomes NVFP4.
struct RelayoutUnit: ConversionUnit {
  /// One weight and its place in the output.
  struct Member: Sendable {
    var source: QuantizedTensor
    var shape: BlockScaledShape
    var form: StoredForm
    var companions: [Companion]
    var notes: [String]
  }

  /// A scale of activations that travels with a weight.
  struct Companion: Sendable {
    var output: OutputTensor
    var value: Float
  }

  let members: [Member]

  var name: String { members[0].source.name }
  var outputs: [(file: Int, tensor: OutputTensor)] {
    members.flatMap { member in
      (member.form.outputs + member.companions.map(\.output)).map {
        (member.source.codes.fileIndex, $0)
      }
    }
  }
  var byteCount: Int { members.reduce(0) { $0 + $1.source.byteCount } }

  func run(_ context: ConversionContext) throws -> [TensorReport] {
    var scales = try members.map { try $0.source.readTensorScale() }
    let haveRoom = members.allSatisfy { $0.form.tensorScale != nil }
    if haveRoom, let known = scales.lazy.compactMap(\.self).first {
      // A partner of one level counts as scaled by one.
      scales = scales.map { $0 ?? TensorScale(1, isDivisor: known.isDivisor) }
    }
    var shared: TensorScale?
    if members[0].source.scheme == .mxfp4, members[0].shape.scheme == .nvfp4 {
      shared = try TensorScale(sharedPowerOfTwo(context))
    } else if members[0].form.tensorScale != nil {
      // The largest multiplier, in the words of the member that has it.
      shared = scales.compactMap(\.self).max { $0.multiplier < $1.multiplier }
    }
    return try zip(members, scales).map { member, own in
      try convert(member, own: own, shared: shared, context)
    }
  }

  private func convert(
    _ member: Member, own: TensorScale?, shared: TensorScale?, _ context: ConversionContext
  ) throws -> TensorReport {
    let reader = PanelReader(tensor: member.source)
    let writer = PanelWriter(shape: member.shape, form: member.form, output: context.output)
    let change = try ScaleChange(
      from: member.source, to: member.shape, own: own, shared: shared, form: member.form)
    let panels = writer.panels(
      rowBytes: member.source.element.byteCount(member.source.columns), bytes: 1 << 20)
    let changed = Guarded(ScaleChange.Counts())
    let queue = WriteQueue<StoredPanel>(threads: context.jobs) { panel in
      try writer.write(panel)
      context.advance(member.source.byteCount / panels.count)
    }
    try parallelFor(panels.count, threads: context.jobs) { index in
      let (matrix, rows) = panels[index]
      var panel = reader.panel(matrix: matrix, rows: rows)
      let counts = change.apply(to: &panel, columns: member.source.columns)
      changed.withLock { $0.add(counts) }
      try queue.write(writer.stored(&panel))
    }
    try writer.write(shared ?? own)
    for companion in member.companions {
      try context.output.write(
        littleEndianBytes(companion.value.bitPattern), to: companion.output, at: 0)
    }
    member.source.codes.file.discard(of: member.source.codes.info)
    let counts = changed.withLock { $0 }
    return TensorReport(
      name: member.source.name, action: .converted, format: member.shape.scheme.rawValue,
      shape: member.source.shape, bytesBefore: member.source.byteCount,
      bytesAfter: try member.form.outputs.reduce(0) {
        $0 + (try TensorInfo.byteCount(of: $1.dtype, shape: $1.shape))
      },
      notes: member.notes + counts.notes)
  }

  /// The tensor scale of an MXFP4 tensor as NVFP4: 2^(k − 8) for the largest block exponent k, so
  /// that the largest block scale is 2^8.
  ///
  /// Source: Model-Optimizer's cast for Kimi-K3 and DeepSeek-V4. Blocks of zeros do not count.
  private func sharedPowerOfTwo(_ context: ConversionContext) throws -> Float {
    let largest = Guarded(-127)
    for member in members {
      let reader = PanelReader(tensor: member.source)
      let panels = reader.panels()
      parallelFor(panels.count, threads: context.jobs) { index in
        let panel = reader.panel(matrix: panels[index].matrix, rows: panels[index].rows)
        var exponent = -127
        for (block, code) in panel.scales.enumerated() where code != 0xFF {
          // Sixteen bytes hold the 32 codes of a block; the sign bits do not matter.
          let isZero = panel.codes[block * 16..<block * 16 + 16].allSatisfy { $0 & 0x77 == 0 }
          if !isZero { exponent = max(exponent, Int(code) - 127) }
        }
        largest.withLock { $0 = max($0, exponent) }
      }
    }
    // The scale must itself be a normal FP32 number.
    return Float(sign: .plus, exponent: max(largest.withLock { $0 } - 8, -126), significand: 1)
  }
}

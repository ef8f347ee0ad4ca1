// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import Safetensors

/// Quantizes the weights that share a tensor scale.
struct QuantizeUnit: ConversionUnit {
  /// One weight and its place in the output.
  struct Member: Sendable {
    var source: StoredTensor
    var shape: BlockScaledShape
    var form: StoredForm
    /// Whether the values lie as [inputs, outputs], the transpose of what is quantized.
    var isTransposed: Bool
  }

  let members: [Member]
  let scheme: Scheme
  let recipe: Recipe
  let searchesScales: Bool

  /// The bytes of values that a thread works on at once: their codes are still in the cache when they
  /// are written.
  static let panelBytes = 1 << 20

  var name: String { members[0].source.info.name }
  var outputs: [(file: Int, tensor: OutputTensor)] {
    members.flatMap { member in member.form.outputs.map { (member.source.fileIndex, $0) } }
  }
  var byteCount: Int { members.reduce(0) { $0 + $1.source.info.byteCount } }

  func run(_ context: ConversionContext) throws -> [TensorReport] {
    let maximum = scheme.hasTensorScale ? try sharedMaximum(context) : 0
    return try members.map { try quantize($0, maximum: maximum, context) }
  }

  /// The largest magnitude of all members.
  private func sharedMaximum(_ context: ConversionContext) throws -> Float {
    let maximum = Guarded<UInt32>(0)
    // Each thread looks at chunks of its own.
    let cpu = CPUBackend(threads: 1)
    for member in members {
      let tensor = member.source.info
      let count = tensor.byteCount
      // A multiple of every element's width.
      let chunk = Self.panelBytes
      try parallelFor((count + chunk - 1) / chunk, threads: context.jobs) { index in
        let range = index * chunk..<min(count, (index + 1) * chunk)
        defer { extendLifetime(member.source.file) }
        // The file is alive, and the range is checked.
        let values = unsafe member.source.file.bytes(of: tensor, in: range)
        let bits = unsafe cpu.maximumMagnitudeBits(values, of: member.sourceFormat)
        if bits >= Float.infinity.bitPattern {
          throw unsafe nonFinite(values, member, firstByte: range.lowerBound)
        }
        maximum.withLock { $0 = max($0, bits) }
      }
    }
    return Float(bitPattern: maximum.withLock { $0 })
  }

  private func quantize(
    _ member: Member, maximum: Float, _ context: ConversionContext
  ) throws -> TensorReport {
    guard
      let rule = recipe.rule(
        for: scheme, source: member.sourceFormat, tensorMaximum: maximum)
    else {
      throw CheckpointError(
        .unsupported,
        "The recipe '\(recipe.rawValue)' does not define \(scheme.rawValue).")
    }
    let quantizer = PanelQuantizer(
      BlockQuantizer(
        rule: rule, blocking: scheme.blocking, source: member.sourceFormat,
        tensorMaximum: maximum, searchesScales: searchesScales),
      on: CPUBackend(threads: context.jobs))
    let writer = PanelWriter(shape: member.shape, form: member.form, output: context.output)
    let rowBytes = member.shape.columns * member.sourceFormat.byteCount
    let panels = writer.panels(rowBytes: rowBytes, bytes: Self.panelBytes)
    let metrics = Guarded([ErrorMetrics](repeating: ErrorMetrics(), count: panels.count))
    // Panels that were written; their memory is used again, since new pages cost more than the work.
    let idle = Guarded<[StoredPanel]>([])
    let queue = WriteQueue<StoredPanel>(threads: context.jobs) { panel in
      try writer.write(panel)
      context.advance(panel.rows.count * rowBytes)
      idle.withLock { $0.append(panel) }
    }
    try parallelFor(panels.count, threads: context.jobs) { index in
      let (matrix, rows) = panels[index]
      defer { extendLifetime(member.source.file) }
      let grid = scheme.blocking.grid(rows: rows.count, columns: member.shape.columns)
      let old = idle.withLock { $0.popLast() }
      var panel = CodePanel(
        matrix: matrix, rows: rows, codes: old?.codes ?? [], scales: old?.scales ?? [])
      panel.codes.resize(rows.count * member.shape.element.byteCount(member.shape.columns))
      panel.scales.resize(grid.rows * grid.columns * member.shape.scaleFormat.byteCount)
      // The values live as long as the file or the gathered copy, both alive during the call.
      let error = try unsafe member.withValues(matrix: matrix, rows: rows) { values in
        let parts = unsafe panel.codes.withUnsafeMutableBytes { codes in
          unsafe panel.scales.withUnsafeMutableBytes { scales in
            unsafe quantizer.quantize(
              BlockQuantizer.Panel(
                values: values, rows: rows.count, columns: member.shape.columns, codes: codes,
                scales: scales),
              measures: true)
          }
        }
        var error = ErrorMetrics()
        for part in parts { error.merge(part) }
        // Scales that overflow FP16 count as well, but only values can be pointed at.
        if error.nonFiniteCount > 0,
          unsafe member.sourceFormat.maximumMagnitudeBits(values) >= Float.infinity.bitPattern
        {
          throw unsafe nonFinite(values, member, firstByte: member.firstByte(matrix, rows))
        }
        return error
      }
      metrics.withLock { $0[index] = error }
      if !member.isTransposed {
        let first = member.firstByte(matrix, rows)
        member.source.file.discard(first..<first + rows.count * rowBytes, of: member.source.info)
      }
      try queue.write(writer.stored(&panel))
    }
    try writer.write(rule.tensorScale)
    member.source.file.discard(of: member.source.info)
    let outputBytes = try member.form.outputs.reduce(0) {
      $0 + (try TensorInfo.byteCount(of: $1.dtype, shape: $1.shape))
    }
    return TensorReport(
      name: member.source.info.name, action: .quantized, format: scheme.rawValue,
      shape: member.source.info.shape, bytesBefore: member.source.info.byteCount,
      bytesAfter: outputBytes,
      error: metrics.withLock { $0.reduce(into: ErrorMetrics()) { $0.merge($1) } },
      notes: members.count > 1 && scheme.hasTensorScale
        ? [
          "shares its tensor scale with "
            + members.map(\.source.info.name).filter { $0 != member.source.info.name }
            .joined(separator: ", ")
        ] : [])
  }

  private func nonFinite(
    _ values: UnsafeRawBufferPointer, _ member: Member, firstByte: Int
  ) -> CheckpointError {
    let width = member.sourceFormat.byteCount
    var index = 0
    while index < values.count / width {
      // Inside the buffer, by the condition of the loop.
      let one = unsafe UnsafeRawBufferPointer(
        rebasing: values[index * width..<(index + 1) * width])
      if unsafe member.sourceFormat.maximumMagnitudeBits(one) >= Float.infinity.bitPattern { break }
      index += 1
    }
    precondition(index < values.count / width, "There is such a value, as the caller has seen")
    // Inside the buffer, as was just checked.
    let one = unsafe UnsafeRawBufferPointer(rebasing: values[index * width..<(index + 1) * width])
    let isNaN =
      unsafe member.sourceFormat.maximumMagnitudeBits(one) > Float.infinity.bitPattern
    let element = firstByte / width + index
    let columns = member.source.info.shape.last ?? 1
    return CheckpointError(
      .nonFinite,
      "\(member.source.place) holds \(isNaN ? "NaN" : "an infinity") in row \(element / columns), "
        + "column \(element % columns), at data offset "
        + "\(member.source.info.byteRange.lowerBound + element * width); it cannot be quantized.")
  }
}

extension QuantizeUnit.Member {
  var sourceFormat: SourceFormat {
    switch source.info.dtype {
    case .f32: .float32
    case .f16: .float16
    default: .bfloat16
    }
  }

  /// The offset in the tensor of the first value of a panel that is not gathered.
  func firstByte(_ matrix: Int, _ rows: Range<Int>) -> Int {
    guard !isTransposed else { return 0 }
    return (matrix * shape.rows + rows.lowerBound) * shape.columns * sourceFormat.byteCount
  }

  /// Calls `body` with the values of some rows.
  func withValues<Result>(
    matrix: Int, rows: Range<Int>, _ body: (UnsafeRawBufferPointer) throws -> Result
  ) throws -> Result {
    let width = sourceFormat.byteCount
    let matrixBytes = shape.rows * shape.columns * width
    guard isTransposed else {
      let first = firstByte(matrix, rows)
      // The file is alive: it belongs to `self`. The range is checked.
      return unsafe try body(
        source.file.bytes(
          of: source.info, in: first..<first + rows.count * shape.columns * width))
    }
    var gathered = [UInt8](repeating: 0, count: rows.count * shape.columns * width)
    // The file is alive: it belongs to `self`. The range is checked.
    let all = unsafe source.file.bytes(
      of: source.info, in: matrix * matrixBytes..<(matrix + 1) * matrixBytes)
    for column in 0..<shape.columns {
      for (place, row) in rows.enumerated() {
        for byte in 0..<width {
          // Inside the matrix: row and column are below its extents.
          gathered[(place * shape.columns + column) * width + byte] =
            unsafe all[(column * shape.rows + row) * width + byte]
        }
      }
    }
    return try unsafe gathered.withUnsafeBytes { try unsafe body($0) }
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import OrderedCollections
import Safetensors
import Synchronization

/// Compares a quantized checkpoint with its original, byte for byte.
struct OriginalComparison: Sendable {
  private let checkpoint: Checkpoint
  private let original: Checkpoint
  private let jobs: Int
  /// The largest magnitude that each tensor shares with its partners.
  private let maxima: [String: Float]

  init(checkpoint: Checkpoint, original: Checkpoint, jobs: Int) throws {
    self.checkpoint = checkpoint
    self.original = original
    self.jobs = jobs
    var maxima: [String: Float] = [:]
    // Each thread looks at chunks of its own.
    let cpu = CPUBackend(threads: 1)
    let tensors = checkpoint.quantizedTensors
    for group in FusedPartners.groups(tensors, name: { $0.name }) {
      let largest = Mutex<UInt32>(0)
      for tensor in group {
        guard case .plain(let source)? = original.parameters[tensor.name],
          tensor.scheme?.hasTensorScale == true, source.info.dtype.isSource
        else { continue }
        let chunk = QuantizeUnit.panelBytes
        let count = source.info.byteCount
        parallelFor((count + chunk - 1) / chunk, threads: jobs) { index in
          defer { extendLifetime(source.file) }
          // The file is alive, and the range is checked.
          let bits = unsafe cpu.maximumMagnitudeBits(
            source.file.bytes(
              of: source.info, in: index * chunk..<min(count, (index + 1) * chunk)),
            of: source.info.dtype.sourceFormat)
          largest.withLock { $0 = max($0, bits) }
        }
      }
      for tensor in group { maxima[tensor.name] = Float(bitPattern: largest.withLock { $0 }) }
    }
    self.maxima = maxima
  }

  /// Compares one parameter and notes what was found.
  func compare(_ parameter: Parameter, into result: inout Verification.Tensor) throws {
    guard let source = original.parameters[parameter.name] else {
      result.violations.append("the original has no such tensor")
      return
    }
    switch (parameter, source) {
    case (.plain(let copy), .plain(let source)):
      if copy.info.dtype != source.info.dtype || copy.info.shape != source.info.shape
        || !Self.haveEqualBytes(copy, source)
      {
        result.violations.append("differs from the original, though it is not quantized")
      }
    case (.quantized(let tensor), .plain(let plain)):
      let metrics: ErrorMetrics?
      do {
        metrics = try Comparison.compare(source, parameter, jobs: jobs)
      } catch let error as CheckpointError where error.code == .shapeMismatch {
        result.violations.append("has the shape \(tensor.shape), the original \(plain.info.shape)")
        return
      }
      result.fromOriginal = metrics
      if let metrics, metrics.sqnr < Verification.leastOriginalSQNR {
        result.violations.append("is far from the original, at \(metrics.sqnr.rounded()) dB")
      }
      try findRecipe(tensor, plain, into: &result)
    case (.plain, .quantized), (.quantized, .quantized):
      result.notes.append("the original is quantized itself")
    }
  }

  private func findRecipe(
    _ tensor: QuantizedTensor, _ source: StoredTensor, into result: inout Verification.Tensor
  ) throws {
    guard let scheme = tensor.scheme, source.info.dtype.isSource, !tensor.isStack else { return }
    if let recorded = checkpoint.record?.recipe {
      let searched = checkpoint.record?.searchedScales ?? false
      switch try differences(tensor, source, scheme, recorded, searched: searched) {
      case 0: result.matchingRecipe = recorded
      case let bytes?:
        result.violations.append(
          "\(bytes) codes or scales differ from what recipe '\(recorded.rawValue)' gives")
      case nil:
        result.violations.append(
          "the tensor scale differs from what recipe '\(recorded.rawValue)' gives")
      }
      return
    }
    var fewest: (recipe: Recipe, bytes: Int)?
    for recipe in Recipe.recipes(for: scheme) {
      guard let bytes = try differences(tensor, source, scheme, recipe, searched: false) else {
        continue
      }
      if bytes == 0 {
        result.matchingRecipe = recipe
        return
      }
      if bytes < fewest?.bytes ?? .max { fewest = (recipe, bytes) }
    }
    if let fewest {
      result.notes.append(
        "matches no recipe; nearest is '\(fewest.recipe.rawValue)', with \(fewest.bytes) codes or "
          + "scales of other bytes")
    } else {
      result.notes.append("matches no recipe; none gives its tensor scale")
    }
  }

  /// The number of bytes of codes and of scales that differ from those of a recipe, or nil if the tensor
  /// scale does.
  private func differences(
    _ tensor: QuantizedTensor, _ source: StoredTensor, _ scheme: Scheme, _ recipe: Recipe,
    searched: Bool
  ) throws -> Int? {
    let maximum = maxima[tensor.name] ?? 0
    let format = source.info.dtype.sourceFormat
    guard let rule = recipe.rule(for: scheme, source: format, tensorMaximum: maximum) else {
      return nil
    }
    // A recipe of one level is stored with a neutral tensor scale where there is a place for one.
    let wanted = rule.tensorScale ?? TensorScale(1)
    if let stored = try tensor.readTensorScale() {
      let value = wanted.isDivisor == stored.isDivisor ? wanted.value : 1 / wanted.value
      if value != stored.value { return nil }
    } else if scheme == .nvfp4, rule.tensorScale != nil {
      return nil
    }
    let quantizer = PanelQuantizer(
      BlockQuantizer(
        rule: rule, blocking: scheme.blocking, source: format, tensorMaximum: maximum,
        searchesScales: searched),
      on: CPUBackend(threads: jobs))
    let reader = PanelReader(tensor: tensor)
    let columns = tensor.columns
    let rowCount = source.info.shape.first ?? 0
    let panels = splitIntoPanels(
      matrices: 1, rows: rowCount, rowBytes: columns * format.byteCount, unit: 128,
      bytes: QuantizeUnit.panelBytes)
    let total = Mutex(0)
    parallelFor(panels.count, threads: jobs) { index in
      let rows = panels[index].rows
      let grid = scheme.blocking.grid(rows: rows.count, columns: columns)
      var codes = [UInt8](repeating: 0, count: rows.count * tensor.element.byteCount(columns))
      var scales = [UInt8](
        repeating: 0, count: grid.rows * grid.columns * rule.scaleFormat.byteCount)
      let range =
        rows.lowerBound * columns * format.byteCount..<rows.upperBound * columns * format.byteCount
      defer { extendLifetime(source.file) }
      // The file is alive, the range is checked, and the arrays are sized for the panel.
      _ = unsafe codes.withUnsafeMutableBytes { codes in
        unsafe scales.withUnsafeMutableBytes { scales in
          unsafe quantizer.quantize(
            BlockQuantizer.Panel(
              values: source.file.bytes(of: source.info, in: range),
              rows: rows.count, columns: columns, codes: codes, scales: scales),
            measures: false)
        }
      }
      let stored = reader.panel(matrix: 0, rows: rows)
      var count = zip(codes, stored.codes).count { $0 != $1 }
      count += Self.scaleDifferences(
        scales, rule.scaleFormat, stored.scales, tensor.scaleFormat)
      total.withLock { $0 += count }
    }
    return total.withLock { $0 }
  }

  /// The number of scales whose values differ; a layout may store them wider than the recipe.
  private static func scaleDifferences(
    _ left: [UInt8], _ leftFormat: ScaleFormat, _ right: [UInt8], _ rightFormat: ScaleFormat
  ) -> Int {
    if leftFormat == rightFormat { return zip(left, right).count { $0 != $1 } }
    func values(_ bytes: [UInt8], _ format: ScaleFormat) -> [Float] {
      stride(from: 0, to: bytes.count, by: format.byteCount).map { start in
        var code: UInt32 = 0
        for byte in (0..<format.byteCount).reversed() {
          code = code << 8 | UInt32(bytes[start + byte])
        }
        return format.value(ofCode: code)
      }
    }
    return zip(values(left, leftFormat), values(right, rightFormat)).count { $0 != $1 }
  }

  private static func haveEqualBytes(_ left: StoredTensor, _ right: StoredTensor) -> Bool {
    defer {
      extendLifetime(left.file)
      extendLifetime(right.file)
    }
    // Both files are alive.
    return unsafe left.file.bytes(of: left.info).elementsEqual(right.file.bytes(of: right.info))
  }
}

extension DType {
  /// Whether values of the type can be quantized.
  var isSource: Bool {
    switch self {
    case .f32, .f16, .bf16: true
    default: false
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import BlockScaleCPU
import Minifloat
import OrderedCollections
import Safetensors
import Synchronization

/// What is right and wrong with the block-scaled tensors of a checkpoint.
public struct Verification: Sendable {
  /// One parameter.
  public struct Tensor: Sendable, Hashable {
    /// The parameter.
    public var name: String
    /// Its scheme, or its data type.
    public var format: String
    /// What a consumer would stumble over, a clause each.
    public var violations: [String] = []
    /// What else was found.
    public var notes: [String] = []
    /// The distance between the values and what they become when they are quantized again.
    public var requantized: ErrorMetrics?
    /// The distance from the original.
    public var fromOriginal: ErrorMetrics?
    /// The recipe that gives exactly these bytes from the original.
    public var matchingRecipe: Recipe?
  }

  /// The parameters, in order.
  public var tensors: [Tensor] = []
  /// What concerns the checkpoint as a whole.
  public var violations: [String] = []

  /// Whether nothing is wrong.
  public var isClean: Bool { violations.isEmpty && tensors.allSatisfy(\.violations.isEmpty) }

  /// The least ratio, in decibels, at which values that are quantized again count as the same.
  ///
  /// Scales that do not belong to their codes lie far below, and every recipe far above.
  static let leastRequantizedSQNR = 20.0
  /// The least ratio at which a tensor can come from an original.
  static let leastOriginalSQNR = 5.0

  /// Verifies a checkpoint.
  ///
  /// Structure is checked when a checkpoint is opened. This looks at every scale and code, quantizes
  /// every tensor again, and compares tensor scales between partners.
  ///
  /// - Parameters:
  ///   - original: The checkpoint that was quantized. If given, it is quantized again and compared
  ///     byte for byte: with the recorded recipe, or with every recipe of the scheme until one fits.
  ///   - jobs: The number of threads.
  public init(
    _ checkpoint: Checkpoint, against original: Checkpoint? = nil, jobs: Int,
    onProgress: @escaping @Sendable (Converter.Progress) -> Void = { _ in }
  ) throws {
    onProgress(.began(bytes: checkpoint.parameters.values.reduce(0) { $0 + $1.byteCount }))
    let partners = try Self.mismatchedPartners(checkpoint.quantizedTensors)
    let originals = try original.map {
      try OriginalComparison(checkpoint: checkpoint, original: $0, jobs: jobs)
    }
    for parameter in checkpoint.parameters.values {
      var result = Tensor(name: parameter.name, format: parameter.formatName)
      if case .quantized(let tensor) = parameter {
        try Self.inspectScalesAndCodes(tensor, jobs: jobs, into: &result)
        try Self.requantize(tensor, record: checkpoint.record, jobs: jobs, into: &result)
        if let mismatch = partners[tensor.name] { result.violations.append(mismatch) }
      }
      try originals?.compare(parameter, into: &result)
      tensors.append(result)
      onProgress(.advanced(bytes: parameter.byteCount, tensor: parameter.name))
    }
    if let original {
      for name in original.parameters.keys where checkpoint.parameters[name] == nil {
        violations.append("tensor '\(name)' of the original is missing")
      }
    }
  }

  // MARK: Scales and codes

  private struct Findings {
    var badScales = 0
    var negativeScales = 0
    var badCodes = 0
  }

  private static func inspectScalesAndCodes(
    _ tensor: QuantizedTensor, jobs: Int, into result: inout Tensor
  ) throws {
    let reader = PanelReader(tensor: tensor)
    let panels = reader.panels()
    let findings = Mutex(Findings())
    parallelFor(panels.count, threads: jobs) { index in
      let (matrix, rows) = panels[index]
      let panel = reader.panel(matrix: matrix, rows: rows)
      var part = Findings()
      let width = tensor.scaleFormat.byteCount
      for start in stride(from: 0, to: panel.scales.count, by: width) {
        var code: UInt32 = 0
        for byte in (0..<width).reversed() { code = code << 8 | UInt32(panel.scales[start + byte]) }
        let value = tensor.scaleFormat.value(ofCode: code)
        if !value.isFinite { part.badScales += 1 } else if value < 0 { part.negativeScales += 1 }
      }
      switch tensor.element {
      case .e4m3: part.badCodes = panel.codes.count { $0 & 0x7F == 0x7F }
      case .e5m2: part.badCodes = panel.codes.count { $0 & 0x7F >= 0x7C }
      case .e2m1: break
      }
      findings.withLock {
        $0.badScales += part.badScales
        $0.negativeScales += part.negativeScales
        $0.badCodes += part.badCodes
      }
    }
    let found = findings.withLock { $0 }
    if found.badScales > 0 {
      result.violations.append("\(found.badScales) scales are NaN or infinite")
    }
    if found.negativeScales > 0 {
      result.violations.append("\(found.negativeScales) scales are negative")
    }
    if found.badCodes > 0 {
      result.violations.append("\(found.badCodes) codes are NaN or infinite")
    }
    if let scale = try tensor.readTensorScale(),
      !(scale.multiplier > 0 && scale.multiplier.isFinite)
    {
      result.violations.append("the tensor scale \(scale.value) is not positive and finite")
    }
    if tensor.scalesAreSwizzled, try !hasZeroPadding(tensor) {
      result.violations.append("the padding of the swizzled scales is not zero")
    }
  }

  private static func hasZeroPadding(_ tensor: QuantizedTensor) throws -> Bool {
    defer { extendLifetime(tensor.scales.file) }
    // The file is alive during the copy.
    let bytes = unsafe Array(tensor.scales.file.bytes(of: tensor.scales.info))
    let size = bytes.count / tensor.matrices
    return try (0..<tensor.matrices).allSatisfy {
      try SwizzledScales(
        bytes: Array(bytes[$0 * size..<($0 + 1) * size]), rows: tensor.grid.rows,
        columns: tensor.grid.columns
      ).hasZeroPadding
    }
  }

  // MARK: Quantizing again

  private static func requantize(
    _ tensor: QuantizedTensor, record: ConversionRecord?, jobs: Int, into result: inout Tensor
  ) throws {
    // Values that carry a NaN scale would hide the rest.
    guard result.violations.isEmpty, let scheme = tensor.scheme else { return }
    // Scales that go to the nearest saturate anew each time, which says nothing about the codes.
    let recorded = record?.recipe == .mlxNearest ? nil : record?.recipe
    let recipe = recorded ?? defaultRecipe(of: tensor, scheme)
    let values = try ValueReader(tensor)
    let maximum = try tensorMaximum(values, tensor, recipe, jobs: jobs)
    guard
      let rule = recipe.rule(
        element: tensor.element, scale: recipe.usualScaleFormat(of: tensor), source: .float32,
        tensorMaximum: maximum, perTensor: tensor.blocking == .tensor)
    else { return }
    let quantizer = BlockQuantizer(
      rule: rule, blocking: scheme.blocking, source: .float32, tensorMaximum: maximum)
    let sum = Mutex(ErrorMetrics())
    let panels = values.panels
    parallelFor(panels.count, threads: jobs) { index in
      let (matrix, rows) = panels[index]
      let decoded = values.values(matrix: matrix, rows: rows)
      let grid = scheme.blocking.grid(rows: rows.count, columns: values.columns)
      var codes = [UInt8](
        repeating: 0, count: rows.count * tensor.element.byteCount(values.columns))
      var scales = [UInt8](
        repeating: 0, count: grid.rows * grid.columns * rule.scaleFormat.byteCount)
      // Arrays that are alive during the call and sized for the panel.
      let part = unsafe decoded.withUnsafeBytes { source in
        unsafe codes.withUnsafeMutableBytes { codes in
          unsafe scales.withUnsafeMutableBytes { scales in
            unsafe quantizer.quantize(
              BlockQuantizer.Panel(
                values: source, rows: rows.count, columns: values.columns, codes: codes,
                scales: scales))
          }
        }
      }
      sum.withLock { $0.merge(part) }
    }
    let metrics = sum.withLock { $0 }
    result.requantized = metrics
    if metrics.sqnr < leastRequantizedSQNR {
      result.violations.append(
        "the values change when they are quantized again, so the scales do not fit the codes")
    }
  }

  private static func defaultRecipe(of tensor: QuantizedTensor, _ scheme: Scheme) -> Recipe {
    switch scheme {
    case .nvfp4: tensor.tensorScale == nil ? .mlx : .modelopt
    case .mxfp4, .mxfp8: .rceil
    case .fp8Block, .fp8Row, .fp8Tensor: .modelopt
    }
  }

  /// The maximum that gives the tensor scale that is stored.
  private static func tensorMaximum(
    _ values: ValueReader, _ tensor: QuantizedTensor, _ recipe: Recipe, jobs: Int
  ) throws -> Float {
    if let scale = try tensor.readTensorScale() { return scale.multiplier * recipe.nvfp4Range }
    guard tensor.blocking == .tensor else { return 0 }
    let maximum = Mutex<Float>(0)
    let panels = values.panels
    parallelFor(panels.count, threads: jobs) { index in
      let part = values.values(matrix: panels[index].matrix, rows: panels[index].rows)
        .reduce(Float(0)) { max($0, $1.magnitude) }
      maximum.withLock { $0 = max($0, part) }
    }
    return maximum.withLock { $0 }
  }

  // MARK: Partners

  /// A clause for each tensor whose tensor scale differs from its partners'.
  private static func mismatchedPartners(_ tensors: [QuantizedTensor]) throws -> [String: String] {
    var result: [String: String] = [:]
    for group in FusedPartners.groups(tensors, name: { $0.name }) where group.count > 1 {
      let scales = try group.map { tensor -> Float? in
        if let scale = try tensor.readTensorScale() { return scale.value }
        return tensor.scheme == .fp8Tensor ? try tensor.firstScale() : nil
      }
      guard Set(scales).count > 1 else { continue }
      for (tensor, scale) in zip(group, scales) {
        let others = group.map(\.name).filter { $0 != tensor.name }.joined(separator: ", ")
        result[tensor.name] =
          "the tensor scale \(scale.map { "\($0)" } ?? "none") differs from that of its partners "
          + others
      }
    }
    return result
  }
}

extension QuantizedTensor {
  /// The first scale, as a number.
  fileprivate func firstScale() throws -> Float? {
    let width = scaleFormat.byteCount
    defer { extendLifetime(scales.file) }
    // The file is alive during the copy, and there is at least one scale.
    let bytes = unsafe Array(scales.file.bytes(of: scales.info).prefix(width))
    let code = bytes.reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    return scaleFormat.value(ofCode: code)
  }
}

extension Recipe {
  /// The scale format that the recipe itself uses for a tensor's family; stored ones may be wider.
  func usualScaleFormat(of tensor: QuantizedTensor) -> ScaleFormat {
    guard let scheme = tensor.scheme,
      let rule = rule(for: scheme, source: .float32, tensorMaximum: 1)
    else { return tensor.scaleFormat }
    return rule.scaleFormat
  }
}

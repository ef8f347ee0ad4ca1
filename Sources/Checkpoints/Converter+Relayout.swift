// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import OrderedCollections
import Safetensors
public import SystemPackage

extension Converter {
  /// Stores the block-scaled tensors of a checkpoint in another layout.
  ///
  /// Codes stay as they are. The tensor scale of NVFP4 becomes its reciprocal where the layouts differ
  /// in that. MXFP4 becomes NVFP4, without loss unless a tensor's blocks differ by more than 2¹⁷,
  /// where the new layout stores only that or `scheme` asks for it.
  ///
  /// - Parameter scheme: `.nvfp4` to turn MXFP4 into it; nil to keep every scheme that fits.
  /// - Returns: What was done to each parameter, in the order of the input.
  /// - Throws: ``CheckpointError``, or `SafetensorsError` if the output cannot be written.
  public func convert(
    _ input: Checkpoint, to target: FilePath, layout: Layout, scheme: Scheme? = nil
  ) throws -> [TensorReport] {
    guard input.layout != nil else {
      throw CheckpointError(
        .nothingToDo, "\(input.path): holds no block-scaled tensor; quantize it first.")
    }
    var units: [any ConversionUnit] = []
    var members: [RelayoutUnit.Member] = []
    var ignored: [String] = []
    var written = input.collection.files.map { _ in [LayoutConfiguration.Written]() }
    for parameter in input.parameters.values {
      switch parameter {
      case .plain(let tensor):
        units.append(CopyUnit(source: tensor, reason: nil))
        if tensor.info.shape.count == 2, tensor.info.name.hasSuffix(".weight") {
          ignored.append(String(tensor.info.name.dropLast(".weight".count)))
        }
        written[parameter.fileIndex].append(
          LayoutConfiguration.Written(
            name: tensor.info.name, shape: nil, sourceFormat: .bfloat16))
      case .quantized(let tensor):
        let member = try Self.member(tensor, layout: layout, scheme: scheme)
        members.append(member)
        written[parameter.fileIndex].append(
          LayoutConfiguration.Written(
            name: tensor.name, shape: member.shape, sourceFormat: .bfloat16))
      }
    }
    let schemes = OrderedSet(members.map(\.shape.scheme))
    guard schemes.count == 1, let newScheme = schemes.first else {
      throw CheckpointError(
        .unsupported,
        "\(input.path): holds tensors of \(schemes.map(\.rawValue).joined(separator: " and ")); "
          + "a layout's configuration describes one scheme.")
    }
    let groups =
      newScheme == .nvfp4 ? FusedPartners.groups(members) { $0.source.name } : members.map { [$0] }
    units += groups.map { RelayoutUnit(members: $0) }
    let recipe = input.record?.recipe
    let configuration = LayoutConfiguration(
      layout: layout, scheme: newScheme, recipe: recipe, ignoredModules: ignored,
      hasInputScales: members.contains { !$0.companions.isEmpty })
    let keepsBytes = members.allSatisfy { $0.source.scheme == newScheme }
    let record = ConversionRecord(
      version: Self.version, scheme: newScheme, layout: layout,
      recipe: keepsBytes ? recipe : nil, searchedScales: input.record?.searchedScales ?? false)
    let plan = ConversionPlan(
      input: input,
      options: [
        "command": "convert", "layout": JSONValue(layout.rawValue),
        "scheme": JSONValue(newScheme.rawValue),
      ],
      units: units,
      metadata: zip(input.collection.files, written).map {
        configuration.metadata(from: $0.header.metadata, tensors: $1, record: record)
      },
      configuration: input.configuration.map { configuration.configuration(from: $0) },
      furtherFiles: configuration.files)
    return inOrder(try run(plan, to: target), of: input)
  }

  private static func member(
    _ tensor: QuantizedTensor, layout: Layout, scheme: Scheme?
  ) throws -> RelayoutUnit.Member {
    guard let own = tensor.scheme else {
      throw CheckpointError(
        .unsupported, "\(tensor.codes.place) has blocks of \(tensor.blocking), which is no scheme.")
    }
    var new = own
    if own == .mxfp4 {
      let becomesNVFP4 =
        scheme == .nvfp4 || !layout.schemes.contains(.mxfp4) && layout.schemes.contains(.nvfp4)
        || layout == .modelopt && tensor.isStack
      if becomesNVFP4 { new = .nvfp4 }
    }
    if let scheme, scheme != new {
      throw CheckpointError(
        .unsupported,
        "\(tensor.codes.place) is \(own.rawValue), and only mxfp4 becomes nvfp4 without values "
          + "being quantized again.")
    }
    var hasTensorScale = tensor.tensorScale != nil || own != new
    if layout == .mlx, own == .nvfp4, hasTensorScale {
      guard try ScaleChange.foldsExactly(tensor) else {
        throw layout.cannotStoreTensorScale(tensor.name)
      }
      hasTensorScale = false
    }
    let shape = BlockScaledShape(
      name: tensor.name, scheme: new, element: tensor.element,
      scaleFormat: new == .nvfp4 ? .e4m3 : tensor.scaleFormat, hasTensorScale: hasTensorScale,
      matrices: tensor.matrices, rows: tensor.rows, columns: tensor.columns,
      isStack: tensor.isStack)
    let (companions, notes) = try Self.companions(of: tensor, layout: layout)
    if layout == .modelopt, new == .fp8Tensor, companions.isEmpty {
      throw CheckpointError(
        .unsupported,
        "Layout 'modelopt' stores fp8-tensor with a static scale of activations, which "
          + "'\(tensor.name)' does not have.")
    }
    return RelayoutUnit.Member(
      source: tensor, shape: shape, form: try layout.form(of: shape), companions: companions,
      notes: notes)
  }

  /// What becomes of the scales of activations.
  private static func companions(
    of tensor: QuantizedTensor, layout: Layout
  ) throws -> ([RelayoutUnit.Companion], notes: [String]) {
    var kept: [RelayoutUnit.Companion] = []
    var notes: [String] = []
    let module =
      tensor.name.hasSuffix(".weight") ? String(tensor.name.dropLast(6)) : "\(tensor.name)_"
    for companion in tensor.companions {
      let name = companion.info.name
      if name.hasSuffix("pre_quant_scale") {
        throw CheckpointError(
          .unsupported,
          "\(companion.place) scales the inputs of its layer (AWQ), which another layout cannot "
            + "express.")
      }
      // Derived from the weight's own parts, and written anew where a layout wants it.
      if name.hasSuffix("comfy_quant") || name.hasSuffix("weight_shape") { continue }
      let isDivisor = name.hasSuffix("input_global_scale")
      switch layout {
      case .modelopt, .comfy:
        let value = try companion.float()
        kept.append(
          RelayoutUnit.Companion(
            output: OutputTensor(name: "\(module)input_scale", dtype: .f32, shape: []),
            value: isDivisor ? 1 / value : value))
      case .compressedTensors:
        let value = try companion.float()
        let wantsDivisor = tensor.scheme == .nvfp4
        kept.append(
          RelayoutUnit.Companion(
            output: OutputTensor(
              name: module + (wantsDivisor ? "input_global_scale" : "input_scale"), dtype: .f32,
              shape: [1]),
            value: wantsDivisor == isDivisor ? value : 1 / value))
      case .deepseek, .torchao, .mlx, .gptOSS: notes.append("dropped \(name)")
      }
    }
    return (kept, notes)
  }
}

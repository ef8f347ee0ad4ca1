// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import OrderedCollections
import Safetensors
public import SystemPackage

extension Converter {
  /// Quantizes the weights of a checkpoint.
  ///
  /// - Parameters:
  ///   - input: A checkpoint of plain tensors.
  ///   - target: Where the output goes: a file if the input is one, else a folder.
  ///   - scheme: What weights become.
  ///   - layout: How they are stored; that of ``Layout/usual(for:)`` if nil.
  ///   - recipe: The numerics; the layout's own producer's if nil.
  ///   - selection: Which tensors are quantized.
  ///   - searchesScales: Whether NVFP4 scales are chosen by least squared error.
  /// - Returns: What was done to each parameter, in the order of the input.
  /// - Throws: ``CheckpointError``, or `SafetensorsError` if the output cannot be written.
  public func quantize(
    _ input: Checkpoint, to target: FilePath, scheme: Scheme, layout: Layout? = nil,
    recipe: Recipe? = nil, selection: TensorSelection = TensorSelection(),
    searchesScales: Bool = false
  ) throws -> [TensorReport] {
    let layout = layout ?? .usual(for: scheme)
    let recipe = recipe ?? layout.usualRecipe(for: scheme)
    let plan = try planQuantization(
      input, scheme: scheme, layout: layout, recipe: recipe, selection: selection,
      searchesScales: searchesScales)
    return inOrder(try run(plan, to: target), of: input)
  }

  /// Reports in the order of the input's parameters.
  func inOrder(_ reports: [TensorReport], of input: Checkpoint) -> [TensorReport] {
    let places = Dictionary(
      uniqueKeysWithValues: input.parameters.keys.enumerated().map { ($1, $0) })
    return reports.sorted { places[$0.name, default: 0] < places[$1.name, default: 0] }
  }

  private func planQuantization(
    _ input: Checkpoint, scheme: Scheme, layout: Layout, recipe: Recipe,
    selection: TensorSelection, searchesScales: Bool
  ) throws -> ConversionPlan {
    if let quantized = input.layout {
      throw CheckpointError(
        .unsupported,
        "\(input.path): is quantized already, in the layout '\(quantized.rawValue)'; use convert, "
          + "or dequantize it first.")
    }
    try Self.check(scheme: scheme, layout: layout, recipe: recipe, searchesScales: searchesScales)

    var units: [any ConversionUnit] = []
    var members: [QuantizeUnit.Member] = []
    var written = input.collection.files.map { _ in [LayoutConfiguration.Written]() }
    var ignored: [String] = []
    for case .plain(let tensor) in input.parameters.values {
      var shape: BlockScaledShape?
      if let reason = selection.reasonToLeave(tensor.info, scheme: scheme, layout: layout) {
        units.append(CopyUnit(source: tensor, reason: reason))
        if tensor.info.shape.count == 2, tensor.info.name.hasSuffix(".weight") {
          ignored.append(String(tensor.info.name.dropLast(".weight".count)))
        }
      } else {
        let member = try Self.member(tensor, scheme: scheme, layout: layout, recipe: recipe)
        shape = member.shape
        members.append(member)
      }
      written[tensor.fileIndex].append(
        LayoutConfiguration.Written(
          name: tensor.info.name, shape: shape, sourceFormat: tensor.info.dtype.sourceFormat))
    }
    guard !members.isEmpty else {
      throw CheckpointError(
        .nothingToDo, "\(input.path): no tensor is to be quantized to \(scheme.rawValue).")
    }
    let groups =
      scheme.hasTensorScale
      ? FusedPartners.groups(members) { $0.source.info.name } : members.map { [$0] }
    for group in groups {
      units.append(
        QuantizeUnit(
          members: group, scheme: scheme, recipe: recipe, searchesScales: searchesScales))
    }
    if input.configuration?["tie_word_embeddings"]?.boolValue == true, !ignored.contains("lm_head")
    {
      ignored.append("lm_head")
    }
    let configuration = LayoutConfiguration(
      layout: layout, scheme: scheme, recipe: recipe, ignoredModules: ignored)
    let record = ConversionRecord(
      version: Self.version, scheme: scheme, layout: layout, recipe: recipe,
      searchedScales: searchesScales)
    return ConversionPlan(
      input: input,
      options: [
        "command": "quantize", "scheme": JSONValue(scheme.rawValue),
        "layout": JSONValue(layout.rawValue), "recipe": JSONValue(recipe.rawValue),
        "include": .array(selection.include.map { JSONValue($0) }),
        "exclude": .array(selection.exclude.map { JSONValue($0) }),
        "scaleSearch": .bool(searchesScales),
      ],
      units: units,
      metadata: zip(input.collection.files, written).map {
        configuration.metadata(from: $0.header.metadata, tensors: $1, record: record)
      },
      configuration: input.configuration.map { configuration.configuration(from: $0) },
      furtherFiles: configuration.files)
  }

  /// Checks that the options fit each other.
  ///
  /// - Throws: ``CheckpointError`` with the code `unsupported`.
  public static func check(
    scheme: Scheme, layout: Layout, recipe: Recipe, searchesScales: Bool
  ) throws(CheckpointError) {
    guard layout.schemes.contains(scheme) else {
      if layout == .modelopt, scheme == .fp8Tensor {
        throw CheckpointError(
          .unsupported,
          "Layout 'modelopt' stores fp8-tensor with a static scale of activations, which only "
            + "calibration gives; use layout 'compressed-tensors'.")
      }
      throw CheckpointError(
        .unsupported,
        "Layout '\(layout.rawValue)' stores \(layout.schemes.map(\.rawValue).joined(separator: ", ")), "
          + "not \(scheme.rawValue).")
    }
    guard let rule = recipe.rule(for: scheme, source: .float32, tensorMaximum: 1) else {
      throw CheckpointError(
        .unsupported,
        "Recipe '\(recipe.rawValue)' does not define \(scheme.rawValue); "
          + Recipe.recipes(for: scheme).map(\.rawValue).joined(separator: ", ") + " do.")
    }
    if layout == .mlx, rule.tensorScale != nil {
      throw CheckpointError(
        .unsupported,
        "Layout 'mlx' has no place for the tensor scale of recipe '\(recipe.rawValue)'; use "
          + Recipe.singleLevel.map { "'\($0.rawValue)'" }.joined(separator: " or ") + ".")
    }
    if searchesScales, rule.factor == nil {
      throw CheckpointError(
        .unsupported, "Only the scales of nvfp4 can be searched, not those of \(scheme.rawValue).")
    }
  }

  private static func member(
    _ tensor: StoredTensor, scheme: Scheme, layout: Layout, recipe: Recipe
  ) throws -> QuantizeUnit.Member {
    let source = tensor.info.dtype.sourceFormat
    guard let rule = recipe.rule(for: scheme, source: source, tensorMaximum: 1) else {
      preconditionFailure("The options were checked")
    }
    let dimensions = tensor.info.shape
    // Fused experts hold their values as [experts, inputs, outputs].
    let isStack = dimensions.count == 3
    let shape = BlockScaledShape(
      name: tensor.info.name, scheme: scheme, element: rule.element.format,
      scaleFormat: rule.scaleFormat, hasTensorScale: rule.tensorScale != nil,
      matrices: isStack ? dimensions[0] : 1, rows: isStack ? dimensions[2] : dimensions[0],
      columns: dimensions[1], isStack: isStack)
    return QuantizeUnit.Member(
      source: tensor, shape: shape, form: try layout.form(of: shape), isTransposed: isStack)
  }
}

extension DType {
  /// The source format of plain values; other types are never quantized.
  var sourceFormat: SourceFormat {
    switch self {
    case .f32: .float32
    case .f16: .float16
    default: .bfloat16
    }
  }
}

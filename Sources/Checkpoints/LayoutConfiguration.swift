// SPDX-License-Identifier: Apache-2.0

import BlockScale
import OrderedCollections
import Safetensors

/// What a loader must be told about a layout, beside the tensors: entries of `config.json`, further
/// files, and metadata of the safetensors files.
///
/// The entries follow what the producers write (ModelOpt 0.47, compressed-tensors 0.19, transformers'
/// FineGrainedFP8Config and torchao 0.18, mlx-lm 0.32, ComfyUI).
struct LayoutConfiguration: Sendable {
  var layout: Layout
  var scheme: Scheme
  var recipe: Recipe?
  /// The modules of weights that stay as they are.
  var ignoredModules: [String]
  /// Whether the weights come with static scales of activations.
  var hasInputScales = false

  private typealias Members = OrderedDictionary<String, JSONValue>

  private var ignored: JSONValue { .array(ignoredModules.map { JSONValue($0) }) }

  /// `config.json` with the entries of this layout and without those of another.
  func configuration(from original: JSONValue) -> JSONValue {
    var members = Self.withoutQuantization(original).objectValue ?? [:]
    switch layout {
    case .modelopt: members["quantization_config"] = modeloptConfiguration
    case .compressedTensors: members["quantization_config"] = compressedTensorsConfiguration
    case .deepseek: members["quantization_config"] = deepseekConfiguration
    case .torchao: members["quantization_config"] = torchaoConfiguration
    case .mlx:
      let mode: JSONValue = [
        "group_size": JSONValue(scheme == .nvfp4 ? 16 : 32),
        "bits": JSONValue(scheme.elementFormat.bitWidth), "mode": JSONValue(scheme.rawValue),
      ]
      members["quantization"] = mode
      members["quantization_config"] = mode
    case .gptOSS:
      members["quantization_config"] = [
        "modules_to_not_convert": [
          "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head",
        ],
        "quant_method": "mxfp4",
      ]
    case .comfy: break  // Read from the metadata of the file.
    }
    return .object(members)
  }

  /// `config.json` of a model that is not quantized.
  static func withoutQuantization(_ original: JSONValue) -> JSONValue {
    var members = original.objectValue ?? [:]
    members["quantization_config"] = nil
    members["quantization"] = nil
    return .object(members)
  }

  /// Further files of the folder, by name.
  var files: [(name: String, contents: JSONValue)] {
    guard layout == .modelopt else { return [] }
    var quantization: Members = [
      "quant_algo": JSONValue(modeloptAlgorithm), "kv_cache_quant_algo": .null,
    ]
    if let groupSize { quantization["group_size"] = JSONValue(groupSize) }
    quantization["exclude_modules"] = ignored
    return [
      (
        "hf_quant_config.json",
        .object(["producer": modeloptProducer, "quantization": .object(quantization)])
      )
    ]
  }

  private var groupSize: Int? {
    switch scheme {
    case .nvfp4: 16
    case .mxfp4, .mxfp8: 32
    case .fp8Block, .fp8Row, .fp8Tensor: nil
    }
  }

  // MARK: ModelOpt

  /// The producer's name is what loaders look for; the version is the one whose format is written.
  private var modeloptProducer: JSONValue { ["name": "modelopt", "version": "0.47.0"] }

  private var modeloptAlgorithm: String {
    switch scheme {
    case .nvfp4: hasInputScales ? "NVFP4" : "W4A16_NVFP4"
    case .mxfp4: "MXFP4"
    case .mxfp8: "MXFP8"
    case .fp8Block: "FP8_PB_WO"
    case .fp8Row: "FP8_PER_CHANNEL_PER_TOKEN"
    case .fp8Tensor: "FP8"
    }
  }

  private var modeloptConfiguration: JSONValue {
    var members: Members = [:]
    // ModelOpt describes groups for these algorithms only.
    if scheme == .nvfp4 || scheme == .fp8Tensor {
      var numbers: Members = [
        "dynamic": false, "num_bits": JSONValue(scheme.elementFormat.bitWidth), "type": "float",
      ]
      if let groupSize { numbers["group_size"] = JSONValue(groupSize) }
      var group: Members = [:]
      if hasInputScales || scheme == .fp8Tensor { group["input_activations"] = .object(numbers) }
      group["weights"] = .object(numbers)
      group["targets"] = ["Linear"]
      members["config_groups"] = .object(["group_0": .object(group)])
    }
    members["ignore"] = ignored
    members["quant_algo"] = JSONValue(modeloptAlgorithm)
    if let groupSize, scheme != .nvfp4 { members["group_size"] = JSONValue(groupSize) }
    members["producer"] = modeloptProducer
    members["quant_method"] = "modelopt"
    return .object(members)
  }

  // MARK: compressed-tensors

  private var compressedTensorsConfiguration: JSONValue {
    let (format, strategy, scaleType): (String, String, JSONValue) =
      switch scheme {
      case .nvfp4: ("nvfp4-pack-quantized", "tensor_group", "torch.float8_e4m3fn")
      case .mxfp4: ("mxfp4-pack-quantized", "group", "torch.uint8")
      case .mxfp8: ("mxfp8-quantized", "group", "torch.uint8")
      case .fp8Block: ("float-quantized", "block", .null)
      case .fp8Row: ("float-quantized", "channel", .null)
      case .fp8Tensor: ("float-quantized", "tensor", .null)
      }
    let weights = compressedTensorsNumbers(
      strategy: strategy, groupSize: groupSize, dynamic: false, scaleType: scaleType,
      blocks: scheme == .fp8Block)
    let activations: JSONValue =
      switch scheme {
      case .nvfp4:
        hasInputScales
          ? compressedTensorsNumbers(
            strategy: "tensor_group", groupSize: 16, dynamic: "local", scaleType: scaleType)
          : .null
      case .mxfp4, .mxfp8: .null
      case .fp8Block: compressedTensorsNumbers(strategy: "group", groupSize: 128, dynamic: true)
      case .fp8Row: compressedTensorsNumbers(strategy: "token", groupSize: nil, dynamic: true)
      case .fp8Tensor:
        compressedTensorsNumbers(
          strategy: "tensor", groupSize: nil, dynamic: hasInputScales ? false : true)
      }
    return [
      "config_groups": [
        "group_0": [
          "format": JSONValue(format), "input_activations": activations,
          "output_activations": .null, "targets": ["Linear"], "weights": weights,
        ]
      ],
      "format": JSONValue(format), "global_compression_ratio": .null, "ignore": ignored,
      "kv_cache_scheme": .null, "quant_method": "compressed-tensors",
      "quantization_status": "compressed", "transform_config": [:], "version": "0.19.0",
    ]
  }

  private func compressedTensorsNumbers(
    strategy: String, groupSize: Int?, dynamic: JSONValue, scaleType: JSONValue = .null,
    blocks: Bool = false
  ) -> JSONValue {
    [
      "actorder": .null, "block_structure": blocks ? [128, 128] : .null, "dynamic": dynamic,
      "group_size": groupSize.map { JSONValue($0) } ?? .null,
      "num_bits": JSONValue(scheme.elementFormat.bitWidth), "observer": .null,
      "observer_kwargs": [:], "scale_dtype": scaleType, "strategy": JSONValue(strategy),
      "symmetric": true, "type": "float", "zp_dtype": .null,
    ]
  }

  // MARK: DeepSeek

  private var deepseekConfiguration: JSONValue {
    var members: Members = [
      "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
      "weight_block_size": [128, 128],
    ]
    if recipe == .deepseekUE8M0 { members["scale_fmt"] = "ue8m0" }
    members["modules_to_not_convert"] = ignored
    return .object(members)
  }

  // MARK: torchao

  private var torchaoConfiguration: JSONValue {
    [
      "quant_method": "torchao", "quant_type": ["default": torchaoType],
      "modules_to_not_convert": ignored, "include_input_output_embeddings": false,
      "untie_embedding_weights": false,
    ]
  }

  private var torchaoType: JSONValue {
    func type(_ name: String) -> JSONValue { ["_type": "torch.dtype", "_data": JSONValue(name)] }
    switch scheme {
    case .nvfp4:
      let hasTensorScale = recipe.map { !Recipe.singleLevel.contains($0) } ?? true
      return [
        "_type": "NVFP4WeightOnlyConfig", "_version": 1,
        "_data": ["use_dynamic_per_tensor_scale": JSONValue.bool(hasTensorScale)],
      ]
    case .mxfp4, .mxfp8:
      let element = type(scheme == .mxfp4 ? "float4_e2m1fn_x2" : "float8_e4m3fn")
      return [
        "_type": "MXDynamicActivationMXWeightConfig", "_version": 1,
        "_data": [
          "block_size": 32, "activation_dtype": element, "weight_dtype": element,
          "kernel_preference": ["_type": "KernelPreference", "_data": "AUTO"],
          "scaling_mode": ["_type": "ScaleCalculationMode", "_data": "RCEIL"],
        ],
      ]
    case .fp8Block, .fp8Row, .fp8Tensor:
      let granularity: JSONValue =
        switch scheme {
        case .fp8Row: ["_type": "PerRow", "_version": 1, "_data": ["dim": -1]]
        case .fp8Tensor: ["_type": "PerTensor", "_version": 1, "_data": [:]]
        default: ["_type": "PerBlock", "_version": 1, "_data": ["block_size": [128, 128]]]
        }
      return [
        "_type": "Float8WeightOnlyConfig", "_version": 2,
        "_data": [
          "weight_dtype": type("float8_e4m3fn"), "set_inductor_config": true,
          "granularity": granularity,
        ],
      ]
    }
  }
}

// MARK: - Metadata of the files

extension LayoutConfiguration {
  /// One written tensor, as the metadata describes it.
  struct Written: Sendable {
    var name: String
    var shape: BlockScaledShape?
    var sourceFormat: SourceFormat
  }

  /// The `__metadata__` of one file.
  ///
  /// - Parameters:
  ///   - original: The metadata of the input's file.
  ///   - tensors: The parameters of the file.
  func metadata(
    from original: OrderedDictionary<String, String>, tensors: [Written], record: ConversionRecord
  ) -> OrderedDictionary<String, String> {
    var result = Self.withoutQuantization(original)
    result["format"] = layout == .mlx ? "mlx" : result["format"] ?? "pt"
    if layout == .torchao {
      for tensor in tensors { result[tensor.name] = torchaoDescription(of: tensor) }
      result["tensor_names"] = JSONValue.array(tensors.map { JSONValue($0.name) })
        .rendered(.compact)
    }
    if layout == .comfy {
      var layers: OrderedDictionary<String, JSONValue> = [:]
      for tensor in tensors where tensor.shape != nil {
        layers[String(tensor.name.dropLast(".weight".count))] = ["format": "nvfp4"]
      }
      result["_quantization_metadata"] = JSONValue.object([
        "format_version": "1.0", "layers": .object(layers),
      ]).rendered(.compact)
    }
    result[ConversionRecord.metadataKey] = record.json.rendered(.compact)
    return result
  }

  /// Metadata without what describes quantized tensors.
  static func withoutQuantization(
    _ original: OrderedDictionary<String, String>
  ) -> OrderedDictionary<String, String> {
    let names = original["tensor_names"].flatMap { try? JSONValue.parse(Array($0.utf8)) }
    let described = Set(names?.arrayValue?.compactMap(\.stringValue) ?? [])
    return original.filter { key, _ in
      key != "_quantization_metadata" && key != "tensor_names"
        && key != ConversionRecord.metadataKey && !described.contains(key)
    }
  }

  // Source: ao:torchao/prototype/safetensors/safetensors_utils.py
  private func torchaoDescription(of tensor: Written) -> String {
    guard let shape = tensor.shape else { return #"{"_type": "Tensor"}"# }
    func type(_ name: String) -> JSONValue { ["_type": "torch.dtype", "_data": JSONValue(name)] }
    let original =
      switch tensor.sourceFormat {
      case .float32: "float32"
      case .bfloat16: "bfloat16"
      case .float16: "float16"
      }
    let preference: JSONValue = ["_type": "KernelPreference", "_data": "AUTO"]
    let description: JSONValue
    switch scheme {
    case .nvfp4:
      description = [
        "_type": "NVFP4Tensor",
        "_data": [
          "is_swizzled_scales": false, "use_triton_kernel": false, "act_quant_kwargs": .null,
          "block_size": 16, "orig_dtype": type(original),
        ],
        "_tensor_data_names": shape.hasTensorScale
          ? ["per_tensor_scale", "qdata", "scale"] : ["qdata", "scale"],
      ]
    case .mxfp4, .mxfp8:
      description = [
        "_type": "MXTensor",
        "_data": [
          "elem_dtype": type(scheme == .mxfp4 ? "float4_e2m1fn_x2" : "float8_e4m3fn"),
          "block_size": 32, "orig_dtype": type(original), "kernel_preference": preference,
          "act_quant_kwargs": .null, "is_swizzled_scales": false,
        ],
        "_tensor_data_names": ["qdata", "scale"],
      ]
    case .fp8Block, .fp8Row, .fp8Tensor:
      let block: JSONValue =
        switch scheme {
        case .fp8Row: [1, JSONValue(shape.columns)]
        case .fp8Tensor: [JSONValue(shape.rows), JSONValue(shape.columns)]
        default: [128, 128]
        }
      description = [
        "_type": "Float8Tensor",
        "_data": [
          "block_size": block, "mm_config": .null, "act_quant_kwargs": .null,
          "kernel_preference": preference, "dtype": type(original),
        ],
        "_tensor_data_names": ["qdata", "scale"],
      ]
    }
    return description.rendered(.compact)
  }
}

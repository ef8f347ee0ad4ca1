// SPDX-License-Identifier: Apache-2.0

public import BlockScale

/// How a scheme lies on disk: tensor names, shapes, packing and configuration.
public enum Layout: String, Sendable, Hashable, CaseIterable {
  /// NVIDIA ModelOpt's unified Hugging Face export, as TensorRT-LLM and vLLM load it.
  case modelopt
  /// compressed-tensors, as llm-compressor writes and vLLM loads it.
  case compressedTensors = "compressed-tensors"
  /// DeepSeek-V3's FP8 blocks with `weight_scale_inv`.
  case deepseek
  /// torchao's flattened tensor subclasses.
  case torchao
  /// MLX: packed words and byte scales.
  case mlx
  /// gpt-oss: MXFP4 experts in `_blocks` and `_scales`.
  case gptOSS = "gpt-oss"
  /// ComfyUI: NVFP4 with the first element in the high nibble and swizzled scales.
  case comfy

  /// The schemes that the layout can store.
  public var schemes: [Scheme] {
    switch self {
    case .modelopt: [.nvfp4, .mxfp4, .mxfp8, .fp8Block, .fp8Row]
    case .compressedTensors: [.nvfp4, .mxfp4, .mxfp8, .fp8Block, .fp8Row, .fp8Tensor]
    case .deepseek: [.fp8Block]
    case .torchao: [.nvfp4, .mxfp4, .mxfp8, .fp8Block, .fp8Row, .fp8Tensor]
    case .mlx: [.nvfp4, .mxfp4, .mxfp8]
    case .gptOSS: [.mxfp4]
    case .comfy: [.nvfp4]
    }
  }

  /// The layout that a scheme is written in unless another is asked for.
  public static func usual(for scheme: Scheme) -> Layout {
    switch scheme {
    case .nvfp4: .modelopt
    case .mxfp4, .mxfp8, .fp8Row, .fp8Tensor: .compressedTensors
    case .fp8Block: .deepseek
    }
  }

  /// The numerics of the layout's own producer.
  public func usualRecipe(for scheme: Scheme) -> Recipe {
    switch self {
    case .modelopt: .modelopt
    case .compressedTensors: .compressedTensors
    case .deepseek: .deepseek
    case .torchao: scheme.isFP8WithFloatScales ? .torchaoFloat8 : .torchao
    case .mlx: .mlx
    // OpenAI has not published how gpt-oss was quantized; the specification's rule stands in.
    case .gptOSS: .ocp
    case .comfy: .comfy
    }
  }

  /// Whether a reader multiplies block scales by a tensor scale, so that a recipe must have one.
  var storesTensorScale: Bool { self != .mlx }
}

extension Scheme {
  /// Whether scales are floating-point numbers beside 8-bit codes.
  var isFP8WithFloatScales: Bool {
    switch self {
    case .fp8Block, .fp8Row, .fp8Tensor: true
    case .nvfp4, .mxfp4, .mxfp8: false
    }
  }

  /// Whether one number scales the whole tensor, so that its maximum must be known first.
  var hasTensorScale: Bool { self == .nvfp4 || self == .fp8Tensor }
}

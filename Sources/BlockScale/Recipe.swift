// SPDX-License-Identifier: Apache-2.0

/// The numerics that turn values into codes and scales, named after the producer whose bytes they
/// reproduce.
///
/// The same scheme has many byte formats: producers differ in the order of operations that gives a
/// scale, in rounding, in floors and in the sign of zero. Each recipe's formulas stand, with their
/// sources, in the file of its family: `Recipe+NVFP4.swift`, `Recipe+MX.swift`,
/// `Recipe+Float8.swift`.
public enum Recipe: String, Sendable, Hashable, CaseIterable {
  /// NVIDIA ModelOpt with amax taken from the weights.
  case modelopt
  /// NVIDIA ModelOpt with static (calibrated) block amax; NVFP4 only.
  case modeloptStatic = "modelopt-static"
  /// torchao: NVFP4 with two levels, MX as RCEIL, FP8 as its blockwise training quantizes.
  case torchao
  /// torchao's inference tensor `Float8Tensor`; FP8 only.
  case torchaoFloat8 = "torchao-float8"
  /// torchao.float8 training with scales restricted to powers of two, as its row-wise recipe; FP8 only.
  case torchaoPowerOfTwo = "torchao-pow2"
  /// torchao's NVFP4 without a tensor scale.
  case torchaoSingleLevel = "torchao-single-level"
  /// compressed-tensors as llm-compressor drives it; works in the precision of the source.
  case compressedTensors = "compressed-tensors"
  /// TransformerEngine with FP32 scales.
  case transformerEngine = "transformer-engine"
  /// TransformerEngine with scales restricted to powers of two, its default for FP8 blocks.
  case transformerEnginePowerOfTwo = "transformer-engine-pow2"
  /// TransformerEngine's 4/6: each NVFP4 block maps its maximum to 4 or to 6, by absolute error.
  case transformerEngineFourOverSix = "transformer-engine-4over6"
  /// fouroversix, the library of the paper behind 4/6: by squared error; NVFP4 only.
  case fourOverSix = "fouroversix"
  /// vLLM's emulation of NVFP4 in torch.
  case vllmEmulation = "vllm-emulation"
  /// DeepSeek-V3 and DeepGEMM.
  case deepseek
  /// DeepGEMM with scales rounded up to powers of two: FP8 and MX.
  case deepseekUE8M0 = "deepseek-ue8m0"
  /// COAT: BF16 scales.
  case coat
  /// MLX on the CPU; NVFP4 has no tensor scale.
  case mlx
  /// MLX on Apple's GPUs; NVFP4 has no tensor scale.
  case mlxMetal = "mlx-metal"
  /// MLX on the CPU before it rounded MX scales up: their exponents go to the nearest, and the
  /// largest values of a block may saturate.
  case mlxNearest = "mlx-nearest"
  /// ggml's reference quantizers; NVFP4 has no tensor scale.
  case ggml
  /// ComfyUI's comfy-kitchen: NVFP4 and MXFP8.
  case comfy
  /// The Triton NVFP4 program for SM120 that this package grew out of.
  case seed
  /// The OCP MX specification's rule, torchao's FLOOR.
  case ocp
  /// MX scales rounded up so that nothing saturates: torchao's RCEIL, NVIDIA's `cvt.rp.ue8m0x2`.
  case rceil
  /// MX scales from the maximum rounded up to a power of two, torchao's CEIL.
  case ceil
  /// MX scales from the maximum rounded to the element's precision, torchao's EVEN.
  case even

  /// Whether this recipe is defined for `scheme`.
  public func supports(_ scheme: Scheme) -> Bool {
    // The maximum plays no part in whether a rule exists.
    rule(for: scheme, source: .bfloat16, tensorMaximum: 1) != nil
  }

  /// The recipes that are defined for `scheme`, in the order of their declaration.
  public static func recipes(for scheme: Scheme) -> [Recipe] {
    allCases.filter { $0.supports(scheme) }
  }

  /// The recipes whose NVFP4 has no tensor scale.
  package static let singleLevel: [Recipe] = recipes(for: .nvfp4).filter {
    $0.rule(for: .nvfp4, source: .bfloat16, tensorMaximum: 1)?.tensorScale == nil
  }

  /// The numerics of this recipe for one tensor.
  ///
  /// - Parameters:
  ///   - scheme: Selects the family of formulas.
  ///   - source: The format that the values come in.
  ///   - tensorMaximum: The largest magnitude of the tensor, or of all the tensors that share its
  ///     scale; only NVFP4 and `fp8-tensor` look at it.
  package func rule(for scheme: Scheme, source: SourceFormat, tensorMaximum: Float) -> BlockRule? {
    switch scheme {
    case .nvfp4: nvfp4Rule(source: source, tensorMaximum: tensorMaximum)
    case .mxfp4: mxRule(element: .e2m1, source: source)
    case .mxfp8: mxRule(element: .e4m3, source: source)
    case .fp8Block, .fp8Row: float8Rule(element: .e4m3, source: source, perTensor: false)
    case .fp8Tensor: float8Rule(element: .e4m3, source: source, perTensor: true)
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Safetensors

#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Which tensors of a checkpoint are quantized.
public struct TensorSelection: Sendable, Hashable {
  /// Shell patterns; if there are any, only tensors whose names match one are quantized, and the
  /// usual exceptions do not apply.
  public var include: [String]
  /// Shell patterns of tensors that stay as they are.
  public var exclude: [String]

  /// Creates a selection.
  public init(include: [String] = [], exclude: [String] = []) {
    self.include = include
    self.exclude = exclude
  }

  /// Why a tensor stays as it is, or nil if it is to be quantized.
  func reasonToLeave(_ tensor: TensorInfo, scheme: Scheme, layout: Layout) -> String? {
    let name = tensor.name
    if exclude.contains(where: { matches(name, $0) }) { return "excluded" }
    if !include.isEmpty {
      guard include.contains(where: { matches(name, $0) }) else { return "not included" }
    } else if let kind = Self.sensitiveKind(name) {
      return kind
    }
    switch tensor.dtype {
    case .bf16, .f16, .f32: break
    default: return "\(tensor.dtype.rawValue) values"
    }
    if layout == .gptOSS {
      guard tensor.shape.count == 3, name.hasSuffix("_proj") else {
        return "no fused experts"
      }
      return tensor.shape[1] % 32 == 0 ? nil : "\(tensor.shape[1]) inputs are no multiple of 32"
    }
    guard tensor.shape.count == 2 else {
      return "\(tensor.shape.count) dimension\(tensor.shape.count == 1 ? "" : "s")"
    }
    guard name.hasSuffix(".weight") else { return "no weight" }
    guard tensor.elementCount > 0 else { return "empty" }
    return reasonNotToFit(rows: tensor.shape[0], columns: tensor.shape[1], scheme, layout)
  }

  /// Why a matrix cannot be stored in a scheme's layout, or nil if it can.
  func reasonNotToFit(rows: Int, columns: Int, _ scheme: Scheme, _ layout: Layout) -> String? {
    let multiple =
      switch scheme {
      case .nvfp4: 16
      case .mxfp4, .mxfp8: 32
      case .fp8Block: layout == .torchao ? 128 : 1
      case .fp8Row, .fp8Tensor: 1
      }
    if columns % multiple != 0 { return "\(columns) columns are no multiple of \(multiple)" }
    if layout == .torchao, scheme == .fp8Block, rows % 128 != 0 {
      return "\(rows) rows are no multiple of 128"
    }
    return nil
  }

  /// What a name says that quantization would hurt: embeddings, heads, norms and routers.
  static func sensitiveKind(_ name: String) -> String? {
    let components = name.split(separator: ".").map(String.init)
    let module = components.dropLast().last ?? name
    if components.contains(where: { $0.contains("embed") || $0 == "wte" || $0 == "wpe" }) {
      return "embedding"
    }
    let heads: Set<String> = ["lm_head", "score", "classifier", "output", "head", "embed_out"]
    if heads.contains(module), components.count <= 3 { return "head" }
    if components.contains(where: { $0.lowercased().contains("norm") }) || module.hasPrefix("ln_") {
      return "norm"
    }
    let routers: Set<String> = ["gate", "router", "shared_expert_gate", "wg"]
    if routers.contains(module) { return "router" }
    return nil
  }

  /// Whether a name matches a shell pattern; `*` also matches dots.
  private func matches(_ name: String, _ pattern: String) -> Bool {
    // Both strings are bridged for the length of the call.
    unsafe fnmatch(pattern, name, 0) == 0
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import OrderedCollections
import Safetensors
import SystemPackage

extension LayoutReader {
  /// The layout of the block-scaled tensors, or nil if there are none.
  ///
  /// The configuration decides where there is one. A bare file is judged by its names, types and
  /// metadata; where two layouts explain it and would decode it differently, this refuses.
  ///
  /// - Throws: ``CheckpointError`` with the code `unknownLayout` or `ambiguousLayout`.
  func detectLayout(path: FilePath) throws -> Layout? {
    let evidence = evidence()
    if let configured = try configuredLayout(path: path) {
      if evidence.isEmpty { return nil }
      // ModelOpt and compressed-tensors name their parts alike, so the configuration chooses.
      guard evidence.contains(configured) else {
        throw CheckpointError(
          .unknownLayout,
          "\(path): config.json says '\(configured.rawValue)', but the tensors look like "
            + "\(list(evidence)).")
      }
      return configured
    }
    guard let first = evidence.first else {
      if let suspect = suspiciousTensor() {
        throw CheckpointError(
          .unknownLayout,
          "\(path): tensor '\(suspect.info.name)' of \(suspect.info.dtype.rawValue) looks "
            + "quantized, but no known layout has its scales.")
      }
      return nil
    }
    guard evidence.count == 1 else {
      throw CheckpointError(
        .ambiguousLayout,
        "\(path): the tensors could be \(list(evidence)), and no config.json or metadata tells "
          + "which; name the layout with --from.")
    }
    return first
  }

  private func list(_ layouts: [Layout]) -> String {
    layouts.isEmpty
      ? "no known layout" : layouts.map { "'\($0.rawValue)'" }.joined(separator: " or ")
  }

  /// The layout that `config.json` names.
  private func configuredLayout(path: FilePath) throws -> Layout? {
    guard let configuration else { return nil }
    if let quantization = configuration["quantization_config"],
      let method = quantization["quant_method"]?.stringValue
    {
      switch method {
      case _ where method.hasPrefix("modelopt"): return .modelopt
      case "compressed-tensors": return .compressedTensors
      case "fp8": return .deepseek
      case "torchao": return .torchao
      case "mxfp4": return .gptOSS
      default:
        throw CheckpointError(
          .unknownLayout,
          "\(path): the quantization method '\(method)' of config.json is none of "
            + "\(Layout.allCases.map(\.rawValue).joined(separator: ", ")).")
      }
    }
    return configuration["quantization"]?["mode"] != nil ? .mlx : nil
  }

  /// The layouts that the names and types of the tensors speak for.
  private func evidence() -> [Layout] {
    if let recorded = ConversionRecord(metadata: metadata)?.layout { return [recorded] }
    if metadata["_quantization_metadata"] != nil { return [.comfy] }
    var found: Set<Layout> = []
    // What explains every tensor with a `weight_scale_2`.
    var nvfp4: Set<Layout>?
    for (name, entry) in collection.tensors {
      let info = entry.info
      if name.hasSuffix("._weight_qdata") { found.insert(.torchao) }
      if name.hasSuffix(".weight_packed") { found.insert(.compressedTensors) }
      if name.hasSuffix(".weight_scale_inv") { found.insert(.deepseek) }
      if name.hasSuffix("_blocks"), collection.tensors[name.dropLast(6) + "scales"] != nil {
        found.insert(.gptOSS)
      }
      if name.hasSuffix(".comfy_quant") { nvfp4 = [.comfy] }
      if name.hasSuffix(".scales"), info.dtype == .u8 { found.insert(.mlx) }
      if name.hasSuffix("weight_scale_2") {
        let layouts = nvfp4Evidence(name)
        let common = nvfp4.map(layouts.intersection) ?? layouts
        nvfp4 = common.isEmpty ? [.modelopt, .comfy] : common
      }
      if name.hasSuffix("weight_scale"),
        let codes = collection.tensors[String(name.dropLast("_scale".count))]?.info,
        codes.dtype == .f8E4M3 || codes.dtype == .f8E5M2
      {
        found.formUnion(float8Evidence(info, codes))
      }
    }
    found.formUnion(nvfp4 ?? [])
    return Layout.allCases.filter(found.contains)
  }

  /// Both ModelOpt and ComfyUI store `weight_scale_2`; the shape of the block scales tells them apart
  /// unless it needs no padding.
  private func nvfp4Evidence(_ name: String) -> Set<Layout> {
    let scaleName = String(name.dropLast("_2".count))
    let codesName = String(scaleName.dropLast("_scale".count))
    guard let scales = collection.tensors[scaleName]?.info.shape,
      let codes = collection.tensors[codesName]?.info.shape, scales.count == 2, codes.count == 2,
      // Of an empty tensor one dimension may be as large as it likes.
      codes.allSatisfy({ $0 > 0 })
    else { return [.modelopt] }
    let isLinear = scales == [codes[0], codes[1] / 8]
    let padded = SwizzledScales.tiles(rows: codes[0], columns: codes[1] / 8)
    let isSwizzled = scales == [padded.rows * 128, padded.columns * 4]
    // A Hugging Face export says so in its metadata or has its own configuration file.
    if isLinear, isSwizzled, configuration == nil, metadata["format"] != "pt" {
      return [.modelopt, .comfy]
    }
    return isLinear ? [.modelopt] : [.comfy]
  }

  private func float8Evidence(_ scales: TensorInfo, _ codes: TensorInfo) -> Set<Layout> {
    // Identical bytes under identical names: either reading is right.
    if scales.dtype == .u8 {
      return configuration == nil ? [.compressedTensors] : [.modelopt, .compressedTensors]
    }
    if configuration != nil { return [.modelopt, .compressedTensors] }
    if scales.shape.isEmpty || scales.shape.count == 4 { return [.modelopt] }
    if scales.shape.count == 1, scales.shape != [1] { return [.modelopt] }
    return [.compressedTensors]
  }

  /// A tensor of codes that no layout accounts for.
  private func suspiciousTensor() -> TensorCollection.Entry? {
    collection.tensors.values.first {
      switch $0.info.dtype {
      case .f8E4M3, .f8E5M2, .f4, .f6E2M3, .f6E3M2, .f8E4M3FNUZ, .f8E5M2FNUZ: true
      default: false
      }
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import BlockScale
import OrderedCollections
import Safetensors
import SystemPackage

/// Puts the block-scaled tensors of a checkpoint together from their parts.
struct LayoutReader {
  let collection: TensorCollection
  let configuration: JSONValue?
  let metadata: OrderedDictionary<String, String>

  /// The stored tensor of a name.
  func tensor(_ name: String) -> StoredTensor? {
    collection.tensors[name].map {
      StoredTensor(
        info: $0.info, file: collection.file(of: $0), fileIndex: $0.fileIndex)
    }
  }

  /// The parameters in the order of their first part.
  ///
  /// - Throws: ``CheckpointError`` if parts are missing or do not fit.
  mutating func parameters(
    in layout: Layout?
  ) throws -> OrderedDictionary<String, Parameter> {
    var quantized: OrderedDictionary<String, QuantizedTensor> = [:]
    var taken: [String: String] = [:]  // part → parameter
    if let layout {
      for name in collection.tensors.keys {
        guard let tensor = try quantizedTensor(codesNamed: name, in: layout) else { continue }
        if quantized[tensor.name] != nil {
          throw CheckpointError(
            .malformedTensor, "\(tensor.codes.place) gives parameter '\(tensor.name)' twice.")
        }
        quantized[tensor.name] = tensor
        for part in [tensor.codes, tensor.scales] + (tensor.tensorScale.map { [$0] } ?? [])
          + tensor.companions
        {
          taken[part.info.name] = tensor.name
        }
      }
      guard !quantized.isEmpty else {
        throw CheckpointError(
          .unknownLayout,
          "\(collection.folder): no tensor is stored in the layout '\(layout.rawValue)'.")
      }
    }
    var result: OrderedDictionary<String, Parameter> = [:]
    for name in collection.tensors.keys {
      if let owner = taken[name] {
        if result[owner] == nil, let tensor = quantized[owner] {
          result[owner] = .quantized(tensor)
        }
      } else if let plain = tensor(name) {
        if quantized[name] != nil {
          throw CheckpointError(
            .malformedTensor, "\(plain.place) is stored plain and quantized at once.")
        }
        result[name] = .plain(plain)
      }
    }
    return result
  }

  /// The block-scaled tensor whose codes have a name, or nil if that name belongs to no codes.
  private func quantizedTensor(
    codesNamed name: String, in layout: Layout
  ) throws -> QuantizedTensor? {
    guard let codes = tensor(name) else { return nil }
    switch layout {
    case .modelopt: return try modelopt(codes)
    case .compressedTensors: return try compressedTensors(codes)
    case .deepseek: return try deepseek(codes)
    case .torchao: return try torchao(codes)
    case .mlx: return try mlx(codes)
    case .gptOSS: return try gptOSS(codes)
    case .comfy: return try comfy(codes)
    }
  }
}

// MARK: - One function a layout

extension LayoutReader {
  // Source: Model-Optimizer:modelopt/torch/export/unified_export_hf.py, quant_utils.py
  private func modelopt(_ codes: StoredTensor) throws -> QuantizedTensor? {
    let name = codes.info.name
    // A parameter that is no `weight` keeps its name, and its scales carry it: fused experts.
    let prefix = name.hasSuffix(".weight") ? String(name.dropLast("weight".count)) : "\(name)_"
    guard let scales = tensor("\(prefix)weight_scale"), codes.info.dtype.isCodes else { return nil }
    let second = tensor("\(prefix)weight_scale_2")
    let companions = ["input_scale", "pre_quant_scale"].compactMap { tensor(prefix + $0) }
    if !name.hasSuffix(".weight"), codes.info.shape.count == 3 {
      return try stackedTransposed(codes, scales, second, companions)
    }
    return try weight(
      named: name, codes, scales, second, scaleVectorIsRows: true, companions: companions)
  }

  /// ModelOpt stores fused experts as [experts, inputs, outputs], packed along the inputs.
  private func stackedTransposed(
    _ codes: StoredTensor, _ scales: StoredTensor, _ second: StoredTensor?,
    _ companions: [StoredTensor]
  ) throws -> QuantizedTensor? {
    let shape = codes.info.shape
    try requireValues(codes)
    guard codes.info.dtype == .u8 else {
      throw CheckpointError(
        .unsupported,
        "\(codes.place): fused experts of \(codes.info.dtype.rawValue) are not supported, "
          + "only those of NVFP4.")
    }
    var result = QuantizedTensor(
      name: codes.info.name, scheme: .nvfp4, element: .e2m1, scaleFormat: .e4m3,
      blocking: Scheme.nvfp4.blocking, matrices: shape[0], rows: shape[2], columns: shape[1] * 2,
      codes: codes, scales: scales, tensorScale: second, companions: companions)
    result.isStoredTransposed = true
    try require(scales, .f8E4M3, [shape[0], result.grid.columns, shape[2]])
    return result
  }

  // Source: compressed-tensors:src/compressed_tensors/compressors
  private func compressedTensors(_ codes: StoredTensor) throws -> QuantizedTensor? {
    let name = codes.info.name
    let isPacked = name.hasSuffix(".weight_packed")
    guard isPacked || name.hasSuffix(".weight") else { return nil }
    let module = String(name.dropLast(isPacked ? "weight_packed".count : "weight".count))
    guard codes.info.dtype.isCodes, let scales = tensor("\(module)weight_scale") else { return nil }
    let global = tensor("\(module)weight_global_scale")
    let companions = ["input_scale", "input_global_scale", "weight_shape"].compactMap {
      tensor(module + $0)
    }
    var result = try weight(
      named: "\(module)weight", codes, scales, global, scaleVectorIsRows: false,
      companions: companions)
    result.tensorScaleIsDivisor = true
    return result
  }

  // Source: DeepSeek-V3:inference/convert.py
  private func deepseek(_ codes: StoredTensor) throws -> QuantizedTensor? {
    let name = codes.info.name
    guard name.hasSuffix(".weight"), codes.info.dtype.isCodes,
      let scales = tensor("\(name)_scale_inv")
    else { return nil }
    let result = try weight(
      named: name, codes, scales, nil, scaleVectorIsRows: false, companions: [])
    guard result.scheme == .fp8Block else {
      throw CheckpointError(
        .malformedTensor,
        "\(scales.place) has the shape \(scales.info.shape), "
          + "which is no grid of 128x128 blocks of \(result.shape).")
    }
    return result
  }

  // Source: ao:torchao/prototype/safetensors
  private func torchao(_ codes: StoredTensor) throws -> QuantizedTensor? {
    let name = codes.info.name
    guard name.hasSuffix("._weight_qdata") else { return nil }
    guard codes.info.dtype.isCodes else {
      throw CheckpointError(
        .malformedTensor, "\(codes.place) holds \(codes.info.dtype.rawValue), which is no code.")
    }
    let module = String(name.dropLast("_weight_qdata".count))
    guard let scales = tensor("\(module)_weight_scale") else {
      throw missing("\(module)_weight_scale", for: codes)
    }
    let text = metadata["\(module)weight"] ?? ""
    let description = try? JSONValue.parse(Array(text.utf8))
    let isSwizzled = description?["_data"]?["is_swizzled_scales"]?.boolValue ?? false
    return try weight(
      named: "\(module)weight", codes, scales, tensor("\(module)_weight_per_tensor_scale"),
      scaleVectorIsRows: false, isSwizzled: isSwizzled,
      companions: ["_weight_act_per_tensor_scale"].compactMap { tensor(module + $0) })
  }

  // Source: mlx-lm:mlx_lm/utils.py
  private func mlx(_ codes: StoredTensor) throws -> QuantizedTensor? {
    let name = codes.info.name
    guard name.hasSuffix(".weight"), codes.info.dtype == .u32 else { return nil }
    let module = String(name.dropLast("weight".count))
    guard let scales = tensor("\(module)scales") else { return nil }
    if tensor("\(module)biases") != nil || scales.info.dtype != .u8 {
      throw CheckpointError(
        .unsupported,
        "\(codes.place) is quantized to integers (MLX's affine mode), which is no block-scaled "
          + "floating-point format.")
    }
    let shape = codes.info.shape
    try requireValues(codes)
    guard shape.count >= 2, shape.count <= 3, scales.info.shape.dropLast() == shape.dropLast(),
      let words = shape.last, let blocks = scales.info.shape.last, blocks > 0
    else { throw mismatch(codes, scales) }
    // The three modes differ in how many bytes of codes a scale covers: 8, 16 or 32.
    let scheme: Scheme
    switch (words * 4).quotientAndRemainder(dividingBy: blocks) {
    case (8, 0): scheme = .nvfp4
    case (16, 0): scheme = .mxfp4
    case (32, 0): scheme = .mxfp8
    default: throw mismatch(codes, scales)
    }
    return QuantizedTensor(
      name: name, scheme: scheme, element: scheme.elementFormat,
      scaleFormat: scheme == .nvfp4 ? .e4m3 : .e8m0, blocking: scheme.blocking,
      matrices: shape.count == 3 ? shape[0] : 1, rows: shape[shape.count - 2],
      columns: words * 32 / scheme.elementFormat.bitWidth, codes: codes, scales: scales)
  }

  // Source: transformers:src/transformers/integrations/mxfp4.py
  private func gptOSS(_ codes: StoredTensor) throws -> QuantizedTensor? {
    let name = codes.info.name
    guard name.hasSuffix("_blocks"), codes.info.dtype == .u8 else { return nil }
    let parameter = String(name.dropLast("_blocks".count))
    guard let scales = tensor("\(parameter)_scales") else {
      throw missing("\(parameter)_scales", for: codes)
    }
    let shape = codes.info.shape
    try requireValues(codes)
    guard shape.count == 4, shape[3] == 16 else {
      throw CheckpointError(
        .malformedTensor,
        "\(codes.place) has the shape \(shape), not [experts, rows, blocks, 16].")
    }
    try require(scales, .u8, Array(shape.prefix(3)))
    return QuantizedTensor(
      name: parameter, scheme: .mxfp4, element: .e2m1, scaleFormat: .e8m0,
      blocking: Scheme.mxfp4.blocking, matrices: shape[0], rows: shape[1], columns: shape[2] * 32,
      codes: codes, scales: scales)
  }

  // Source: ComfyUI:comfy/quant_ops.py; comfy-kitchen. Rows and columns are padded to multiples of 16,
  // and their original extents are not recorded, so the padding is part of the matrix.
  private func comfy(_ codes: StoredTensor) throws -> QuantizedTensor? {
    let name = codes.info.name
    guard name.hasSuffix(".weight"), codes.info.dtype == .u8 else { return nil }
    let module = String(name.dropLast("weight".count))
    guard let scales = tensor("\(module)weight_scale"),
      let second = tensor("\(module)weight_scale_2")
    else { return nil }
    var result = try weight(
      named: name, codes, scales, second, scaleVectorIsRows: false, isSwizzled: true,
      companions: ["input_scale", "pre_quant_scale", "comfy_quant"].compactMap {
        tensor(module + $0)
      })
    result.highNibbleFirst = true
    return result
  }
}

// MARK: - Shapes

extension LayoutReader {
  /// A weight whose scheme follows from the types and shapes of its parts.
  ///
  /// - Parameter scaleVectorIsRows: Whether a one-dimensional scale holds one number a row.
  private func weight(
    named name: String, _ codes: StoredTensor, _ scales: StoredTensor, _ second: StoredTensor?,
    scaleVectorIsRows: Bool, isSwizzled: Bool = false, companions: [StoredTensor]
  ) throws -> QuantizedTensor {
    let shape = codes.info.shape
    guard shape.count == 2 || shape.count == 3, shape.allSatisfy({ $0 > 0 }) else {
      throw CheckpointError(
        .malformedTensor, "\(codes.place) has the shape \(shape), which is no matrix.")
    }
    let isPacked = codes.info.dtype == .u8
    let rows = shape[shape.count - 2]
    let columns = shape[shape.count - 1] * (isPacked ? 2 : 1)
    guard let scaleFormat = scales.info.dtype.scaleFormat(isPacked: isPacked) else {
      throw CheckpointError(
        .malformedTensor,
        "\(scales.place) holds \(scales.info.dtype.rawValue), which is no scale of "
          + "\(codes.info.dtype.rawValue) codes.")
    }
    var result = QuantizedTensor(
      name: name, scheme: nil,
      element: isPacked ? .e2m1 : codes.info.dtype == .f8E5M2 ? .e5m2 : .e4m3,
      scaleFormat: scaleFormat, blocking: .tensor, matrices: shape.count == 3 ? shape[0] : 1,
      rows: rows, columns: columns, codes: codes, scales: scales, tensorScale: second,
      companions: companions)
    result.scalesAreSwizzled = isSwizzled
    switch (result.element, scaleFormat) {
    case (.e2m1, .e4m3): result.scheme = .nvfp4
    case (.e2m1, _): result.scheme = .mxfp4
    case (_, .e8m0): result.scheme = .mxfp8
    default:
      // Only the byte scales of small blocks are ever swizzled.
      result.scalesAreSwizzled = false
      try findFloat8Blocking(&result, scaleVectorIsRows: scaleVectorIsRows)
      return result
    }
    result.blocking = result.scheme?.blocking ?? .tensor
    // No producer packs part of a block.
    if isPacked, columns % result.blocking.columns != 0 { throw mismatch(codes, scales) }
    let grid = result.grid
    let expected: [Int]
    if isSwizzled {
      let bytes = SwizzledScales.byteCount(rows: grid.rows, columns: grid.columns)
      guard scales.info.elementCount == bytes * result.matrices else {
        throw mismatch(codes, scales)
      }
      expected = scales.info.shape
    } else {
      expected = Array(shape.dropLast(2)) + [grid.rows, grid.columns]
    }
    guard scales.info.shape == expected else { throw mismatch(codes, scales) }
    if let second, second.info.dtype != .f32 || second.info.elementCount != 1 {
      throw CheckpointError(
        .malformedTensor,
        "\(second.place) should be one F32 number, not \(second.info.dtype.rawValue) of shape "
          + "\(second.info.shape).")
    }
    return result
  }

  /// FP8 scales tell their blocks by their shape alone.
  private func findFloat8Blocking(
    _ tensor: inout QuantizedTensor, scaleVectorIsRows: Bool
  ) throws {
    let shape = tensor.scales.info.shape
    // ModelOpt keeps dimensions of one between the block dimensions.
    let squeezed =
      shape.count == 4 && shape[1] == 1 && shape[3] == 1 ? [shape[0], shape[2]] : shape
    let blocks = Blocking(rows: 128, columns: 128)
    let grid = blocks.grid(rows: tensor.rows, columns: tensor.columns)
    if tensor.matrices == 1 {
      if tensor.scales.info.elementCount == 1,
        squeezed != [1, 1] || (grid.rows, grid.columns) != (1, 1)
          || configuredBlockSize == nil
      {
        tensor.scheme = .fp8Tensor
        tensor.blocking = .tensor
        return
      }
      if squeezed == [grid.rows, grid.columns] {
        tensor.scheme = .fp8Block
        tensor.blocking = blocks
        return
      }
      if squeezed == [tensor.rows, 1] || scaleVectorIsRows && squeezed == [tensor.rows] {
        tensor.scheme = .fp8Row
        tensor.blocking = .row
        return
      }
      let rowGroups = Blocking(rows: 1, columns: 128)
      if squeezed == [tensor.rows, rowGroups.grid(rows: 1, columns: tensor.columns).columns] {
        tensor.blocking = rowGroups
        return
      }
    }
    throw mismatch(tensor.codes, tensor.scales)
  }

  /// The block size that the configuration names, which tells one block from one tensor.
  private var configuredBlockSize: [Int]? {
    let quantization = configuration?["quantization_config"]
    if let size = quantization?["weight_block_size"]?.arrayValue {
      return size.compactMap(\.intValue)
    }
    if let groups = quantization?["config_groups"]?.objectValue {
      for group in groups.values {
        if let size = group["weights"]?["block_structure"]?.arrayValue {
          return size.compactMap(\.intValue)
        }
      }
    }
    let algorithm = quantization?["quant_algo"]?.stringValue?.uppercased()
    if algorithm == "FP8_PB_WO" { return [128, 128] }
    return collection.tensors.keys.contains { $0.hasSuffix(".weight_scale_inv") }
      ? [128, 128] : nil
  }

  /// Refuses codes without elements, of whose dimensions some may be as large as they like.
  private func requireValues(_ codes: StoredTensor) throws {
    guard codes.info.elementCount > 0 else {
      throw CheckpointError(
        .malformedTensor, "\(codes.place) has the shape \(codes.info.shape), which is empty.")
    }
  }

  private func require(_ tensor: StoredTensor, _ dtype: DType, _ shape: [Int]) throws {
    guard tensor.info.dtype == dtype, tensor.info.shape == shape else {
      throw CheckpointError(
        .malformedTensor,
        "\(tensor.place) should be \(dtype.rawValue) of shape \(shape), not "
          + "\(tensor.info.dtype.rawValue) of shape \(tensor.info.shape).")
    }
  }

  private func missing(_ name: String, for codes: StoredTensor) -> CheckpointError {
    CheckpointError(.malformedTensor, "\(codes.place) lacks its scales '\(name)'.")
  }

  private func mismatch(_ codes: StoredTensor, _ scales: StoredTensor) -> CheckpointError {
    CheckpointError(
      .malformedTensor,
      "\(scales.place) has the shape \(scales.info.shape), which fits no blocks of codes of shape "
        + "\(codes.info.shape).")
  }
}

extension DType {
  /// Whether the type can hold codes.
  var isCodes: Bool {
    switch self {
    case .u8, .f8E4M3, .f8E5M2: true
    default: false
    }
  }

  /// The scale format that the type stores beside packed 4-bit or 8-bit codes.
  func scaleFormat(isPacked: Bool) -> ScaleFormat? {
    switch self {
    case .u8, .f8E8M0: .e8m0
    case .f8E4M3: isPacked ? .e4m3 : nil
    case .f32: isPacked ? nil : .float32
    case .bf16: isPacked ? nil : .bfloat16
    case .f16: isPacked ? nil : .float16
    default: nil
    }
  }
}

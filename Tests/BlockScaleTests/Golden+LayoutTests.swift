// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import Safetensors
import Testing
import _BlockScaleTestSupport

extension GoldenTests {
  /// ggml packs the codes j and j + 16 of a block into one byte, after the block's scale.
  @Test(arguments: files)
  func matchesGGML(file: String) throws {
    let vectors = try Vectors(file)
    let test = GoldenCase(key: "gguf_mxfp4", formats: .mxfp4, recipe: .ggml)
    for dtype in Self.dtypes where vectors["\(dtype).gguf_mxfp4.blocks"] != nil {
      let result = try Stored.quantized(vectors, dtype, test)
      var blocks: [UInt8] = []
      for (block, scale) in result.scales.enumerated() {
        let codes = (0..<32).map { index -> UInt8 in
          let byte = result.codes[block * 16 + index / 2]
          return index % 2 == 0 ? byte & 0x0F : byte >> 4
        }
        blocks.append(scale)
        blocks += (0..<16).map { codes[$0] | codes[$0 + 16] << 4 }
      }
      #expect(differences(blocks, try vectors.bytes("\(dtype).gguf_mxfp4.blocks")) == 0, "\(dtype)")
    }
  }

  /// ComfyUI pads to whole tiles, swizzles the scales and, for FP4, puts the even column in the
  /// high half of a byte.
  @Test(arguments: ["comfy_nvfp4", "comfy_mxfp8"], files)
  func matchesComfy(key: String, file: String) throws {
    let vectors = try Vectors(file)
    let isNVFP4 = key == "comfy_nvfp4"
    for dtype in Self.dtypes {
      guard let padded = vectors["\(dtype).\(key).weight"]?.shape,
        let shape = vectors["\(dtype).input"]?.shape
      else { continue }
      // MX pads the values of an odd block before it is quantized; those are compared where the
      // columns are whole blocks.
      let block = isNVFP4 ? 16 : 32
      guard shape[1] % block == 0 else { continue }
      let result = try Stored.quantized(
        vectors, dtype,
        GoldenCase(key: key, formats: isNVFP4 ? .nvfp4 : .mxfp8, recipe: .comfy))
      var codes: [UInt8] = []
      let rowBytes = isNVFP4 ? shape[1] / 2 : shape[1]
      for row in 0..<padded[0] {
        let stored =
          row < shape[0] ? Array(result.codes[row * rowBytes..<(row + 1) * rowBytes]) : []
        codes += stored.map { isNVFP4 ? $0 << 4 | $0 >> 4 : $0 }
        codes += repeatElement(0, count: padded[1] - stored.count)
      }
      let scales = try SwizzledScales(
        linear: result.scales, rows: shape[0], columns: shape[1] / block)
      var goldenCodes = try vectors.bytes("\(dtype).\(key).weight")
      var goldenScales = try vectors.bytes("\(dtype).\(key).weight_scale")
      if isNVFP4 {
        var tensorScale = try vectors.floats("\(dtype).comfy_nvfp4.weight_scale_2")[0]
        if tensorScale == 0 {
          // Zero over zero: the producer stores NaN for a tensor of zeros, we keep zeros.
          #expect(goldenScales.allSatisfy { $0 == 0xFF || $0 == 0 })
          tensorScale = 1
          goldenCodes = codes.map { _ in 0 }
          goldenScales = scales.bytes.map { _ in 0 }
        }
        #expect(result.tensorScale == TensorScale(tensorScale), "\(dtype)")
      }
      #expect(differences(codes, goldenCodes) == 0, "\(dtype) codes")
      #expect(differences(scales.bytes, goldenScales) == 0, "\(dtype) scales")
    }
  }

  @Test func matchesSeedNVFP4() throws {
    let vectors = try Vectors("seed_nvfp4_256x512.safetensors")
    let (matrix, _) = try NVFP4Matrix.quantized(
      vectors.bfloats("input"), rows: 256, columns: 512, recipe: .seed)
    #expect(differences(matrix.codes, try vectors.bytes("packed")) == 0)
    #expect(differences(matrix.scales.map(\.bitPattern), try vectors.bytes("scale")) == 0)
    #expect([matrix.tensorScale?.value] == (try vectors.floats("scale_2")))
    let dequantized = matrix.dequantized().map { BFloat16($0).bitPattern }
    #expect(dequantized == (try vectors.integers("dequantized_bf16", as: UInt16.self)))
    let swizzled = try SwizzledScales(
      linear: matrix.scales.map(\.bitPattern), rows: 256, columns: 32)
    #expect(swizzled.tritonShape == [1, 2, 8, 2, 256])
    #expect(swizzled.bytes == (try vectors.bytes("scale_triton_5d")))
    #expect(swizzled.linear == matrix.scales.map(\.bitPattern))
  }

  @Test(arguments: ["bf16", "f32"], files)
  func matchesTorchaoSwizzle(dtype: String, file: String) throws {
    let vectors = try Vectors(file)
    guard let shape = vectors["\(dtype).torchao.scale"]?.shape else { return }
    let linear = try vectors.bytes("\(dtype).torchao.scale")
    let swizzled = try SwizzledScales(linear: linear, rows: shape[0], columns: shape[1])
    #expect(swizzled.bytes == (try vectors.bytes("\(dtype).torchao.scale_blocked")))
    #expect(swizzled.hasZeroPadding)
    #expect(swizzled.linear == linear)
  }
}

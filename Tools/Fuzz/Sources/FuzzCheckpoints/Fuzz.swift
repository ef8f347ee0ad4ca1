// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Checkpoints
import Foundation
import OrderedCollections
import Safetensors
import SystemPackage

// libFuzzer's own main function does not fit into SwiftPM, which renames that of an executable.
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
  _ count: UnsafeMutablePointer<CInt>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
  _ test: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

@main
enum Fuzzer {
  static func main() {
    var count = CommandLine.argc
    // libFuzzer may reorder the arguments, whose storage lives as long as the process.
    var arguments = unsafe CommandLine.unsafeArgv
    unsafe _ = runDriver(&count, &arguments) { unsafe fuzz($0, $1) }
  }
}

/// What `config.json` may say; a model's folder is made for each.
private let configurations = [
  "{}", #"{"quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8_PB_WO"}}"#,
  #"{"quantization_config": {"quant_method": "compressed-tensors"}}"#,
  #"{"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}"#,
  #"{"quantization_config": {"quant_method": "torchao"}}"#,
  #"{"quantization_config": {"quant_method": "mxfp4"}}"#, #"{"quantization": {"mode": "nvfp4"}}"#,
]

private let folders: [FilePath] = configurations.enumerated().map { index, text in
  let root = FileManager.default.fileExists(atPath: "/dev/shm") ? "/dev/shm" : "/tmp"
  let path = "\(root)/fuzz-checkpoints-\(ProcessInfo.processInfo.processIdentifier)/\(index)"
  try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  try? text.write(toFile: "\(path)/config.json", atomically: false, encoding: .utf8)
  return FilePath(path)
}

/// The names of parts in all layouts, and of partners.
private let suffixes = [
  ".weight", ".weight_scale", ".weight_scale_2", ".weight_packed", ".weight_global_scale",
  ".weight_scale_inv", "._weight_qdata", "._weight_scale", "._weight_per_tensor_scale", ".scales",
  ".biases", "_blocks", "_scales", ".comfy_quant", ".input_scale", ".pre_quant_scale",
  ".input_global_scale", ".weight_shape", "", "_weight_scale", "_weight_scale_2",
]
private let modules = ["l.q_proj", "l.k_proj", "l.experts.up_proj", "a"]
private let dimensions = [
  0, 1, 2, 3, 4, 5, 8, 10, 12, 16, 20, 32, 64, 127, 128, 129, 144, 256, 1 << 32, 1 << 58, 1 << 60,
  1 << 61, 1 << 62, Int.max,
]

/// The bytes of an input, one after the other; zeros after its end.
private struct Choices {
  var bytes: ArraySlice<UInt8>

  mutating func next() -> Int { Int(bytes.popFirst() ?? 0) }
  mutating func pick<Element>(_ list: [Element]) -> Element { list[next() % list.count] }
}

/// One input: a file whose tensors the bytes describe, in a folder and as a layout that they choose.
///
/// Opening and checking may throw, with a sentence; they must not trap.
private func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  // libFuzzer keeps the bytes for the length of this call.
  var choices = Choices(bytes: unsafe Array(UnsafeBufferPointer(start: start, count: count))[...])
  let folder = choices.pick(folders)
  let usesFile = choices.next() & 1 == 1
  let target = choices.pick(Layout.allCases)
  let layout = choices.pick([Layout?.none, nil, nil] + Layout.allCases)
  var metadata: OrderedDictionary<String, String> = [:]
  switch choices.next() % 5 {
  case 1: metadata = ["format": "pt"]
  case 2: metadata = ["_quantization_metadata": "{}"]
  case 3: metadata = ["a.weight": #"{"_data": {"is_swizzled_scales": true}}"#]
  default: break
  }
  var tensors: [SafetensorsFile.Contents] = []
  while !choices.bytes.isEmpty, tensors.count < 8 {
    let name = choices.pick(modules) + choices.pick(suffixes)
    let dtype = choices.pick(DType.allCases)
    let shape = (0..<choices.next() % 6).map { _ in choices.pick(dimensions) }
    let fill = UInt8(choices.next())
    guard let size = try? TensorInfo.byteCount(of: dtype, shape: shape), size <= 1 << 16 else {
      continue
    }
    tensors.append((name, dtype, shape, Array(repeating: fill, count: size)))
  }
  let path = folder.appending("model.safetensors")
  do {
    try SafetensorsFile.write(tensors, metadata: metadata, to: path)
    let checkpoint = try Checkpoint(path: usesFile ? path : folder, layout: layout)
    _ = try Inspection(checkpoint)
    _ = try Verification(checkpoint, against: checkpoint, jobs: 1)
    _ = try Comparison(reference: checkpoint, candidate: checkpoint, jobs: 1)
    try convert(checkpoint, to: target, at: FilePath("\(folder).out"))
  } catch {
    let text = "\(error)"
    precondition(text.hasSuffix(".") && text.unicodeScalars.allSatisfy { $0.value >= 0x20 }, text)
  }
  return 0
}

/// What was opened can be decoded and moved, or is refused.
private func convert(_ checkpoint: Checkpoint, to layout: Layout, at path: FilePath) throws {
  guard checkpoint.layout != nil else { return }
  let converter = Converter(jobs: 1, overwrite: true)
  try? FileManager.default.removeItem(atPath: path.string)
  _ = try converter.dequantize(checkpoint, to: path, as: .bfloat16)
  try? FileManager.default.removeItem(atPath: path.string)
  _ = try converter.convert(checkpoint, to: path, layout: layout)
  // What was written is recognized and decodes.
  let written = try Checkpoint(path: path)
  precondition(written.layout == layout)
  _ = try Verification(written, jobs: 1)
}

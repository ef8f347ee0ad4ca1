// SPDX-License-Identifier: Apache-2.0

import OrderedCollections

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

/// One input: the first byte picks a parser, the rest is for that parser.
///
/// A parser may throw. What it accepts must survive being written and parsed again, or this traps.
private func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  // libFuzzer keeps the bytes for the length of this call.
  let input = unsafe Array(UnsafeBufferPointer(start: start, count: count))
  guard let mode = input.first else { return 0 }
  let rest = Array(input.dropFirst())
  switch mode % 4 {
  case 0: fuzzFile(rest)
  case 1: fuzzHeader(rest)
  case 2: fuzzJSON(rest)
  default: fuzzIndex(rest)
  }
  return 0
}

/// The bytes as they stand, with a file size that they choose.
private func fuzzFile(_ input: [UInt8]) {
  let extra = Int(input.last ?? 0) - 16
  check(input, fileByteCount: input.count + extra)
}

/// The bytes as a header with its right length, before as much data as the first two bytes say.
private func fuzzHeader(_ input: [UInt8]) {
  guard input.count >= 2 else { return }
  let dataByteCount = Int(input[0]) | Int(input[1]) << 8
  let header = Array(input.dropFirst(2))
  let prefix = (0..<8).map { UInt8(truncatingIfNeeded: header.count >> (8 * $0)) }
  check(prefix + header, fileByteCount: 8 + header.count + dataByteCount)
}

private func check(_ bytes: [UInt8], fileByteCount: Int) {
  do {
    let header = try SafetensorsHeader(
      parsing: bytes, fileByteCount: fileByteCount, path: "fuzz.safetensors")
    // The tensors cover the data section, in order.
    var end = 0
    for info in header.tensors.values {
      precondition(info.byteRange.lowerBound == end)
      end = info.byteRange.upperBound
    }
    precondition(end == header.dataByteCount && header.fileByteCount == fileByteCount)

    let encoded = header.encoded()
    let again = try SafetensorsHeader(
      parsing: encoded, fileByteCount: encoded.count + end, path: "again.safetensors")
    precondition(again.tensors == header.tensors && again.metadata == header.metadata)
    let laidOut = try SafetensorsHeader(
      tensors: header.tensors.values.map { ($0.name, $0.dtype, $0.shape) },
      metadata: header.metadata)
    precondition(laidOut == again)
  } catch {
    checkSentence(error)
  }
}

private func fuzzJSON(_ input: [UInt8]) {
  do {
    let value = try JSONValue.parse(input, maximumDepth: 100)
    for layout in [JSONValue.Layout.compact, .pretty] {
      let again = try? JSONValue.parse(value.renderedBytes(layout), maximumDepth: 100)
      precondition(again == value)
    }
  } catch {
    precondition(error.offset >= 0 && error.offset <= input.count)
  }
}

private func fuzzIndex(_ input: [UInt8]) {
  do {
    let index = try ShardedIndex(parsing: input, path: "fuzz.index.json")
    for shard in index.shardNames {
      precondition(!shard.isEmpty && shard.utf8.first != UInt8(ascii: "/"))
      let components = shard.utf8.split(separator: UInt8(ascii: "/"))
      precondition(!components.contains { $0.elementsEqual("..".utf8) })
    }
    let again = try ShardedIndex(parsing: index.encoded(), path: "again.index.json")
    precondition(again.weightMap == index.weightMap && again.metadata == index.metadata)
  } catch {
    checkSentence(error)
  }
}

private func checkSentence(_ error: SafetensorsError) {
  let text = error.description
  // An error about the first parse: what was accepted once must not be rejected again.
  precondition(text.hasPrefix("fuzz.") && text.hasSuffix("."), text)
  precondition(text.unicodeScalars.allSatisfy { $0.value >= 0x20 }, text)
}

// SPDX-License-Identifier: Apache-2.0

import OrderedCollections
import Safetensors
import SystemPackage
import Testing

#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

@Suite struct SafetensorsFileTests {
  let folder: TemporaryFolder

  init() throws {
    folder = try TemporaryFolder()
  }

  private func openFailure(_ path: FilePath) -> SafetensorsError? {
    #expect(throws: SafetensorsError.self) { try SafetensorsFile(path: path) }
  }

  @Test func rejectsAMissingFile() {
    let path = folder.file("none.safetensors")
    let error = openFailure(path)
    #expect(error?.code == .systemCallFailed)
    #expect(error?.errno == .noSuchFileOrDirectory)
    #expect(
      error?.description == "\(path): the file cannot be opened: No such file or directory.")
  }

  @Test func rejectsAnEmptyFile() throws {
    let path = try folder.write([], to: "empty.safetensors")
    let error = openFailure(path)
    #expect(error?.code == .truncatedHeader)
    #expect(
      error?.description
        == "\(path): the file has 0 bytes, fewer than the 8 of a header's length.")
  }

  @Test func rejectsAFolder() {
    let error = openFailure(folder.path)
    #expect(error?.code == .notARegularFile)
    #expect(error?.description == "\(folder.path): this is no regular file.")
  }

  @Test func rejectsANamedPipeWithoutWaiting() {
    let path = folder.file("pipe")
    // The path's C string lives for the call.
    #expect(unsafe path.withPlatformString { unsafe mkfifo($0, 0o600) } == 0)
    #expect(openFailure(path)?.code == .notARegularFile)
  }

  @Test func rejectsTruncatedData() throws {
    try SafetensorsFile.write([("a", .u8, [9], Array(0..<9))], to: folder.file("x.safetensors"))
    let bytes = try folder.read("x.safetensors")
    let path = try folder.write(bytes.dropLast(), to: "y.safetensors")
    #expect(
      openFailure(path)?.description
        == "\(path): tensor 'a' ends at data offset 9, past the 8 bytes of data that the file "
        + "holds.")
  }

  @Test func namesAMissingTensor() throws {
    try SafetensorsFile.write([], to: folder.file("x.safetensors"))
    let file = try SafetensorsFile(path: folder.file("x.safetensors"))
    let error = #expect(throws: SafetensorsError.self) { try file.tensor(named: "a") }
    #expect(error?.code == .tensorNotFound)
    #expect(error?.description == "\(file.path): there is no tensor 'a'.")
  }

  @Test func readsEmptyTensors() throws {
    let path = folder.file("x.safetensors")
    try SafetensorsFile.write([("a", .f32, [0], []), ("b", .f32, [0, 7], [])], to: path)
    let file = try SafetensorsFile(path: path)
    let info = try file.tensor(named: "b")
    #expect(file.withBytes(of: info) { $0.byteCount } == 0)
    file.discard(of: info)
    file.prefetch(of: info)
  }

  @Test func passesTheClosuresErrorOn() throws {
    struct Failure: Error {}
    let path = folder.file("x.safetensors")
    try SafetensorsFile.write([("a", .u8, [1], [1])], to: path)
    let file = try SafetensorsFile(path: path)
    let info = try file.tensor(named: "a")
    #expect(throws: Failure.self) {
      try file.withBytes(of: info) { _ throws(Failure) in throw Failure() }
    }
  }

  @Test func discardedPagesReadBack() throws {
    let path = folder.file("x.safetensors")
    let data = (0..<1_000_003).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    try SafetensorsFile.write(
      [("p", .u8, [5], [1, 2, 3, 4, 5]), ("a", .u8, [1_000_003], data)],
      to: path)
    let file = try SafetensorsFile(path: path)
    let info = try file.tensor(named: "a")
    for range in [0..<1_000_003, 0..<1, 4095..<4097, 999_999..<1_000_003, 77..<500_000] {
      #expect(try bytes(of: "a", in: file) == data)
      file.discard(range, of: info)
      file.prefetch(range, of: info)
      #expect(try bytes(of: "a", in: file) == data)
    }
    file.discard(of: info)
    #expect(try bytes(of: "a", in: file) == data)
    #expect(try bytes(of: "p", in: file) == [1, 2, 3, 4, 5])
  }

  #if os(Linux)
    @Test func discardingBoundsResidentMemory() throws {
      let path = folder.file("big.safetensors")
      let size = 64 << 20
      let header = try SafetensorsHeader(tensors: [("a", .u8, [size])])
      let writer = try SafetensorsWriter(path: path, header: header)
      try writer.markWritten(of: header.tensors.values[0])
      try writer.finish()
      let file = try SafetensorsFile(path: path)
      let info = try file.tensor(named: "a")
      func residentPages() throws -> Int {
        // The mapping's own pages are counted, so other tests' memory does not matter.
        try residentByteCount(ofMapping: path.string)
      }
      let step = 1 << 20
      var most = 0
      for lower in stride(from: 0, to: size, by: step) {
        let sum = file.withBytes(of: info) { span in
          // The pointer stays inside of the closure.
          unsafe span.withUnsafeBytes {
            unsafe $0[lower..<lower + step].reduce(0) { $0 &+ Int($1) }
          }
        }
        #expect(sum == 0)
        most = max(most, try residentPages())
        file.discard(lower..<lower + step, of: info)
      }
      // Each step is unaligned by the header, and so leaves one page behind; the kernel may map
      // pages around a fault.
      #expect(most < 8 << 20)
      file.discard(of: info)
      #expect(try residentPages() < 1 << 20)
    }

    /// The resident bytes of a mapped file, from /proc/self/smaps.
    private func residentByteCount(ofMapping path: String) throws -> Int {
      let descriptor = try FileDescriptor.open(FilePath("/proc/self/smaps"), .readOnly)
      let text = try descriptor.closeAfter {
        var text: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
          // The descriptor fills no more than the array has.
          let count = try unsafe chunk.withUnsafeMutableBytes {
            try unsafe descriptor.read(into: $0)
          }
          if count == 0 { return String(decoding: text, as: UTF8.self) }
          text += chunk[..<count]
        }
      }
      var isInside = false
      for line in text.split(separator: "\n") {
        if line.hasSuffix(path) { isInside = true }
        if isInside, line.hasPrefix("Rss:") {
          let fields = line.split(separator: " ")
          return (Int(fields[1]) ?? 0) * 1024
        }
      }
      return 0
    }
  #endif
}

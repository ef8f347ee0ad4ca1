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

/// Writes an array into a tensor.
private func write(
  _ bytes: [UInt8], _ info: TensorInfo, at offset: Int = 0, to writer: SafetensorsWriter
) throws(SafetensorsError) {
  // A byte has no padding that could be uninitialised.
  try unsafe writer.write(bytes.span.bytes, of: info, at: offset)
}

@Suite struct SafetensorsWriterTests {
  let folder: TemporaryFolder
  let header: SafetensorsHeader

  init() throws {
    folder = try TemporaryFolder()
    header = try SafetensorsHeader(
      tensors: [("a", .u8, [1000]), ("b", .f32, [3, 100]), ("c", .u8, [0])])
  }

  private func write(
    _ bytes: [UInt8], _ name: String, at offset: Int = 0, to writer: SafetensorsWriter
  ) throws {
    let info = try #require(header.tensors[name])
    try SafetensorsTests.write(bytes, info, at: offset, to: writer)
  }

  private func pattern(_ count: Int, _ seed: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 13 &+ seed) }
  }

  @Test func writesOutOfOrder() throws {
    let path = folder.file("x.safetensors")
    let writer = try SafetensorsWriter(path: path, header: header)
    let (a, b) = (pattern(1000, 1), pattern(1200, 2))
    try write(Array(b[600...]), "b", at: 600, to: writer)
    try write(Array(a[10...]), "a", at: 10, to: writer)
    try write(Array(b[..<600]), "b", to: writer)
    try write(Array(a[..<10]), "a", to: writer)
    try writer.synchronize()
    try writer.finish()
    let file = try SafetensorsFile(path: path)
    #expect(file.header == header)
    #expect(try bytes(of: "a", in: file) == a)
    #expect(try bytes(of: "b", in: file) == b)
  }

  @Test func writesFromManyTasks() async throws {
    let path = folder.file("x.safetensors")
    let count = 64
    let size = 10_007
    let items: [SafetensorsHeader.Item] = (0..<count).map { ("t\($0)", .u8, [size]) }
    let header = try SafetensorsHeader(tensors: items)
    let writer = try SafetensorsWriter(path: path, header: header)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for (index, info) in header.tensors.values.enumerated() {
        for lower in stride(from: 0, to: size, by: 1000) {
          group.addTask {
            let part = (lower..<min(lower + 1000, size)).map {
              UInt8(truncatingIfNeeded: $0 &* 7 &+ index)
            }
            try SafetensorsTests.write(part, info, at: lower, to: writer)
          }
        }
      }
      try await group.waitForAll()
    }
    try writer.finish()
    let file = try SafetensorsFile(path: path)
    for index in 0..<count {
      let expected = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ index) }
      #expect(try bytes(of: "t\(index)", in: file) == expected)
    }
  }

  @Test func namesTheIncompleteTensor() throws {
    let path = folder.file("x.safetensors")
    let writer = try SafetensorsWriter(path: path, header: header)
    try write(pattern(1000, 1), "a", to: writer)
    try write(pattern(600, 2), "b", to: writer)
    // The same bytes once more count once.
    try write(pattern(600, 2), "b", to: writer)
    let error = #expect(throws: SafetensorsError.self) { try writer.finish() }
    #expect(error?.code == .incompleteTensor)
    #expect(error?.tensor == "b")
    #expect(
      error?.description
        == "\(path): tensor 'b' is incomplete: 600 of its 1200 bytes are written.")
    // The writer goes on.
    try write(pattern(600, 3), "b", at: 600, to: writer)
    try writer.finish()
  }

  @Test func rejectsWhatDoesNotFit() throws {
    let writer = try SafetensorsWriter(path: folder.file("x.safetensors"), header: header)
    for (count, offset) in [(1001, 0), (1, 1000), (1, -1), (2, 999), (1, Int.max), (0, 1001)] {
      let error = #expect(throws: SafetensorsError.self) {
        try write(pattern(count, 0), "a", at: offset, to: writer)
      }
      #expect(error?.code == .writeOutOfRange)
    }
    let error = #expect(throws: SafetensorsError.self) {
      try write(pattern(2, 0), "a", at: 999, to: writer)
    }
    #expect(
      error?.description
        == "\(writer.path): 2 bytes at byte 999 of tensor 'a' do not fit into its 1000 bytes.")
    let stranger = try TensorInfo(name: "d", dtype: .u8, shape: [1], byteOffset: 0)
    let unknown = #expect(throws: SafetensorsError.self) {
      try writer.markWritten(of: stranger)
    }
    #expect(unknown?.code == .tensorNotFound)
  }

  @Test func resumes() throws {
    let path = folder.file("x.safetensors")
    let (a, b) = (pattern(1000, 1), pattern(1200, 2))
    do {
      let writer = try SafetensorsWriter(path: path, header: header)
      try write(a, "a", to: writer)
      try write(Array(b[..<100]), "b", to: writer)
    }
    let writer = try SafetensorsWriter(path: path, header: header, resuming: true)
    try writer.markWritten(of: #require(header.tensors["a"]))
    try writer.markWritten(0..<100, of: #require(header.tensors["b"]))
    try write(Array(b[100...]), "b", at: 100, to: writer)
    try writer.finish()
    let file = try SafetensorsFile(path: path)
    #expect(try bytes(of: "a", in: file) == a)
    #expect(try bytes(of: "b", in: file) == b)
  }

  @Test func refusesToResumeAnotherFile() throws {
    func failure(_ path: FilePath) -> SafetensorsError? {
      #expect(throws: SafetensorsError.self) {
        try SafetensorsWriter(path: path, header: header, resuming: true)
      }
    }
    #expect(failure(folder.file("none"))?.errno == .noSuchFileOrDirectory)
    let size = header.fileByteCount
    let short = try folder.write(header.encoded(), to: "short")
    #expect(
      failure(short)?.description
        == "\(short): the file cannot be resumed, since it has \(header.dataOffset) bytes, not "
        + "\(size).")
    let other = try folder.write(repeatElement(0x20, count: size), to: "other")
    #expect(failure(other)?.code == .cannotResume)
    #expect(
      failure(other)?.description
        == "\(other): the file cannot be resumed, since its header differs from the one to write.")
    // Nothing was changed.
    #expect(try folder.read("other") == Array(repeating: 0x20, count: size))
    #expect(failure(folder.path)?.code == .systemCallFailed)
  }

  @Test func overwritesWithoutResuming() throws {
    let path = try folder.write(Array(repeating: 1, count: 100_000), to: "x.safetensors")
    try SafetensorsFile.write([("a", .u8, [1], [7])], to: path)
    #expect(try bytes(of: "a", in: SafetensorsFile(path: path)) == [7])
  }

  @Test func namesTheMissingFolder() {
    let path = folder.file("none").appending("x.safetensors")
    let error = #expect(throws: SafetensorsError.self) {
      try SafetensorsWriter(path: path, header: header)
    }
    #expect(
      error?.description == "\(path): the file cannot be created: No such file or directory.")
  }

  @Test func rejectsDataOfTheWrongSize() {
    let short = #expect(throws: SafetensorsError.self) {
      try SafetensorsFile.write([("a", .u8, [2], [1])], to: folder.file("x"))
    }
    #expect(short?.code == .incompleteTensor)
    let long = #expect(throws: SafetensorsError.self) {
      try SafetensorsFile.write([("a", .u8, [2], [1, 2, 3])], to: folder.file("x"))
    }
    #expect(long?.code == .writeOutOfRange)
  }

  #if os(Linux)
    // A full disk, as far as a process can fake one: a limit on the size of its files. It holds
    // for the whole process, so this happens in another one.
    @Test func namesTheTensorThatTheDiskHasNoRoomFor() async throws {
      await #expect(processExitsWith: .success) {
        signal(SIGXFSZ, SIG_IGN)
        let folder = try TemporaryFolder()
        let path = folder.file("x.safetensors")
        let header = try SafetensorsHeader(tensors: [("a", .u8, [4096]), ("b", .u8, [8192])])
        let writer = try SafetensorsWriter(path: path, header: header)
        let end = rlim_t(header.dataOffset + 4096 + 1000)
        var limit = rlimit(rlim_cur: end, rlim_max: end)
        // The structure lives for the call.
        guard unsafe setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0 else {
          exit(2)
        }
        let data = [UInt8](repeating: 1, count: 8192)
        try SafetensorsTests.write(Array(data[..<4096]), header.tensors.values[0], to: writer)
        do {
          try SafetensorsTests.write(data, header.tensors.values[1], to: writer)
          exit(3)
        } catch {
          // 1000 bytes fitted, in a short write.
          let expected =
            "\(path): tensor 'b' cannot be written at data offset 5096: File too large."
          exit("\(error)" == expected && (error as? SafetensorsError)?.offset == 5096 ? 0 : 4)
        }
      }
    }
  #endif
}

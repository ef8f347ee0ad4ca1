// SPDX-License-Identifier: Apache-2.0

import CUDADriver
import Synchronization
import SystemPackage
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Machine code on disk: found again, never wrong, never in the way.
@Suite struct ModuleCacheTests {
  private static let linking = ["cuLinkCreate", "cuLinkAddData", "cuLinkComplete", "cuLinkDestroy"]

  private func withCache(
    _ body: (MockDriver, Context, ModuleCache, TemporaryFolder) throws -> Void
  ) throws {
    try MockDriver.run { mock in
      let folder = try TemporaryFolder()
      // A folder below one that is missing too.
      let cache = ModuleCache(directory: folder.path.appending("cache").appending("kernels"))
      try body(mock, mockContext(), cache, folder)
    }
  }

  private func origin(
    _ cache: ModuleCache, _ context: Context, _ ptx: String = hopperPTX,
    options: JITOptions = JITOptions()
  ) throws -> ModuleCache.Origin {
    try cache.module(ptx: ptx, in: context, options: options).origin
  }

  @Test func compilesOnce() throws {
    try withCache { mock, context, cache, _ in
      let image = mock.withState { $0.cubin }
      let first = try mock.calls {
        let entry = try cache.module(ptx: hopperPTX, in: context)
        #expect(entry.origin == .compiled)
        let module = entry.take()
        #expect(module.log == "ptxas info : Used 32 registers")
      }
      #expect(first == Self.linking + ["cuModuleLoadDataEx", "cuModuleUnload"])
      let second = try mock.calls {
        let entry = try cache.module(ptx: hopperPTX, in: context)
        #expect(entry.origin == .cache)
        // The log is kept with the code.
        #expect(entry.module.log == "ptxas info : Used 32 registers")
      }
      #expect(second == ["cuModuleLoadDataEx", "cuModuleUnload"])
      #expect(mock.withState { $0.images } == [image, image])
      #expect(try names(in: cache.directory).count == 1)
    }
  }

  @Test func tellsApartWhatCodeDependsOn() throws {
    try withCache { mock, context, cache, _ in
      let first = try origin(cache, context)
      #expect(first == .compiled)
      #expect(try origin(cache, context, hopperPTX + "\n") == .compiled)
      #expect(try origin(cache, context, options: .init(maximumRegisters: 0)) == .compiled)
      #expect(try origin(cache, context, options: .init(maximumRegisters: 168)) == .compiled)
      #expect(try origin(cache, context, options: .init(lineInformation: true)) == .compiled)
      mock.withState { $0.deviceName = "NVIDIA H200" }
      #expect(try origin(cache, mockContext()) == .compiled)
      mock.withState { $0.version = 13_000 }
      #expect(try origin(cache, mockContext()) == .compiled)
      #expect(try names(in: cache.directory).count == 7)
      #expect(try origin(cache, mockContext()) == .cache)
      #expect(try origin(cache, context) == .cache)
    }
  }

  /// Every byte of an entry is checked: magic, key, lengths, hash, image and log.
  @Test func discardsDamagedEntries() throws {
    try withCache { mock, context, cache, _ in
      #expect(try origin(cache, context) == .compiled)
      let path = cache.directory.appending(try #require(try names(in: cache.directory).first))
      let whole = try contents(of: path)
      for index in whole.indices {
        var damaged = whole
        damaged[index] ^= 0x10
        try write(damaged, to: path)
        try #require(try origin(cache, context) == .compiled, "byte \(index)")
        try #require(try contents(of: path) == whole)
      }
      for count in [0, 1, 7, 8, 40, 87, 88, 89, whole.count - 1] {
        try write(Array(whole.prefix(count)), to: path)
        try #require(try origin(cache, context) == .compiled, "\(count) bytes")
      }
      try write(whole + [0], to: path)
      #expect(try origin(cache, context) == .compiled)
      // An entry under another one's name.
      #expect(try origin(cache, context, ".target sm_80") == .compiled)
      let names = try names(in: cache.directory)
      let other = cache.directory.appending(
        try #require(names.first { path.lastComponent?.string != $0 }))
      try write(try contents(of: other), to: path)
      #expect(try origin(cache, context) == .compiled)
      #expect(try origin(cache, context) == .cache)
      // Lengths whose sum overflows.
      var long = whole
      for index in 40..<56 { long[index] = 0xFF }
      try write(long, to: path)
      #expect(try origin(cache, context) == .compiled)
    }
  }

  /// A whole entry that the driver refuses all the same.
  @Test func discardsEntriesThatTheDriverRefuses() throws {
    try withCache { mock, context, cache, _ in
      #expect(try origin(cache, context) == .compiled)
      mock.fail("cuModuleLoadDataEx", with: 209)
      let calls = try mock.calls {
        let origin = try origin(cache, context)
        #expect(origin == .compiled)
      }
      #expect(
        calls == ["cuModuleLoadDataEx"] + Self.linking + ["cuModuleLoadDataEx", "cuModuleUnload"])
      #expect(try origin(cache, context) == .cache)
      // A lost context is no fault of the entry's, which stays.
      mock.fail("cuModuleLoadDataEx", with: 700)
      let error = try #require(throws: CUDAError.self) { _ = try origin(cache, context) }
      #expect(error.code == .contextLost)
      #expect(try origin(cache, context) == .cache)
    }
  }

  @Test func forgets() throws {
    try withCache { mock, context, cache, _ in
      for ptx in [hopperPTX, ".target sm_80"] { _ = try origin(cache, context, ptx) }
      cache.discard(ptx: hopperPTX, for: context.device, options: .init(lineInformation: true))
      #expect(try names(in: cache.directory).count == 2)
      cache.discard(ptx: hopperPTX, for: context.device)
      #expect(try origin(cache, context, ".target sm_80") == .cache)
      #expect(try origin(cache, context) == .compiled)
    }
  }

  @Test(arguments: [
    (["XDG_CACHE_HOME": "/cache", "HOME": "/home/user"], "/cache/blockscale"),
    (["HOME": "/home/user"], "/home/user/.cache/blockscale"),
    // Empty and relative ones are as good as missing.
    (["XDG_CACHE_HOME": "", "HOME": "/home/user"], "/home/user/.cache/blockscale"),
    (["XDG_CACHE_HOME": "cache", "HOME": "/home/user"], "/home/user/.cache/blockscale"),
    (["XDG_CACHE_HOME": "/cache"], "/cache/blockscale"),
    (["HOME": "home"], nil), ([:], nil),
  ])
  func isInTheUsersFolder(environment: [String: String], path: String?) {
    #expect(ModuleCache.place { environment[$0] }?.string == path)
  }

  @Test func goesOnWithoutAFolder() throws {
    try withCache { mock, context, _, folder in
      // A file where a folder would have to be.
      try write([1], to: folder.path.appending("file"))
      let cache = ModuleCache(directory: folder.path.appending("file").appending("cache"))
      guard case .notCached(let reason) = try origin(cache, context) else {
        Issue.record("an entry was kept below a file")
        return
      }
      #expect(reason.hasPrefix(cache.directory.string + ": "))
      #expect(reason.contains("ot a directory"))
      #expect(mock.live == ["context"])
    }
  }

  @Test func keepsNothingThatTheLinkerWouldHarm() throws {
    try withCache { mock, context, cache, _ in
      let ptx = hopperPTX + "\nsetmaxnreg.inc.sync.aligned.u32 232;"
      let calls = try mock.calls {
        let origin = try origin(cache, context, ptx)
        #expect(origin == .driver)
      }
      #expect(calls == ["cuModuleLoadDataEx", "cuModuleUnload"])
      #expect(throws: Errno.self) { try names(in: cache.directory) }
    }
  }

  /// A linker that refuses what the compiler takes costs the cache, not the kernel.
  @Test(arguments: ["cuLinkCreate", "cuLinkAddData", "cuLinkComplete", "cuModuleLoadDataEx"])
  func goesOnWithoutTheLinker(call: String) throws {
    try withCache { mock, context, cache, _ in
      mock.fail(call, with: 1)
      let entry = try cache.module(ptx: hopperPTX, in: context)
      guard case .notCached(let reason) = entry.origin else {
        Issue.record("an entry was kept although \(call) failed")
        return
      }
      #expect(reason.contains(call))
      #expect(mock.withState { $0.images.last } == Array(hopperPTX.utf8))
      #expect(mock.live == ["context", "module"])
      #expect(throws: Errno.self) { try names(in: cache.directory) }
    }
  }

  @Test func failsWithTheCompiler() throws {
    try withCache { mock, context, cache, _ in
      mock.withState { $0.errorLog = "line 1; error : no" }
      let error = try #require(throws: CUDAError.self) { _ = try origin(cache, context) }
      #expect(error.log == "line 1; error : no")
      #expect(error.call == "cuModuleLoadDataEx")
      #expect(throws: Errno.self) { try names(in: cache.directory) }
    }
  }

  /// Writers and readers of the same few entries at the same time see whole entries or none.
  @Test func isSharedByWriters() async throws {
    let folder = try TemporaryFolder()
    let cache = ModuleCache(directory: folder.path.appending("cache"))
    let mock = MockDriver()
    mock.withState { $0.cubin += [UInt8](repeating: 0x5A, count: 100_000) }
    try await MockDriver.$current.withValue(mock) {
      let context = try mockContext()
      try await withThrowingTaskGroup(of: Void.self) { group in
        for task in 0..<8 {
          group.addTask {
            for round in 0..<20 {
              let ptx = ".target sm_80 // \((task + round) % 3)"
              let entry = try cache.module(ptx: ptx, in: context)
              if case .notCached(let reason) = entry.origin { Issue.record("\(reason)") }
              // Now and then one is gone again.
              if round % 7 == task % 7 {
                for name in try names(in: cache.directory) where name.hasSuffix(".cubin") {
                  remove(cache.directory.appending(name))
                }
              }
            }
          }
        }
        try await group.waitForAll()
      }
      let image = mock.withState { $0.cubin }
      #expect(mock.withState { $0.images.allSatisfy { $0 == image } })
      #expect(try names(in: cache.directory).allSatisfy { $0.hasSuffix(".cubin") })
    }
    #expect(mock.live == [])
  }
}

// SPDX-License-Identifier: Apache-2.0

import CUDADriver
import Testing

let hopperPTX = ".version 8.0\n.target sm_90a\n.address_size 64\n.visible .entry kernel() { ret; }"

/// Compiling, loading and looking up kernels.
@Suite struct ModuleTests {
  @Test func loadsPTX() throws {
    try MockDriver.run { mock in
      do {
        let options = JITOptions(maximumRegisters: 168, lineInformation: true)
        let module = try Module(ptx: hopperPTX, in: mockContext(), options: options)
        #expect(module.log == "ptxas info : Used 32 registers")
        let state = mock.withState { $0 }
        #expect(state.images == [Array(hopperPTX.utf8)])
        #expect(state.options[0] == 168)
        #expect(state.options[12] == 1)
        #expect(state.options[13] == 1)
        #expect(state.options[4] == 65_536)
        #expect(state.options[6] == 65_536)
        #expect(state.options[9] == nil && state.options[8] == nil)
      }
      #expect(mock.live == [])
    }
  }

  @Test func showsTheCompilersLog() throws {
    try MockDriver.run { mock in
      let context = try mockContext()
      mock.withState { $0.errorLog = "ptxas application ptx input, line 4; error : Unknown symbol" }
      let error = try #require(throws: CUDAError.self) {
        _ = try Module(ptx: hopperPTX, in: context)
      }
      #expect(error.code == .invalidCode)
      #expect(error.log == "ptxas application ptx input, line 4; error : Unknown symbol")
      #expect(
        error.description == "The PTX cannot be compiled for NVIDIA H100 80GB HBM3: "
          + "cuModuleLoadDataEx returned CUDA_ERROR_INVALID_PTX (218).\n"
          + "ptxas application ptx input, line 4; error : Unknown symbol")
      #expect(mock.live == ["context"])
    }
  }

  @Test(arguments: [
    ("sm_90a", 90, true), ("sm_90a", 100, false), ("sm_90a", 89, false), ("sm_80", 90, true),
    ("sm_90", 89, false), ("sm_100f", 103, true), ("sm_100f", 120, false), ("sm_103f", 100, false),
    ("sm_120a", 120, true), ("sm_89, texmode_independent", 90, true),
  ])
  func knowsForeignArchitectures(target: String, device: Int, runs: Bool) throws {
    try MockDriver.run { mock in
      mock.withState {
        $0.deviceAttributes[75] = Int32(device / 10)
        $0.deviceAttributes[76] = Int32(device % 10)
      }
      let context = try mockContext()
      let ptx = "// made by a test\n.version 8.8\n\t.target\t\(target)\n.address_size 64\n"
      if runs {
        _ = try Module(ptx: ptx, in: context)
      } else {
        let error = try #require(throws: CUDAError.self) { _ = try Module(ptx: ptx, in: context) }
        #expect(error.code == .foreignArchitecture)
        #expect(error.description.hasPrefix("The PTX is for sm_"))
        #expect(error.description.contains("of compute capability \(device / 10).\(device % 10)."))
        #expect(!mock.calls.contains("cuModuleLoadDataEx"))
      }
    }
  }

  /// The driver's own verdict, for texts whose target cannot be read here.
  @Test func passesOnTheDriversVerdictOnArchitectures() throws {
    try MockDriver.run { mock in
      let context = try mockContext()
      mock.fail("cuModuleLoadDataEx", with: 209)
      let error = try #require(throws: CUDAError.self) { _ = try Module(ptx: "", in: context) }
      #expect(error.code == .foreignArchitecture)
      #expect(
        error.description.contains("CUDA_ERROR_NO_BINARY_FOR_GPU (209). The code is for another"))
      mock.fail("cuModuleLoadDataEx", with: 222)
      let old = try #require(throws: CUDAError.self) { _ = try Module(ptx: "", in: context) }
      #expect(old.code == .driverTooOld)
    }
  }

  @Test func loadsACubin() throws {
    try MockDriver.run { mock in
      let context = try mockContext()
      let cubin = Cubin(bytes: mock.withState { $0.cubin }, log: "kept")
      let module = try Module(cubin: cubin, in: context)
      #expect(module.log == "kept")
      #expect(mock.withState { $0.images } == [cubin.bytes])
      let error = try #require(throws: CUDAError.self) {
        _ = try Module(cubin: Cubin(bytes: Array(hopperPTX.utf8)), in: context)
      }
      #expect(error.code == .invalidCode)
      #expect(error.description.hasSuffix("bytes are no cubin: an ELF header is missing."))
      #expect(mock.calls.filter { $0 == "cuModuleLoadDataEx" }.count == 1)
    }
  }

  @Test func looksUpAKernel() throws {
    try MockDriver.run { mock in
      mock.withState {
        $0.functionAttributes = [0: 384, 1: 1024, 3: 16, 4: 168, 8: 49_152 - 1024]
      }
      let module = try Module(ptx: hopperPTX, in: mockContext())
      let plain = try module.function(named: "kernel")
      #expect(plain.maximumDynamicSharedMemory == 48_128)
      #expect(!mock.calls.contains("cuFuncSetAttribute"))
      let function = try module.function(named: "kernel", dynamicSharedMemory: 200_000)
      #expect(function.name == "kernel")
      #expect(function.registers == 168)
      #expect(function.localByteCount == 16)
      #expect(function.staticSharedMemory == 1024)
      #expect(function.maximumThreadsPerBlock == 384)
      #expect(function.maximumDynamicSharedMemory == 200_000)
      // A later, smaller wish takes nothing away.
      _ = try module.function(named: "kernel", dynamicSharedMemory: 100_000)
      #expect(mock.withState { $0.functionAttributes[8] } == 200_000)

      let missing = try #require(throws: CUDAError.self) { _ = try module.function(named: "other") }
      #expect(missing.code == .notFound)
      #expect(
        missing.description.hasPrefix("The module has no kernel 'other': cuModuleGetFunction"))
      let large = try #require(throws: CUDAError.self) {
        _ = try module.function(named: "kernel", dynamicSharedMemory: 232_000)
      }
      #expect(large.code == .launchOutOfResources)
      #expect(
        large.description
          == "Kernel 'kernel' needs 1024 + 232000 bytes of shared memory, and a block "
          + "on NVIDIA H100 80GB HBM3 can have 232448.")
    }
  }

  @Test func staysLoadedForItsFunctions() throws {
    try MockDriver.run { mock in
      do {
        let function: Function
        do {
          let module = try Module(ptx: hopperPTX, in: mockContext())
          function = try module.function(named: "kernel")
        }
        #expect(mock.live == ["context", "module"])
        #expect(try function.blocksPerMultiprocessor(threads: 256) == 8)
        #expect(
          try function.blocksPerMultiprocessor(threads: 128, dynamicSharedMemory: 100_000) == 2)
      }
      #expect(mock.live == [])
    }
  }
}

/// Compiling to machine code that can be kept.
@Suite struct CompileTests {
  @Test func linksInOrder() throws {
    try MockDriver.run { mock in
      let context = try mockContext()
      let expected = mock.withState { $0.cubin }
      let calls = try mock.calls {
        let cubin = try context.compile(hopperPTX)
        #expect(cubin.bytes == expected)
        #expect(cubin.log == "ptxas info : Used 32 registers")
      }
      #expect(calls == ["cuLinkCreate", "cuLinkAddData", "cuLinkComplete", "cuLinkDestroy"])
      // sm_90a has a number of its own.
      #expect(mock.withState { $0.options[9] } == 0x1005A)
      #expect(mock.withState { $0.options[8] } == nil)
      _ = try context.compile(".target sm_80")
      #expect(mock.withState { $0.options[9] } == nil)
      #expect(mock.withState { $0.options[8] } == 0)
    }
  }

  @Test(arguments: ["cuLinkCreate", "cuLinkAddData", "cuLinkComplete"])
  func destroysTheLinkerOnFailure(call: String) throws {
    try MockDriver.run { mock in
      let context = try mockContext()
      mock.fail(call, with: 218)
      #expect(throws: CUDAError.self) { _ = try context.compile(hopperPTX) }
      #expect(mock.live == ["context"])
    }
  }

  @Test func showsTheCompilersLog() throws {
    try MockDriver.run { mock in
      let context = try mockContext()
      mock.withState { $0.errorLog = "line 7; fatal : Parsing error" }
      let error = try #require(throws: CUDAError.self) { _ = try context.compile(hopperPTX) }
      #expect(error.call == "cuLinkAddData_v2")
      #expect(error.description.hasSuffix("(218).\nline 7; fatal : Parsing error"))
      #expect(
        try #require(throws: CUDAError.self) { _ = try context.compile(".target sm_120a") }.code
          == .foreignArchitecture)
    }
  }
}

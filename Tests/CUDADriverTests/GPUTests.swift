// SPDX-License-Identifier: Apache-2.0

import CUDADriver
import SystemPackage
import Testing

/// The driver of this machine, or the sentence that says why there is none.
private let machine: Result<Driver, CUDAError> = {
  let result = Result { () throws(CUDAError) in try Driver.load() }
  if case .failure(let error) = result { print("GPU tests are skipped: \(error)") }
  return result
}()

private var hasGPU: Bool { if case .success = machine { true } else { false } }

/// The same calls on a real GPU, where the machine has one.
@Suite(.serialized, .enabled(if: hasGPU, "no usable NVIDIA driver; the reason is printed"))
struct GPUTests {
  /// y[i] = a x[i] + y[i], plain enough for every architecture.
  private static let axpy = """
    .version 7.0
    .target sm_80
    .address_size 64
    .visible .entry axpy(.param .u64 x, .param .u64 y, .param .f32 a, .param .u32 n)
    {
      .reg .pred p;
      .reg .b32 i, t, b, d;
      .reg .b64 o, px, py;
      .reg .f32 u, v, w;
      mov.u32 t, %tid.x; mov.u32 b, %ctaid.x; mov.u32 d, %ntid.x;
      mad.lo.u32 i, b, d, t;
      ld.param.u32 d, [n];
      setp.ge.u32 p, i, d;
      @p ret;
      ld.param.u64 px, [x]; ld.param.u64 py, [y]; ld.param.f32 w, [a];
      cvta.to.global.u64 px, px; cvta.to.global.u64 py, py;
      mul.wide.u32 o, i, 4;
      add.u64 px, px, o; add.u64 py, py, o;
      ld.global.f32 u, [px]; ld.global.f32 v, [py];
      fma.rn.f32 v, u, w, v;
      st.global.f32 [py], v;
      ret;
    }
    """

  private func context() throws -> Context {
    try Context(machine.get().device(at: 0))
  }

  @Test func launchesAKernel() throws {
    let context = try context()
    print("GPU tests run on \(context.device.name), CUDA \(context.device.driver.version)")
    let stream = try Stream(in: context)
    let module = try Module(ptx: Self.axpy, in: context)
    let kernel = try module.function(named: "axpy")
    #expect(kernel.localByteCount == 0)
    #expect(try kernel.blocksPerMultiprocessor(threads: 256) > 0)
    let values = (0..<1000).map { Float($0) }
    let negatives = values.map { -$0 }
    let x = try DeviceMemory(copying: values.span, on: stream)
    let y = try DeviceMemory(copying: negatives.span, on: stream)
    let start = try Event(in: context)
    let end = try Event(in: context)
    try start.record(on: stream)
    try kernel.launch(
      LaunchConfiguration(grid: 4, block: 256),
      [.memory(x), .memory(y), .float(3), .uint32(1000)], on: stream)
    try end.record(on: stream)
    #expect(try y.elements(of: Float.self, on: stream) == values.map { 2 * $0 })
    #expect(try end.seconds(since: start) > 0)

    let graph = try stream.capture {
      for _ in 0..<2 {
        try kernel.launch(
          LaunchConfiguration(grid: 4, block: 256, programmaticStreamSerialization: false),
          [.memory(x), .memory(y), .float(1), .uint32(1000)], on: stream)
      }
    }
    #expect(try graph.nodeCount() == 2)
    let executable = try graph.instantiate()
    try executable.launch(on: stream)
    #expect(try y.elements(of: Float.self, on: stream) == values.map { 4 * $0 })
  }

  @Test func keepsMachineCode() throws {
    let context = try context()
    let folder = try TemporaryFolder()
    let cache = ModuleCache(directory: folder.path.appending("kernels"))
    #expect(try cache.module(ptx: Self.axpy, in: context).origin == .compiled)
    let entry = try cache.module(ptx: Self.axpy, in: context)
    #expect(entry.origin == .cache)
    let module = entry.take()
    #expect(try module.function(named: "axpy").registers > 0)
    // Targets with a suffix go through the linker by a number of their own.
    guard context.device.computeCapability == ComputeCapability(major: 9, minor: 0) else { return }
    let hopper = try context.compile(hopperPTX)
    _ = try Module(cubin: hopper, in: context).function(named: "kernel")
  }

  /// Why ``ModuleCache`` leaves kernels with `setmaxnreg` to the driver: once this fails, it need not.
  @Test func losesSetmaxnregInTheLinker() throws {
    let context = try context()
    guard context.device.computeCapability == ComputeCapability(major: 9, minor: 0) else { return }
    let ptx = """
      .version 8.0
      .target sm_90a
      .address_size 64
      .visible .entry kernel(.param .u64 p)
      .maxntid 384, 1, 1
      .maxnreg 168
      {
        .reg .pred q;
        .reg .b32 t;
        mov.u32 t, %tid.x;
        setp.ge.u32 q, t, 128;
        @q bra C;
        setmaxnreg.dec.sync.aligned.u32 40;
        ret;
      C:
        setmaxnreg.inc.sync.aligned.u32 232;
        ret;
      }
      """
    let module = try Module(ptx: ptx, in: context)
    let cubin = try context.compile(ptx)
    print("compiled: \(module.log)\nlinked: \(cubin.log)")
    #expect(!module.log.contains("'setmaxnreg' ignored"))
    #expect(cubin.log.contains("'setmaxnreg' ignored"))
  }

  @Test func movesMemory() throws {
    let context = try context()
    let stream = try Stream(in: context)
    let memory = try DeviceMemory(byteCount: 4096, on: stream)
    try memory.fill(withWord: 0x0102_0304, on: stream)
    try memory.fill(with: 9, in: 4..<8, on: stream)
    var pinned = try PinnedMemory(byteCount: 16, in: context)
    pinned.withMutableBytes { $0.storeBytes(of: 7, toByteOffset: 0, as: UInt32.self) }
    // The pinned bytes are not touched until the stream was waited for.
    try unsafe memory.copyAsynchronously(from: pinned, byteCount: 4, to: 12, on: stream)
    try unsafe memory.copyAsynchronously(to: pinned, byteCount: 16, on: stream)
    try stream.synchronize()
    let words = pinned.withBytes { bytes in
      // Within the sixteen bytes.
      (0..<4).map { unsafe bytes.unsafeLoad(fromByteOffset: 4 * $0, as: UInt32.self) }
    }
    #expect(words == [0x0102_0304, 0x0909_0909, 0x0102_0304, 7])
    let large = try #require(throws: CUDAError.self) {
      _ = try DeviceMemory(byteCount: 1 << 46, in: context)
    }
    #expect(large.code == .outOfMemory)
    #expect(large.description.contains("65536.0 GiB of memory on"))
  }

  @Test func encodesTensorMaps() throws {
    let context = try context()
    guard context.device.computeCapability.major >= 9 else { return }
    let memory = try DeviceMemory(byteCount: 256 * 512, in: context)
    _ = try TensorMap(
      .init(elementType: .uint8, extents: [512, 256], box: [128, 64], swizzle: .bytes128),
      at: memory.address, in: context)
    _ = try TensorMap(
      .init(
        elementType: .bfloat16, extents: [256, 256], box: [64, 256], swizzle: .bytes128,
        outOfBoundsFill: .nan),
      at: memory.address, in: context)
  }

  @Test func showsTheCompilersLog() throws {
    let context = try context()
    let wrong = Self.axpy.replacing("fma.rn.f32 v", with: "fma.rn.f32 nowhere")
    for compile in [
      { _ = try Module(ptx: wrong, in: context) }, { _ = try context.compile(wrong) },
    ] as [() throws -> Void] {
      let error = try #require(throws: CUDAError.self) { try compile() }
      #expect(error.code == .invalidCode)
      #expect(error.log.contains("nowhere"), "\(error)")
    }
  }
}

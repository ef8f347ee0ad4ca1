// SPDX-License-Identifier: Apache-2.0

// Safe to hold and copy: only calling a function takes pointers, and each call site says why it may.
/// The functions of libcuda that this target calls, resolved once.
///
/// Declarations of our own, so that neither building nor starting needs NVIDIA's toolkit. Handles are
/// declared as `UInt`: a pointer that is never dereferenced here goes through the same register, and a
/// number needs no unsafe code. Every call returns a `CUresult`, zero for success.
///
/// Names carry the suffix of the interface that is declared here (`cuMemAlloc_v2`). NVIDIA never changes
/// a suffixed function, so that `dlsym` returns what was declared from driver 525 to the newest.
/// `cuGetProcAddress` would return whatever the asked-for CUDA version calls by the plain name, and is
/// itself one more versioned function. Without `_ptsz`, a null stream is the legacy default stream; the
/// layers above always name a stream.
@safe package struct DriverFunctions: Sendable {
  package typealias Handle = UInt
  package typealias HandleOut = UnsafeMutablePointer<UInt>
  package typealias NumberOut = UnsafeMutablePointer<Int32>
  package typealias SizeOut = UnsafeMutablePointer<Int>
  package typealias TextOut = UnsafeMutablePointer<UnsafePointer<CChar>?>
  package typealias Text = UnsafePointer<CChar>
  package typealias Options = UnsafeMutablePointer<Int32>
  package typealias OptionValues = UnsafeMutablePointer<UInt>

  //MARK: Driver and devices

  package var cuDriverGetVersion: @convention(c) (NumberOut) -> Int32
  package var cuInit: @convention(c) (UInt32) -> Int32
  package var cuGetErrorName: @convention(c) (Int32, TextOut) -> Int32
  package var cuDeviceGetCount: @convention(c) (NumberOut) -> Int32
  package var cuDeviceGet: @convention(c) (NumberOut, Int32) -> Int32
  package var cuDeviceGetName: @convention(c) (UnsafeMutablePointer<CChar>, Int32, Int32) -> Int32
  package var cuDeviceTotalMem: @convention(c) (SizeOut, Int32) -> Int32
  package var cuDeviceGetAttribute: @convention(c) (NumberOut, Int32, Int32) -> Int32

  //MARK: Contexts

  package var cuDevicePrimaryCtxRetain: @convention(c) (HandleOut, Int32) -> Int32
  package var cuDevicePrimaryCtxRelease: @convention(c) (Int32) -> Int32
  package var cuCtxPushCurrent: @convention(c) (Handle) -> Int32
  package var cuCtxPopCurrent: @convention(c) (HandleOut) -> Int32
  package var cuCtxSynchronize: @convention(c) () -> Int32

  //MARK: Modules and functions

  package var cuModuleLoadDataEx:
    @convention(c) (HandleOut, UnsafeRawPointer, UInt32, Options, OptionValues) -> Int32
  package var cuModuleUnload: @convention(c) (Handle) -> Int32
  package var cuModuleGetFunction: @convention(c) (HandleOut, Handle, Text) -> Int32
  package var cuFuncGetAttribute: @convention(c) (NumberOut, Int32, Handle) -> Int32
  package var cuFuncSetAttribute: @convention(c) (Handle, Int32, Int32) -> Int32
  package var cuOccupancyMaxActiveBlocksPerMultiprocessor:
    @convention(c) (NumberOut, Handle, Int32, Int) -> Int32
  package var cuOccupancyMaxActiveClusters:
    @convention(c) (NumberOut, Handle, UnsafeRawPointer) -> Int32
  package var cuLinkCreate: @convention(c) (UInt32, Options, OptionValues, HandleOut) -> Int32
  package var cuLinkAddData:
    @convention(c) (
      Handle, Int32, UnsafeMutableRawPointer, Int, Text, UInt32, Options?, OptionValues?
    )
      -> Int32
  package var cuLinkComplete:
    @convention(c) (Handle, UnsafeMutablePointer<UnsafeRawPointer?>, SizeOut) -> Int32
  package var cuLinkDestroy: @convention(c) (Handle) -> Int32

  //MARK: Memory

  package var cuMemGetInfo: @convention(c) (SizeOut, SizeOut) -> Int32
  package var cuMemAlloc: @convention(c) (UnsafeMutablePointer<UInt64>, Int) -> Int32
  package var cuMemFree: @convention(c) (UInt64) -> Int32
  package var cuMemAllocAsync: @convention(c) (UnsafeMutablePointer<UInt64>, Int, Handle) -> Int32
  package var cuMemFreeAsync: @convention(c) (UInt64, Handle) -> Int32
  package var cuMemHostAlloc:
    @convention(c) (UnsafeMutablePointer<UnsafeMutableRawPointer?>, Int, UInt32) -> Int32
  package var cuMemFreeHost: @convention(c) (UnsafeMutableRawPointer) -> Int32
  package var cuMemcpyHtoDAsync: @convention(c) (UInt64, UnsafeRawPointer, Int, Handle) -> Int32
  package var cuMemcpyDtoHAsync:
    @convention(c) (UnsafeMutableRawPointer, UInt64, Int, Handle) -> Int32
  package var cuMemcpyDtoDAsync: @convention(c) (UInt64, UInt64, Int, Handle) -> Int32
  package var cuMemsetD8Async: @convention(c) (UInt64, UInt8, Int, Handle) -> Int32
  package var cuMemsetD32Async: @convention(c) (UInt64, UInt32, Int, Handle) -> Int32

  //MARK: Streams, events and graphs

  package var cuStreamCreate: @convention(c) (HandleOut, UInt32) -> Int32
  package var cuStreamDestroy: @convention(c) (Handle) -> Int32
  package var cuStreamSynchronize: @convention(c) (Handle) -> Int32
  package var cuStreamQuery: @convention(c) (Handle) -> Int32
  package var cuStreamWaitEvent: @convention(c) (Handle, Handle, UInt32) -> Int32
  package var cuStreamBeginCapture: @convention(c) (Handle, Int32) -> Int32
  package var cuStreamEndCapture: @convention(c) (Handle, HandleOut) -> Int32
  package var cuEventCreate: @convention(c) (HandleOut, UInt32) -> Int32
  package var cuEventDestroy: @convention(c) (Handle) -> Int32
  package var cuEventRecord: @convention(c) (Handle, Handle) -> Int32
  package var cuEventQuery: @convention(c) (Handle) -> Int32
  package var cuEventSynchronize: @convention(c) (Handle) -> Int32
  package var cuEventElapsedTime:
    @convention(c) (UnsafeMutablePointer<Float>, Handle, Handle) -> Int32
  package var cuGraphGetNodes: @convention(c) (Handle, HandleOut?, SizeOut) -> Int32
  package var cuGraphInstantiateWithFlags: @convention(c) (HandleOut, Handle, UInt64) -> Int32
  package var cuGraphDestroy: @convention(c) (Handle) -> Int32
  package var cuGraphExecDestroy: @convention(c) (Handle) -> Int32
  package var cuGraphLaunch: @convention(c) (Handle, Handle) -> Int32

  //MARK: Launches

  /// Map, element type, rank, address, extents, strides, box, element strides, interleave, swizzle,
  /// promotion and fill.
  package var cuTensorMapEncodeTiled:
    @convention(c) (
      UnsafeMutableRawPointer, Int32, UInt32, UInt64, UnsafePointer<UInt64>, UnsafePointer<UInt64>,
      UnsafePointer<UInt32>, UnsafePointer<UInt32>, Int32, Int32, Int32, Int32
    ) -> Int32
  /// Configuration, function, pointers to the arguments, and nothing.
  package var cuLaunchKernelEx:
    @convention(c) (
      UnsafeRawPointer, Handle, UnsafeMutablePointer<UnsafeMutableRawPointer?>,
      UnsafeMutableRawPointer?
    ) -> Int32
  /// Offset and size of a parameter.
  ///
  /// Since CUDA 12.4; nil in older drivers.
  package var cuFuncGetParamInfo: (@convention(c) (Handle, Int, SizeOut, SizeOut) -> Int32)?

  /// Fills the table from a function that knows addresses by name.
  ///
  /// - Throws: ``CUDAError`` with ``CUDAError/Code/driverTooOld`` for a name that it does not know.
  package init(lookUp: (String) -> UnsafeMutableRawPointer?) throws(CUDAError) {
    func function<F>(_ name: String, as type: F.Type = F.self) throws(CUDAError) -> F {
      guard let address = unsafe lookUp(name) else { throw .missing(function: name) }
      // The declaration of the property that the result goes to is that of the name in cuda.h.
      return unsafe unsafeBitCast(address, to: F.self)
    }
    // Unsafe, as their types take pointers; nothing is called here.
    unsafe cuDriverGetVersion = try function("cuDriverGetVersion")
    cuInit = try function("cuInit")
    unsafe cuGetErrorName = try function("cuGetErrorName")
    unsafe cuDeviceGetCount = try function("cuDeviceGetCount")
    unsafe cuDeviceGet = try function("cuDeviceGet")
    unsafe cuDeviceGetName = try function("cuDeviceGetName")
    unsafe cuDeviceTotalMem = try function("cuDeviceTotalMem_v2")
    unsafe cuDeviceGetAttribute = try function("cuDeviceGetAttribute")
    unsafe cuDevicePrimaryCtxRetain = try function("cuDevicePrimaryCtxRetain")
    cuDevicePrimaryCtxRelease = try function("cuDevicePrimaryCtxRelease_v2")
    cuCtxPushCurrent = try function("cuCtxPushCurrent_v2")
    unsafe cuCtxPopCurrent = try function("cuCtxPopCurrent_v2")
    cuCtxSynchronize = try function("cuCtxSynchronize")
    unsafe cuModuleLoadDataEx = try function("cuModuleLoadDataEx")
    cuModuleUnload = try function("cuModuleUnload")
    unsafe cuModuleGetFunction = try function("cuModuleGetFunction")
    unsafe cuFuncGetAttribute = try function("cuFuncGetAttribute")
    cuFuncSetAttribute = try function("cuFuncSetAttribute")
    unsafe cuOccupancyMaxActiveBlocksPerMultiprocessor = try function(
      "cuOccupancyMaxActiveBlocksPerMultiprocessor")
    unsafe cuOccupancyMaxActiveClusters = try function("cuOccupancyMaxActiveClusters")
    unsafe cuLinkCreate = try function("cuLinkCreate_v2")
    unsafe cuLinkAddData = try function("cuLinkAddData_v2")
    unsafe cuLinkComplete = try function("cuLinkComplete")
    cuLinkDestroy = try function("cuLinkDestroy")
    unsafe cuMemGetInfo = try function("cuMemGetInfo_v2")
    unsafe cuMemAlloc = try function("cuMemAlloc_v2")
    cuMemFree = try function("cuMemFree_v2")
    unsafe cuMemAllocAsync = try function("cuMemAllocAsync")
    cuMemFreeAsync = try function("cuMemFreeAsync")
    unsafe cuMemHostAlloc = try function("cuMemHostAlloc")
    unsafe cuMemFreeHost = try function("cuMemFreeHost")
    unsafe cuMemcpyHtoDAsync = try function("cuMemcpyHtoDAsync_v2")
    unsafe cuMemcpyDtoHAsync = try function("cuMemcpyDtoHAsync_v2")
    cuMemcpyDtoDAsync = try function("cuMemcpyDtoDAsync_v2")
    cuMemsetD8Async = try function("cuMemsetD8Async")
    cuMemsetD32Async = try function("cuMemsetD32Async")
    unsafe cuStreamCreate = try function("cuStreamCreate")
    cuStreamDestroy = try function("cuStreamDestroy_v2")
    cuStreamSynchronize = try function("cuStreamSynchronize")
    cuStreamQuery = try function("cuStreamQuery")
    cuStreamWaitEvent = try function("cuStreamWaitEvent")
    cuStreamBeginCapture = try function("cuStreamBeginCapture_v2")
    unsafe cuStreamEndCapture = try function("cuStreamEndCapture")
    unsafe cuEventCreate = try function("cuEventCreate")
    cuEventDestroy = try function("cuEventDestroy_v2")
    cuEventRecord = try function("cuEventRecord")
    cuEventQuery = try function("cuEventQuery")
    cuEventSynchronize = try function("cuEventSynchronize")
    unsafe cuEventElapsedTime = try function("cuEventElapsedTime")
    unsafe cuGraphGetNodes = try function("cuGraphGetNodes")
    unsafe cuGraphInstantiateWithFlags = try function("cuGraphInstantiateWithFlags")
    cuGraphDestroy = try function("cuGraphDestroy")
    cuGraphExecDestroy = try function("cuGraphExecDestroy")
    cuGraphLaunch = try function("cuGraphLaunch")
    unsafe cuTensorMapEncodeTiled = try function("cuTensorMapEncodeTiled")
    unsafe cuLaunchKernelEx = try function("cuLaunchKernelEx")
    // Absent from older drivers, which is no error.
    unsafe cuFuncGetParamInfo = try? function("cuFuncGetParamInfo")
  }
}

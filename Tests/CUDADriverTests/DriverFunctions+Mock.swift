// SPDX-License-Identifier: Apache-2.0

import CUDADriver

extension DriverFunctions {
  /// The mock's functions; the current ``MockDriver`` answers.
  static func mock() throws(CUDAError) -> DriverFunctions {
    let missing: @convention(c) () -> Int32 = { fatalError("the mock lacks a function") }
    // A function is only called through the types below, which replace this one everywhere.
    let address = unsafe unsafeBitCast(missing, to: UnsafeMutableRawPointer.self)
    var table = try unsafe DriverFunctions { _ in unsafe address }
    table.mockDevices()
    table.mockModules()
    table.mockMemory()
    table.mockStreams()
    table.mockLaunches()
    return table
  }

  private mutating func mockDevices() {
    unsafe cuDriverGetVersion = { out in
      MockDriver.answer("cuDriverGetVersion") { state in
        unsafe out.pointee = state.version
        return 0
      }
    }
    cuInit = { _ in MockDriver.answer("cuInit") }
    unsafe cuGetErrorName = { number, out in
      let names: [Int32: StaticString] = [
        1: "CUDA_ERROR_INVALID_VALUE", 2: "CUDA_ERROR_OUT_OF_MEMORY", 100: "CUDA_ERROR_NO_DEVICE",
        209: "CUDA_ERROR_NO_BINARY_FOR_GPU", 218: "CUDA_ERROR_INVALID_PTX",
        500: "CUDA_ERROR_NOT_FOUND", 700: "CUDA_ERROR_ILLEGAL_ADDRESS",
        701: "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", 900: "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
      ]
      guard let name = names[number] else { return 1 }
      // A static string stays for good.
      unsafe out.pointee = UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self)
      return 0
    }
    unsafe cuDeviceGetCount = { out in
      MockDriver.answer("cuDeviceGetCount") { state in
        unsafe out.pointee = state.deviceCount
        return 0
      }
    }
    unsafe cuDeviceGet = { out, ordinal in
      MockDriver.answer("cuDeviceGet") { _ in
        unsafe out.pointee = ordinal + 40
        return 0
      }
    }
    unsafe cuDeviceGetName = { out, capacity, _ in
      MockDriver.answer("cuDeviceGetName") { state in
        for (index, byte) in state.deviceName.utf8.prefix(Int(capacity) - 1).enumerated() {
          unsafe out[index] = CChar(bitPattern: byte)
        }
        return 0
      }
    }
    unsafe cuDeviceTotalMem = { out, _ in
      MockDriver.answer("cuDeviceTotalMem") { _ in
        unsafe out.pointee = 80 << 30
        return 0
      }
    }
    unsafe cuDeviceGetAttribute = { out, attribute, _ in
      MockDriver.answer("cuDeviceGetAttribute") { state in
        guard let value = state.deviceAttributes[attribute] else { return 1 }
        unsafe out.pointee = value
        return 0
      }
    }
    unsafe cuDevicePrimaryCtxRetain = { out, _ in
      unsafe MockDriver.make("cuDevicePrimaryCtxRetain", "context", out)
    }
    cuDevicePrimaryCtxRelease = { _ in
      MockDriver.answer("cuDevicePrimaryCtxRelease") { state in
        guard let context = state.live.first(where: { $0.value == "context" }) else { return 201 }
        state.live.removeValue(forKey: context.key)
        return 0
      }
    }
    cuCtxPushCurrent = { context in
      MockDriver.answer("cuCtxPushCurrent") { state in
        state.contexts.append(context)
        return 0
      }
    }
    unsafe cuCtxPopCurrent = { out in
      MockDriver.answer("cuCtxPopCurrent") { state in
        guard let context = state.contexts.popLast() else { return 201 }
        unsafe out.pointee = context
        return 0
      }
    }
    cuCtxSynchronize = { MockDriver.answer("cuCtxSynchronize") }
  }

  private mutating func mockModules() {
    unsafe cuModuleLoadDataEx = { out, image, count, numbers, values in
      MockDriver.answer("cuModuleLoadDataEx") { state in
        unsafe state.note(count, numbers, values)
        let isELF = unsafe image.loadUnaligned(as: UInt32.self) == 0x464C_457F
        // PTX ends with a zero; the mock's cubins are of one size.
        let size =
          unsafe isELF
          ? state.cubin.count
          : String(cString: image.assumingMemoryBound(to: CChar.self)).utf8.count
        state.images.append(unsafe Array(UnsafeRawBufferPointer(start: image, count: size)))
        if !state.errorLog.isEmpty { return 218 }
        unsafe out.pointee = UInt(state.make("module"))
        return 0
      }
    }
    cuModuleUnload = { MockDriver.destroy("cuModuleUnload", UInt64($0)) }
    unsafe cuModuleGetFunction = { out, _, name in
      MockDriver.answer("cuModuleGetFunction") { state in
        guard state.kernels.contains(unsafe String(cString: name)) else { return 500 }
        unsafe out.pointee = 0xF
        return 0
      }
    }
    unsafe cuFuncGetAttribute = { out, attribute, _ in
      MockDriver.answer("cuFuncGetAttribute") { state in
        unsafe out.pointee = state.functionAttributes[attribute]!
        return 0
      }
    }
    cuFuncSetAttribute = { _, attribute, value in
      MockDriver.answer("cuFuncSetAttribute") { state in
        state.functionAttributes[attribute] = value
        return 0
      }
    }
    unsafe cuFuncGetParamInfo = { _, index, offset, size in
      MockDriver.answer("cuFuncGetParamInfo") { state in
        guard index < state.parameters.count else { return 1 }
        unsafe size.pointee = state.parameters[index]
        return 0
      }
    }
    unsafe cuOccupancyMaxActiveBlocksPerMultiprocessor = { out, _, threads, shared in
      MockDriver.answer("cuOccupancyMaxActiveBlocksPerMultiprocessor") { _ in
        unsafe out.pointee = Int32(min(2048 / Int(threads), shared == 0 ? 32 : 232_448 / shared))
        return 0
      }
    }
    unsafe cuOccupancyMaxActiveClusters = { out, _, configuration in
      MockDriver.answer("cuOccupancyMaxActiveClusters") { state in
        unsafe state.note(configuration)
        unsafe out.pointee = 66
        return 0
      }
    }
    unsafe cuLinkCreate = { count, numbers, values, out in
      MockDriver.answer("cuLinkCreate") { state in
        unsafe state.note(count, numbers, values)
        unsafe out.pointee = UInt(state.make("linker"))
        return 0
      }
    }
    unsafe cuLinkAddData = { _, type, data, count, _, _, _, _ in
      MockDriver.answer("cuLinkAddData") { state in
        guard type == 1, unsafe data.load(fromByteOffset: count - 1, as: UInt8.self) == 0 else {
          return 1
        }
        return state.errorLog.isEmpty ? 0 : 218
      }
    }
    unsafe cuLinkComplete = { _, image, size in
      MockDriver.answer("cuLinkComplete") { state in
        // The real linker writes its log until the end: what it was given must still be there.
        state.writeLogs()
        // Lives until the linker's state is destroyed: the mock lets it live for good.
        let copy = UnsafeMutableRawBufferPointer.allocate(
          byteCount: state.cubin.count, alignment: 16)
        unsafe copy.copyBytes(from: state.cubin)
        unsafe image.pointee = UnsafeRawPointer(copy.baseAddress)
        unsafe size.pointee = copy.count
        return 0
      }
    }
    cuLinkDestroy = { MockDriver.destroy("cuLinkDestroy", UInt64($0)) }
  }

  private mutating func mockMemory() {
    unsafe cuMemGetInfo = { free, total in
      MockDriver.answer("cuMemGetInfo") { state in
        unsafe free.pointee = state.freeMemory
        unsafe total.pointee = 80 << 30
        return 0
      }
    }
    unsafe cuMemAlloc = { out, count in
      MockDriver.answer("cuMemAlloc") { state in unsafe state.allocate(count, out) }
    }
    unsafe cuMemAllocAsync = { out, count, _ in
      MockDriver.answer("cuMemAllocAsync") { state in unsafe state.allocate(count, out) }
    }
    cuMemFree = { MockDriver.destroy("cuMemFree", $0) }
    cuMemFreeAsync = { address, _ in MockDriver.destroy("cuMemFreeAsync", address) }
    unsafe cuMemHostAlloc = { out, count, _ in
      MockDriver.answer("cuMemHostAlloc") { state in
        let memory = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 256)
        state.live[UInt64(UInt(bitPattern: memory))] = "pinned"
        unsafe out.pointee = memory
        return 0
      }
    }
    unsafe cuMemFreeHost = { memory in
      defer { unsafe memory.deallocate() }
      return MockDriver.destroy("cuMemFreeHost", UInt64(UInt(bitPattern: memory)))
    }
    unsafe cuMemcpyHtoDAsync = { target, source, count, stream in
      MockDriver.answer("cuMemcpyHtoDAsync") { state in
        if state.capturing.contains(stream) { return 0 }
        guard let (base, offset) = state.allocation(of: target) else { return 1 }
        let bytes = unsafe Array(UnsafeRawBufferPointer(start: source, count: count))
        state.memory[base]!.replaceSubrange(offset..<offset + count, with: bytes)
        return 0
      }
    }
    unsafe cuMemcpyDtoHAsync = { target, source, count, _ in
      MockDriver.answer("cuMemcpyDtoHAsync") { state in
        guard let (base, offset) = state.allocation(of: source) else { return 1 }
        let bytes = state.memory[base]![offset..<offset + count]
        unsafe UnsafeMutableRawBufferPointer(start: target, count: count).copyBytes(from: bytes)
        return 0
      }
    }
    cuMemcpyDtoDAsync = { target, source, count, _ in
      MockDriver.answer("cuMemcpyDtoDAsync") { state in
        guard let from = state.allocation(of: source), let to = state.allocation(of: target) else {
          return 1
        }
        let bytes = state.memory[from.base]![from.offset..<from.offset + count]
        state.memory[to.base]!.replaceSubrange(to.offset..<to.offset + count, with: bytes)
        return 0
      }
    }
    cuMemsetD8Async = { target, byte, count, _ in
      MockDriver.answer("cuMemsetD8Async") { state in state.fill(target, [byte], count) }
    }
    cuMemsetD32Async = { target, word, count, _ in
      MockDriver.answer("cuMemsetD32Async") { state in
        state.fill(target, (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) }, count)
      }
    }
  }

  private mutating func mockStreams() {
    unsafe cuStreamCreate = { out, flags in
      guard flags == 1 else { return 1 }
      return unsafe MockDriver.make("cuStreamCreate", "stream", out)
    }
    cuStreamDestroy = { MockDriver.destroy("cuStreamDestroy", UInt64($0)) }
    cuStreamSynchronize = { stream in
      MockDriver.answer("cuStreamSynchronize") { $0.capturing.contains(stream) ? 900 : 0 }
    }
    cuStreamQuery = { _ in MockDriver.answer("cuStreamQuery") }
    cuStreamWaitEvent = { _, _, _ in MockDriver.answer("cuStreamWaitEvent") }
    cuStreamBeginCapture = { stream, mode in
      MockDriver.answer("cuStreamBeginCapture") { state in
        guard mode == 1 else { return 1 }
        state.capturing.insert(stream)
        return 0
      }
    }
    unsafe cuStreamEndCapture = { stream, out in
      MockDriver.answer("cuStreamEndCapture") { state in
        guard state.capturing.remove(stream) != nil else { return 401 }
        unsafe out.pointee = UInt(state.make("graph"))
        return 0
      }
    }
    unsafe cuEventCreate = { out, _ in unsafe MockDriver.make("cuEventCreate", "event", out) }
    cuEventDestroy = { MockDriver.destroy("cuEventDestroy", UInt64($0)) }
    cuEventRecord = { _, _ in MockDriver.answer("cuEventRecord") }
    cuEventQuery = { _ in MockDriver.answer("cuEventQuery") }
    cuEventSynchronize = { _ in MockDriver.answer("cuEventSynchronize") }
    unsafe cuEventElapsedTime = { out, start, end in
      MockDriver.answer("cuEventElapsedTime") { _ in
        unsafe out.pointee = start < end ? 1.5 : -1
        return 0
      }
    }
    unsafe cuGraphGetNodes = { _, _, out in
      MockDriver.answer("cuGraphGetNodes") { _ in
        unsafe out.pointee = 3
        return 0
      }
    }
    unsafe cuGraphInstantiateWithFlags = { out, _, _ in
      unsafe MockDriver.make("cuGraphInstantiateWithFlags", "executable graph", out)
    }
    cuGraphDestroy = { MockDriver.destroy("cuGraphDestroy", UInt64($0)) }
    cuGraphExecDestroy = { MockDriver.destroy("cuGraphExecDestroy", UInt64($0)) }
    cuGraphLaunch = { _, _ in MockDriver.answer("cuGraphLaunch") }
  }

  private mutating func mockLaunches() {
    unsafe cuTensorMapEncodeTiled = {
      map, type, rank, address, extents, strides, box, steps, interleave, swizzle, promotion, fill
      in
      MockDriver.answer("cuTensorMapEncodeTiled") { state in
        guard UInt(bitPattern: map) % 128 == 0 else { return 1 }
        let rank = Int(rank)
        unsafe state.tensorMap = [
          [
            UInt64(type), address, UInt64(interleave), UInt64(swizzle), UInt64(promotion),
            UInt64(fill),
          ],
          Array(UnsafeBufferPointer(start: extents, count: rank)),
          Array(UnsafeBufferPointer(start: strides, count: rank - 1)),
          UnsafeBufferPointer(start: box, count: rank).map { UInt64($0) },
          UnsafeBufferPointer(start: steps, count: rank).map { UInt64($0) },
        ]
        // Bytes that are told apart from those of any other place.
        for byte in 0..<128 {
          unsafe map.storeBytes(of: UInt8(0x80 + byte), toByteOffset: byte, as: UInt8.self)
        }
        return 0
      }
    }
    unsafe cuLaunchKernelEx = { configuration, _, arguments, extra in
      MockDriver.answer("cuLaunchKernelEx") { state in
        guard unsafe extra == nil else { return 1 }
        unsafe state.note(configuration)
        state.arguments = []
        state.remainders = []
        for (index, byteCount) in state.parameters.enumerated() {
          guard let argument = unsafe arguments[index] else { return 1 }
          state.remainders.append(UInt(bitPattern: argument) % 64)
          state.arguments.append(
            unsafe Array(UnsafeRawBufferPointer(start: argument, count: byteCount)))
        }
        return 0
      }
    }
  }
}

// What the C functions do to the state; their callers pass pointers as cuda.h says.
extension MockDriver.State {
  mutating func note(
    _ count: UInt32, _ numbers: UnsafeMutablePointer<Int32>, _ values: UnsafeMutablePointer<UInt>
  ) {
    options = [:]
    for index in 0..<Int(count) { unsafe options[numbers[index]] = values[index] }
    writeLogs()
  }

  func writeLogs() {
    for (buffer, text) in [(Int32(3), infoLog), (5, errorLog)] {
      guard let address = options[buffer], let capacity = options[buffer + 1] else { continue }
      let target = unsafe UnsafeMutablePointer<UInt8>(bitPattern: address)!
      for (index, byte) in text.utf8.prefix(Int(capacity) - 1).enumerated() {
        unsafe target[index] = byte
      }
    }
  }

  mutating func note(_ configuration: UnsafeRawPointer) {
    unsafe self.configuration = Array(UnsafeRawBufferPointer(start: configuration, count: 56))
    let address = unsafe configuration.load(fromByteOffset: 40, as: UnsafeRawPointer.self)
    let count = unsafe configuration.load(fromByteOffset: 48, as: UInt32.self)
    attributes = (0..<Int(count)).map { index in
      unsafe Array(UnsafeRawBufferPointer(start: address + 72 * index, count: 72))
    }
  }

  mutating func allocate(_ count: Int, _ out: UnsafeMutablePointer<UInt64>) -> Int32 {
    guard count <= freeMemory else { return 2 }
    let address = make("memory")
    nextHandle += UInt64(count)
    memory[address] = Array(repeating: 0xCC, count: count)
    unsafe out.pointee = address
    return 0
  }

  mutating func fill(_ target: UInt64, _ pattern: [UInt8], _ count: Int) -> Int32 {
    guard let (base, offset) = allocation(of: target) else { return 1 }
    for index in 0..<count * pattern.count {
      memory[base]![offset + index] = pattern[index % pattern.count]
    }
    return 0
  }
}

// SPDX-License-Identifier: Apache-2.0

package import PTX

extension DeviceBuffer {
  /// Memory that holds values.
  package static func holding<Value: BitwiseCopyable>(
    _ values: [Value], on executor: any KernelExecutor
  ) throws -> DeviceBuffer {
    let buffer = try DeviceBuffer(
      byteCount: values.count * MemoryLayout<Value>.stride, on: executor)
    // Numbers of one size have no bytes between them.
    try unsafe buffer.upload(values.span.bytes)
    return buffer
  }
}

extension Array {
  /// The values whose bytes came from a device.
  ///
  /// - Precondition: The values are plain bits.
  package init(deviceBytes bytes: [UInt8]) {
    let count = bytes.count / MemoryLayout<Element>.stride
    // The values are plain bits, which may begin anywhere.
    self = unsafe bytes.withUnsafeBytes { buffer in
      (0..<count).map {
        unsafe buffer.baseAddress.unsafelyUnwrapped
          .advanced(by: $0 * MemoryLayout<Element>.stride)
          .bindMemory(to: Element.self, capacity: 1).pointee
      }
    }
  }
}

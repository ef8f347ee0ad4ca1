// SPDX-License-Identifier: Apache-2.0

/// What the tensor memory accelerator must know of a tensor, encoded by the driver.
///
/// Passed to a kernel by value (``LaunchArgument/tensorMap(_:)``). It holds an address: the memory must
/// outlive the kernel.
public struct TensorMap: Sendable {
  /// The size of `CUtensorMap`.
  static let byteCount = 128

  /// The parameter's alignment in PTX.
  ///
  /// The driver's header asks for 64 and, since CUDA 13, declares the type with 128; encoding uses the
  /// latter.
  static let alignment = 64

  var words: InlineArray<16, UInt64>

  /// Encodes a tensor map.
  ///
  /// - Parameters:
  ///   - description: Shape, boxes and swizzle.
  ///   - address: The first element, a multiple of 16.
  ///   - context: The context of the memory.
  /// - Throws: ``CUDAError``: ``CUDAError/Code/invalidArgument`` for what breaks a limit of the hardware,
  ///   ``CUDAError/Code/unsupported`` before Hopper.
  public init(
    _ description: Description, at address: DeviceAddress, in context: Context
  ) throws(CUDAError) {
    let capability = context.device.computeCapability
    guard capability.major >= 9 else {
      throw CUDAError(
        .unsupported,
        "\(context.device.name) is of compute capability \(capability) and has no tensor maps: they "
          + "came with 9.0")
    }
    guard !description.elementType.isPacked || capability.major >= 10 else {
      throw CUDAError(
        .unsupported,
        "\(context.device.name) is of compute capability \(capability) and has no tensor maps of "
          + "4-bit elements: they came with 10.0; use .uint8 for pairs of them")
    }
    try description.check(at: address)
    let rank = description.extents.count
    let extents = description.extents.map { UInt64($0) }
    // The driver reads one stride less than extents; a lone dimension still gets an address to look at.
    let strides = description.strides.map { UInt64($0) } + [0]
    let box = description.box.map { UInt32($0) }
    let steps = [UInt32](repeating: 1, count: rank)
    var words = InlineArray<16, UInt64>(repeating: 0)
    // The map and the four lists live for the call; the lists have as many numbers as the rank says.
    let result = unsafe withUnsafeTemporaryAllocation(byteCount: Self.byteCount, alignment: 128) {
      buffer in
      unsafe buffer.initializeMemory(as: UInt8.self, repeating: 0)
      let map = buffer.baseAddress!
      let result = context.result {
        unsafe $0.cuTensorMapEncodeTiled(
          map, description.elementType.rawValue, UInt32(rank), address.rawValue, extents, strides,
          box, steps, 0, description.swizzle.rawValue, description.l2Promotion.rawValue,
          description.outOfBoundsFill.rawValue)
      }
      for word in words.indices {
        words[word] = unsafe map.load(fromByteOffset: 8 * word, as: UInt64.self)
      }
      return result
    }
    try context.library.check(
      result, "cuTensorMapEncodeTiled", "The tensor map \(description) cannot be encoded")
    self.words = words
  }
}

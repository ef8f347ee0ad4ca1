// SPDX-License-Identifier: Apache-2.0

/// A number of blocks or threads in each of three dimensions.
public struct Dimensions: Hashable, Sendable, ExpressibleByIntegerLiteral {
  /// The fastest dimension.
  public var x: Int
  /// The middle dimension.
  public var y: Int
  /// The slowest dimension.
  public var z: Int

  /// Numbers in each dimension; those left out are one.
  public init(_ x: Int, _ y: Int = 1, _ z: Int = 1) {
    self.x = x
    self.y = y
    self.z = z
  }

  /// A number in the first dimension.
  public init(integerLiteral value: Int) {
    self.init(value)
  }

  /// The product.
  public var count: Int { x * y * z }
}

/// How a kernel is launched.
public struct LaunchConfiguration: Hashable, Sendable {
  /// Blocks of the grid.
  public var grid: Dimensions

  /// Threads of a block.
  public var block: Dimensions

  /// Dynamic shared memory of a block, in bytes.
  public var dynamicSharedMemory: Int

  /// Blocks of a cluster, or nil for a launch without clusters.
  public var cluster: Dimensions?

  /// Whether the kernel may begin before its predecessor in the stream ends.
  ///
  /// The kernel must then wait (`griddepcontrol.wait`) before it touches what the predecessor writes or
  /// reads (programmatic dependent launch).
  public var programmaticStreamSerialization: Bool

  /// A launch of a grid of blocks.
  public init(
    grid: Dimensions, block: Dimensions, dynamicSharedMemory: Int = 0, cluster: Dimensions? = nil,
    programmaticStreamSerialization: Bool = false
  ) {
    self.grid = grid
    self.block = block
    self.dynamicSharedMemory = dynamicSharedMemory
    self.cluster = cluster
    self.programmaticStreamSerialization = programmaticStreamSerialization
  }
}

extension LaunchConfiguration {
  /// `CUlaunchConfig`: grid at 0, block at 12, shared memory at 24, stream at 32, attributes at 40,
  /// their number at 48.
  static let driverByteCount = 56

  /// `CUlaunchAttribute`: its number at 0, its value, a union of 64 bytes, at 8.
  static let attributeByteCount = 72

  /// Writes the driver's structures on the stack and passes the configuration's address.
  func withDriverConfiguration<R>(
    stream: DriverFunctions.Handle, _ body: (UnsafeRawPointer) -> R
  ) -> R {
    let byteCount = Self.driverByteCount + 2 * Self.attributeByteCount
    // Zeroed before use; every offset below lies within the structures' sizes, on its alignment.
    return unsafe withUnsafeTemporaryAllocation(byteCount: byteCount, alignment: 8) { buffer in
      unsafe buffer.initializeMemory(as: UInt8.self, repeating: 0)
      let base = buffer.baseAddress!
      func put(_ value: Int, at offset: Int) {
        unsafe base.storeBytes(of: UInt32(value), toByteOffset: offset, as: UInt32.self)
      }
      func put(_ dimensions: Dimensions, at offset: Int) {
        put(dimensions.x, at: offset)
        put(dimensions.y, at: offset + 4)
        put(dimensions.z, at: offset + 8)
      }
      put(grid, at: 0)
      put(block, at: 12)
      put(dynamicSharedMemory, at: 24)
      var attribute = Self.driverByteCount
      if let cluster {
        put(Int(LaunchAttributeID.clusterDimension.rawValue), at: attribute)
        put(cluster, at: attribute + 8)
        attribute += Self.attributeByteCount
      }
      if programmaticStreamSerialization {
        put(Int(LaunchAttributeID.programmaticStreamSerialization.rawValue), at: attribute)
        put(1, at: attribute + 8)
        attribute += Self.attributeByteCount
      }
      unsafe base.storeBytes(of: stream, toByteOffset: 32, as: UInt.self)
      let attributes = unsafe UInt(bitPattern: base + Self.driverByteCount)
      unsafe base.storeBytes(of: attributes, toByteOffset: 40, as: UInt.self)
      put((attribute - Self.driverByteCount) / Self.attributeByteCount, at: 48)
      return unsafe body(UnsafeRawPointer(base))
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

/// A tile in a block's shared memory.
package struct SharedTile<Element: TileElement> {
  package let layout: TileLayout<Element>
  /// With `offset`, of the first byte; a multiple of the layout's alignment.
  let address: Value<UInt32>
  let offset: Int
  /// From one panel to the next; rows of a tile keep the distance of the whole.
  let panelStride: Int

  init(layout: TileLayout<Element>, address: Value<UInt32>, offset: Int, panelStride: Int? = nil) {
    self.layout = layout
    self.address = address
    self.offset = offset
    self.panelStride = panelStride ?? layout.panelBytes
  }

  var builder: KernelBuilder { Value<UInt32>.builder(address.builder) }

  // MARK: Parts

  /// Some of the rows.
  ///
  /// - Precondition: `first` is a multiple of 8 while the kernel runs, so that the swizzle's pattern
  ///   begins there.
  package func rows(from first: Value<UInt32>, count: Int) -> SharedTile {
    SharedTile(
      layout: layout.rows(count),
      address: first.multiplied(by: Value(layout.panelRowBytes), adding: address),
      offset: offset, panelStride: panelStride)
  }

  /// Some of the rows, from a multiple of 8 on.
  package func rows(from first: Int, count: Int) -> SharedTile {
    precondition(first % 8 == 0 || layout.swizzle == .none, "a swizzle's pattern has eight rows")
    precondition(first + count <= layout.rows, "a tile has \(layout.rows) rows")
    return SharedTile(
      layout: layout.rows(count), address: address, offset: offset + first * layout.panelRowBytes,
      panelStride: panelStride)
  }

  /// Some of the columns.
  ///
  /// - Precondition: The tile has one row and is not swizzled.
  package func columns(from first: Value<UInt32>, count: Int) -> SharedTile {
    precondition(layout.rows == 1 && layout.swizzle == .none, "only a row's columns lie together")
    return SharedTile(
      layout: TileLayout(rows: 1, columns: count),
      address: first.multiplied(by: Value(Element.scalar.byteCount), adding: address),
      offset: offset)
  }

  /// The elements as plain memory, row by row.
  ///
  /// - Precondition: The tile is not swizzled.
  package var pointer: SharedPointer<Element> {
    precondition(layout.swizzle == .none, "elements of a swizzled tile are not in order")
    return SharedPointer(address: address, offset: offset)
  }

  func panel(_ index: Int) -> Address {
    Address(address.register, offset: offset + index * panelStride)
  }

  // MARK: Copies

  /// Starts loading the tile from a matrix; one thread calls it.
  ///
  /// - Parameters:
  ///   - row: Of the matrix, where the tile begins.
  ///   - column: Of the matrix, where the tile begins.
  ///   - arrival: Completes when the bytes have arrived.
  package func load(
    from map: TensorMapParameter<Element>, row: Value<UInt32>, column: Value<UInt32>,
    arrival: Transaction, policy: CachePolicy? = nil, file: String = #fileID, line: Int = #line
  ) {
    builder.at(file, line)
    startLoad(map, row: row, column: column, arrival: arrival, multicast: nil, policy: policy)
    arrival.announce(bytes: layout.byteCount)
  }

  /// Starts loading a tile that all blocks of a cluster need: each loads its share of the rows into
  /// the memory of all.
  ///
  /// The map's boxes have the rows of one share. Every block announces the whole tile, whichever
  /// block loads it.
  package func load(
    from map: TensorMapParameter<Element>, row: Value<UInt32>, column: Value<UInt32>,
    sharedBy cluster: Cluster, arrival: Transaction, policy: CachePolicy? = nil,
    file: String = #fileID, line: Int = #line
  ) {
    if cluster.blocks == 1 {
      return load(
        from: map, row: row, column: column, arrival: arrival, policy: policy, file: file,
        line: line)
    }
    builder.at(file, line)
    let share = layout.rows / cluster.blocks
    let first = cluster.rank * share
    rows(from: first, count: share).startLoad(
      map, row: row + first, column: column, arrival: arrival, multicast: cluster.everyBlock,
      policy: policy)
    arrival.announce(bytes: layout.byteCount)
  }

  private func startLoad(
    _ map: TensorMapParameter<Element>, row: Value<UInt32>, column: Value<UInt32>,
    arrival: Transaction, multicast: Operand?, policy: CachePolicy?
  ) {
    let k = builder
    k.require(.bulkCopy)
    precondition(map.layout == layout, "the tensor map's boxes are not this tile's panels")
    for index in 0..<layout.panels {
      let copy = TensorCopy(
        map: map.address.register,
        coordinates: [(column + index * layout.panelColumns).operand, row.operand],
        shared: panel(index), policy: policy)
      k.append(.tensorLoad(copy, barrier: arrival.barrier.place, multicast: multicast))
    }
  }

  /// Starts storing the tile into a matrix, or adding it to what is there; one thread calls it.
  ///
  /// Writes of threads to the tile come before it by a fence (`proxyAsyncShared`) in each and a barrier.
  package func store(
    to map: TensorMapParameter<Element>, row: Value<UInt32>, column: Value<UInt32>,
    adding: Bool = false, policy: CachePolicy? = nil, file: String = #fileID, line: Int = #line
  ) {
    let k = builder
    k.at(file, line)
    k.require(.bulkCopy)
    precondition(map.layout == layout, "the tensor map's boxes are not this tile's panels")
    for index in 0..<layout.panels {
      let copy = TensorCopy(
        map: map.address.register,
        coordinates: [(column + index * layout.panelColumns).operand, row.operand],
        shared: panel(index), policy: policy)
      k.append(.tensorStore(copy, adding: adding))
    }
  }
}

// MARK: Matrix descriptors

extension SharedTile where Element: MatrixElement {
  /// What `wgmma` reads the tile by, rows being those of the product and columns its depth.
  func descriptor() -> MatrixDescriptor {
    guard let rowBytes = layout.swizzle.rowBytes else {
      preconditionFailure("operands of products lie in swizzled tiles")
    }
    let k = builder
    // Bits 14 to 31 and 32 to 45: the distance of eight rows, in units of 16 bytes, is all that
    // tiles along the depth need; bits 62 and 63: the swizzle.
    let high = UInt64(8 * rowBytes / 16) | layout.swizzle.descriptorBits << 30
    return MatrixDescriptor(
      low: ((address + offset) >> 4) & 0x3FFF, high: Value<UInt32>(bits: high).materialized(k),
      stepsAPanel: rowBytes / 32, panelStride: panelStride, builder: k)
  }

  /// Instructions that go through the tile's columns.
  var depthSteps: Int { layout.columns * Element.scalar.byteCount / 32 }
}

/// The 64 bits that say where an operand of `wgmma` lies.
struct MatrixDescriptor {
  /// The address in units of 16 bytes.
  let low: Value<UInt32>
  let high: Value<UInt32>
  let stepsAPanel: Int
  let panelStride: Int
  let builder: KernelBuilder

  /// The descriptor so many instructions (32 bytes of depth each) further.
  func step(_ index: Int) -> Register {
    let bytes = index / stepsAPanel * panelStride + index % stepsAPanel * 32
    let result = builder.register(.bits64)
    builder.append(.pack(result, [(low + bytes / 16).register, high.register]))
    return result
  }
}

// SPDX-License-Identifier: Apache-2.0

import PTX

/// One launch of a kernel: what all its blocks share.
final class Launch {
  let program: Program
  let options: Emulator.Options
  let memory: EmulatedMemory
  let grid: GridShape
  /// In the order of the tree's parameters.
  let arguments: [KernelArgument]
  let warpsPerBlock: Int
  /// Registers a thread when a block begins; threads times this is its pool.
  let registersAtEntry: Int

  /// 32 words for whoever needs them within an instruction.
  let scratch = Storage<UInt32>(repeating: 0, count: 32)
  /// Registers of warps that have ended, for those to come: what they hold nobody reads, because a
  /// new warp has written none of them, and constants are the same for all.
  private var spareRegisters: [Storage<UInt8>] = []

  var tree: KernelTree { program.tree }

  init(
    _ program: Program, _ options: Emulator.Options, _ memory: EmulatedMemory, _ grid: GridShape,
    _ arguments: [KernelArgument]
  ) {
    self.program = program
    self.options = options
    self.memory = memory
    self.grid = grid
    self.arguments = arguments
    let threads = program.tree.bounds.threads
    warpsPerBlock = (threads + 31) / 32
    // What ptxas may use at most: the multiprocessor's 65,536 over the block's threads, in eights.
    let share = 65_536 / (warpsPerBlock * 32 * (program.tree.bounds.minimumBlocks ?? 1)) & ~7
    registersAtEntry = Swift.min(program.tree.bounds.maximumRegisters ?? 255, share, 255)
  }
}

extension Launch {
  func takeRegisters() -> Storage<UInt8> {
    if let registers = spareRegisters.popLast() { return registers }
    let registers = Storage<UInt8>(repeating: 0, count: program.registerBytes)
    for (place, value) in program.constants {
      for lane in 0..<32 {
        switch place.kind {
        case .predicate: break
        case .bits16: registers.lanes(UInt16.self, at: place.offset)[lane] = UInt16(value)
        case .bits32: registers.lanes(UInt32.self, at: place.offset)[lane] = UInt32(value)
        case .bits64: registers.lanes(UInt64.self, at: place.offset)[lane] = value
        }
      }
    }
    return registers
  }

  func giveBack(_ registers: Storage<UInt8>) { spareRegisters.append(registers) }
}

/// Blocks that run together and reach each other's shared memory.
final class Cluster {
  let index: Int
  let clocks: Clocks
  var blocks: [Block] = []
  var barrier = ClusterBarrier()
  /// Copies that were asked for and not done yet, oldest first.
  var copies: [PendingCopy] = []

  init(_ launch: Launch, index: Int) {
    self.index = index
    let size = launch.tree.bounds.clusterBlocks
    clocks = Clocks(warpCount: size * launch.warpsPerBlock)
    for rank in 0..<size {
      let number = index * size + rank
      let x = number % launch.grid.x
      let y = number / launch.grid.x % launch.grid.y
      let z = number / launch.grid.x / launch.grid.y
      blocks.append(Block(launch, self, rank: rank, at: GridShape(x, y, z)))
    }
  }

  var warps: [Warp] { blocks.flatMap(\.warps) }

  /// Lets go of what refers to each other.
  func dissolve() {
    for block in blocks {
      for warp in block.warps { block.launch.giveBack(warp.registers) }
      block.warps = []
    }
    blocks = []
    copies = []
  }
}

/// A block with its warps, shared memory and barriers.
final class Block {
  let launch: Launch
  let cluster: Cluster
  /// Its number in the cluster.
  let rank: Int
  /// Its coordinates in the grid.
  let position: GridShape
  let shared: SharedMemory
  var warps: [Warp] = []
  var barriers = Array(repeating: NamedBarrier(), count: 16)
  /// Registers of the pool that no warp has.
  var freeRegisters = 0
  var convoys: [Convoy] = []

  init(_ launch: Launch, _ cluster: Cluster, rank: Int, at position: GridShape) {
    self.launch = launch
    self.cluster = cluster
    self.rank = rank
    self.position = position
    shared = SharedMemory(byteCount: launch.tree.sharedBytes, clocks: cluster.clocks)
    let threads = launch.tree.bounds.threads
    for index in 0..<launch.warpsPerBlock {
      warps.append(Warp(self, index: index, threads: threads - index * 32))
    }
    convoys = Array(repeating: Convoy(), count: (launch.warpsPerBlock + 3) / 4)
  }

  /// A warp has ended.
  func finished(_ warp: Warp) throws(Fault) {
    // Ended threads count as arrived at the cluster's barrier.
    cluster.barrier.completeIfAll(of: cluster.warps)
    try checkConvoys(after: warp)
  }

  var hasEnded: Bool { warps.allSatisfy(\.isFinished) }

  // MARK: Addresses

  /// Where bytes at a shared address lie: in this block, or in one of the cluster for addresses of
  /// `mapa`.
  ///
  /// Those carry the block's number plus one above bit 24, so that the two kinds of address differ.
  func resolve(
    _ address: UInt32, _ count: Int, lane: Int? = nil, inCluster: Bool = false
  ) throws(Fault) -> (block: Block, offset: Int) {
    func fault(_ text: String) -> Fault {
      if let lane { Fault(.outOfBounds, text, lane: lane) } else { Fault(.outOfBounds, text) }
    }
    let owner = Int(address >> 24)
    let offset = Int(address & 0xFF_FFFF) - SharedMemory.base
    guard owner == 0 || inCluster else {
      throw fault("uses \(hexadecimal(address)), an address of `mapa`, as one of its own block")
    }
    guard owner <= cluster.blocks.count else {
      throw fault("touches shared address \(hexadecimal(address)), of no block of the cluster")
    }
    let block = owner == 0 ? self : cluster.blocks[owner - 1]
    guard offset >= 0, offset + count <= block.shared.bytes.count else {
      throw fault(
        "touches \(count) bytes at shared byte \(offset) of \(block.shared.bytes.count)")
    }
    if block !== self, block.hasEnded {
      throw fault("touches shared memory of block \(block.rank) of the cluster, which has ended")
    }
    return (block, offset)
  }
}

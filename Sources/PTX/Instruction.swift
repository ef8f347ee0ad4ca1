// SPDX-License-Identifier: Apache-2.0

/// One PTX instruction: its family, operation and operands.
///
/// The renderer writes it, the emulator executes it; neither knows of the other. Registers that
/// are written come first, as in PTX.
package enum Instruction: Hashable, Sendable {
  // MARK: Registers
  /// `mov`: the register's kind says how many bits.
  case move(Register, Operand)
  /// `mov` of a special register.
  case readSpecial(Register, SpecialRegister)
  /// `ld.param` of a scalar parameter.
  case loadParameter(Register, parameter: Int)
  /// The generic address of a tensor-map parameter.
  case tensorMapAddress(Register, parameter: Int)
  /// The shared-space address (32 bits) of a byte of the kernel's shared memory.
  case sharedAddress(Register, offset: Int)
  /// `cvta.to.global`: a generic address as one of global memory.
  case globalAddress(Register, Register)
  /// `mov.b32 d, {a, b}` or `mov.b64`: the first part goes to the low bits.
  case pack(Register, [Register])
  /// The reverse of `pack`.
  case unpack([Register], Register)
  /// `selp`: the first operand where the predicate holds.
  case select(Register, Operand, Operand, Register)
  /// `prmt.b32`: four bytes out of eight, chosen by the nibbles of the selector.
  case permuteBytes(Register, Operand, Operand, selector: Operand)
  /// `lop3.b32` with its truth table.
  case logic3(Register, Operand, Operand, Operand, table: UInt8)

  // MARK: Arithmetic
  case unary(UnaryOperation, ScalarType, Register, Operand)
  case binary(BinaryOperation, ScalarType, Register, Operand, Operand)
  case ternary(TernaryOperation, ScalarType, Register, Operand, Operand, Operand)
  /// `setp`: a predicate.
  case compare(Comparison, ScalarType, Register, Operand, Operand)
  /// `and.pred`, `or.pred`, `xor.pred` or `not.pred` (which reads the first alone).
  case predicateLogic(PredicateOperation, Register, Register, Register?)

  // MARK: Conversions
  /// `cvt` between scalar types.
  case convert(
    Register, to: ScalarType, Operand, from: ScalarType, rounding: Rounding, saturating: Bool)
  /// `cvt` of two FP32 values into a packed pair; the first source goes to the high half.
  case packPair(Register, PairFormat, high: Operand, low: Operand)
  /// `cvt` of two FP32 values into a packed pair with random bits (`.rs`), the destination holding
  /// four codes: sources are in the order of PTX, {a, b, e, f}.
  case packQuadStochastic(Register, PairFormat, [Operand], random: Operand)
  /// `cvt.rn.f16x2` of a packed pair of eight- or four-bit codes.
  case unpackPair(Register, Register, from: PairFormat)

  // MARK: Memory
  case load(MemoryAccess, to: [Register], address: Address)
  case store(MemoryAccess, from: [Operand], address: Address)
  /// `atom` (with a result) or `red` (without).
  case atomic(
    AtomicOperation, ScalarType, MemorySpace, to: Register?, address: Address, Operand,
    compare: Operand?)
  case prefetchL2(Address)

  // MARK: Warps
  /// `shfl.sync`; the predicate says whether the source lane was in range.
  case shuffle(
    ShuffleMode, Register, valid: Register?, Operand, lane: Operand, clamp: Operand, mask: Operand)
  /// `vote.sync.ballot`: a bit for each lane whose predicate holds.
  case ballot(Register, Register, mask: Operand)
  /// `vote.sync.all` or `.any`.
  case vote(VoteMode, Register, Register, mask: Operand)
  /// `redux.sync` of integers.
  case reduceWarp(BinaryOperation, ScalarType, Register, Operand, mask: Operand)
  /// `elect.sync`: one lane of the mask.
  case elect(Register, mask: Operand)
  case synchronizeWarp(mask: Operand)

  // MARK: Barriers and fences
  /// `bar.sync`: of all threads, or of so many that name this barrier (a multiple of 32).
  case barrier(id: Operand, threads: Int?)
  /// `bar.arrive`.
  case barrierArrive(id: Operand, threads: Int)
  case fence(Fence)
  /// `barrier.cluster.arrive` (`.relaxed` or with release) and `.wait`.
  case clusterArrive(relaxed: Bool)
  case clusterWait
  /// `mapa.shared::cluster.u32`: the address of the same byte in another block of the cluster.
  case mapToCluster(Register, Operand, block: Operand)

  // MARK: Transaction barriers
  case mbarrierInitialize(Address, count: Operand)
  case mbarrierInvalidate(Address)
  /// One arrival, at a barrier of this block.
  case mbarrierArrive(Address)
  /// One arrival that also announces bytes.
  case mbarrierArriveExpecting(Address, bytes: Operand)
  /// Announces bytes without arriving.
  case mbarrierExpect(Address, bytes: Operand)
  /// One arrival at a barrier of a block of the cluster, whose address `mapToCluster` gave.
  case mbarrierArriveRemote(Address)
  /// `try_wait.parity`: whether the phase of this parity has completed.
  case mbarrierTryWait(Register, Address, parity: Operand)

  // MARK: Bulk copies
  /// `cp.async.bulk.tensor` from global to shared memory.
  case tensorLoad(TensorCopy, barrier: Address, multicast: Operand?)
  /// `cp.async.bulk.tensor` from shared to global memory, plain or adding.
  case tensorStore(TensorCopy, adding: Bool)
  case tensorPrefetch(map: Register, coordinates: [Operand])
  case prefetchTensorMap(Register)
  /// `cp.async.bulk.shared::cluster.global`: contiguous bytes.
  case bulkLoad(shared: Address, global: Register, bytes: Operand, barrier: Address)
  /// `cp.async.bulk.global.shared::cta`, plain or adding values of a type.
  case bulkStore(global: Register, shared: Address, bytes: Operand, adding: ScalarType?)
  case bulkCommit
  /// Until at most so many groups are pending; `reading`: only until their sources were read.
  case bulkWait(pending: Int, reading: Bool)

  // MARK: Tensor cores
  case wgmmaFence
  case wgmma(MatrixProduct)
  case wgmmaCommit
  case wgmmaWait(pending: Int)
  /// `ldmatrix`: one, two or four matrices of 8x8 values of 16 bits.
  case loadMatrix([Register], Address, transposed: Bool)
  case storeMatrix([Register], Address, transposed: Bool)

  // MARK: Launch and flow
  case setMaximumRegisters(Int, increasing: Bool)
  /// `griddepcontrol.wait`: until the kernels before have finished and their writes are visible.
  case waitForPriorGrids
  case launchDependentGrids
  case trap
}

/// `[register + offset]`.
package struct Address: Hashable, Sendable {
  package var base: Register
  package var offset: Int

  package init(_ base: Register, offset: Int = 0) {
    self.base = base
    self.offset = offset
  }
}

/// Registers that the hardware fills.
package enum SpecialRegister: String, Hashable, Sendable, CaseIterable {
  case threadX = "%tid.x", threadY = "%tid.y"
  case threadsX = "%ntid.x"
  case blockX = "%ctaid.x", blockY = "%ctaid.y", blockZ = "%ctaid.z"
  case blocksX = "%nctaid.x", blocksY = "%nctaid.y", blocksZ = "%nctaid.z"
  case lane = "%laneid"
  case blockInCluster = "%cluster_ctarank", blocksInCluster = "%cluster_nctarank"
  case cluster = "%clusterid.x"
}

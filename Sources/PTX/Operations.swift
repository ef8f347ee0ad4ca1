// SPDX-License-Identifier: Apache-2.0

/// Operations of one operand.
package enum UnaryOperation: String, Hashable, Sendable, CaseIterable {
  case negate = "neg", absolute = "abs", not
  case populationCount = "popc", leadingZeros = "clz", reverseBits = "brev"
  /// Rounded to nearest even.
  case reciprocal = "rcp.rn", squareRoot = "sqrt.rn"
  /// Within the errors that the PTX manual documents.
  /// The reciprocal takes and gives zero for subnormal numbers.
  case approximateReciprocal = "rcp.approx.ftz", approximateReciprocalRoot = "rsqrt.approx"
  case approximateExponential2 = "ex2.approx", approximateLogarithm2 = "lg2.approx"
  case approximateTanh = "tanh.approx"
}

/// Operations of two operands.
package enum BinaryOperation: String, Hashable, Sendable, CaseIterable {
  case add, subtract = "sub"
  /// Of FP32: what the exact sum has beyond the last place is cut off.
  case addTowardZero = "add.rz"
  case multiply = "mul"
  /// The high half of a product of integers.
  case multiplyHigh = "mul.hi"
  /// The product of two integers of 32 bits in 64.
  case multiplyWide = "mul.wide"
  /// Of integers, or of FP32 and FP64 rounded to nearest even.
  case divide = "div"
  case remainder = "rem"
  /// Of a number and NaN, the number.
  case minimum = "min", maximum = "max"
  /// Of a number and NaN, NaN.
  case minimumNaN = "min.NaN", maximumNaN = "max.NaN"
  case and, or, xor
  case shiftLeft = "shl", shiftRight = "shr"
}

/// Operations of three operands.
package enum TernaryOperation: String, Hashable, Sendable, CaseIterable {
  /// `a · b + c`: `mad.lo` of integers, `fma.rn` of floating-point values.
  case multiplyAdd
  /// `a · b + c` with integers of 32 bits and a sum of 64.
  case multiplyAddWide
  /// The low 32 bits of `{b, a}` shifted right by `c` (`shf.r.wrap.b32`).
  case funnelShiftRight
}

/// Comparisons; those of floating-point values are false for NaN but for `notEqualOrNaN`.
package enum Comparison: String, Hashable, Sendable, CaseIterable {
  case equal = "eq", notEqual = "ne", less = "lt", lessOrEqual = "le", greater = "gt"
  case greaterOrEqual = "ge"
  /// `neu`: also true where either is NaN.
  case notEqualOrNaN = "neu"
  /// `nan`: either is NaN.
  case unordered = "nan"
}

/// Operations of predicates.
package enum PredicateOperation: String, Hashable, Sendable, CaseIterable {
  case and, or, xor, not
}

/// How a conversion rounds.
package enum Rounding: String, Hashable, Sendable, CaseIterable {
  /// Exact conversions name no rounding.
  case none = ""
  case nearestEven = "rn", towardZero = "rz", down = "rm", up = "rp"
  /// To integers.
  case nearestEvenInteger = "rni", towardZeroInteger = "rzi", downInteger = "rmi", upInteger = "rpi"
}

/// Packed pairs that conversions write or read.
package enum PairFormat: String, Hashable, Sendable, CaseIterable {
  case f16x2, bf16x2
  /// Eight bits each, in 16; conversions saturate at the largest finite code.
  case e4m3x2, e5m2x2
  /// Four bits each, in 8, which the renderer keeps in a register of 16.
  case e2m1x2
  /// Exponents, rounded up.
  case ue8m0x2

  /// The kind of register that holds a pair.
  package var registerKind: RegisterKind {
    switch self {
    case .f16x2, .bf16x2: .bits32
    case .e4m3x2, .e5m2x2, .e2m1x2, .ue8m0x2: .bits16
    }
  }
}

/// The spaces that addresses lie in.
package enum MemorySpace: String, Hashable, Sendable {
  case global
  /// Of this block; addresses of 32 bits.
  case shared = "shared::cta"
  /// Of a block of the cluster, by addresses of `mapa`.
  case sharedCluster = "shared::cluster"

  package var addressKind: RegisterKind { self == .global ? .bits64 : .bits32 }
}

/// How a load or store treats the caches.
package enum CacheHint: Hashable, Sendable {
  case normal
  /// `ld.global.nc`: read-only while the kernel runs. Hints that keep lines out of the first-level
  /// cache cost 3 to 9 % of the rate of memory on an H100.
  case readOnly
  /// `st.global.cs`: written once and not read soon.
  case evictFirst
}

/// One load or store: its space, element, vector length and cache hint.
package struct MemoryAccess: Hashable, Sendable {
  package var space: MemorySpace
  package var type: ScalarType
  /// 1, 2 or 4.
  package var count: Int
  package var cache: CacheHint
  /// `.volatile`: is done each time, for flags that other blocks write.
  package var isVolatile: Bool

  package init(
    space: MemorySpace, type: ScalarType, count: Int = 1, cache: CacheHint = .normal,
    isVolatile: Bool = false
  ) {
    self.space = space
    self.type = type
    self.count = count
    self.cache = cache
    self.isVolatile = isVolatile
  }
}

/// Read, change and write as one step.
package enum AtomicOperation: String, Hashable, Sendable, CaseIterable {
  case add, minimum = "min", maximum = "max", and, or, exchange = "exch", compareAndSwap = "cas"
}

/// Which lane a shuffle reads.
package enum ShuffleMode: String, Hashable, Sendable, CaseIterable {
  case index = "idx", up, down, butterfly = "bfly"
}

/// What a vote asks.
package enum VoteMode: String, Hashable, Sendable, CaseIterable {
  case all, any
}

/// Orders memory accesses.
package enum Fence: String, Hashable, Sendable, CaseIterable {
  case block = "fence.acq_rel.cta"
  case cluster = "fence.acq_rel.cluster"
  case device = "fence.acq_rel.gpu"
  case system = "fence.acq_rel.sys"
  /// Writes of threads to shared memory, before bulk copies and wgmma read them.
  case proxyAsyncShared = "fence.proxy.async.shared::cta"
  /// Writes of threads to global memory, before bulk copies read them.
  case proxyAsyncGlobal = "fence.proxy.async.global"
  case mbarrierInitialization = "fence.mbarrier_init.release.cluster"
}

/// A tensor map's box and where it lies in shared memory.
package struct TensorCopy: Hashable, Sendable {
  /// Holds the map's generic address.
  package var map: Register
  /// Of the box's first element, innermost first.
  package var coordinates: [Operand]
  package var shared: Address
  /// A cache policy of `CachePolicy`, or none.
  package var policy: CachePolicy?

  package init(map: Register, coordinates: [Operand], shared: Address, policy: CachePolicy? = nil) {
    self.map = map
    self.coordinates = coordinates
    self.shared = shared
    self.policy = policy
  }
}

/// What the second-level cache does with the lines of a bulk copy; the bits of `createpolicy`.
package enum CachePolicy: UInt64, Hashable, Sendable {
  case evictNormal = 0x1000_0000_0000_0000
  case evictFirst = 0x12F0_0000_0000_0000
  case evictLast = 0x14F0_0000_0000_0000
}

/// `wgmma.mma_async`: 64 rows by N columns of FP32 sums in the registers of a warpgroup.
package struct MatrixProduct: Hashable, Sendable {
  /// What the operands hold.
  package enum Element: String, Hashable, Sendable {
    case e4m3, e5m2, bf16, f16

    /// The depth of one instruction.
    package var depth: Int { self == .e4m3 || self == .e5m2 ? 32 : 16 }
  }

  /// The left operand: a descriptor of shared memory, or registers.
  package enum Left: Hashable, Sendable {
    case descriptor(Register)
    case registers([Register])
  }

  /// A multiple of 8 up to 256.
  package var columns: Int
  package var leftElement: Element
  package var rightElement: Element
  /// N/2 registers of FP32.
  package var sums: [Register]
  package var left: Left
  /// A descriptor.
  package var right: Register
  /// Whether the product is added to the sums, or replaces them.
  package var adding: Bool
  /// Operands of 16 bits may lie along M or N instead of K.
  package var leftTransposed: Bool
  package var rightTransposed: Bool

  package init(
    columns: Int, leftElement: Element, rightElement: Element, sums: [Register], left: Left,
    right: Register,
    adding: Bool, leftTransposed: Bool = false, rightTransposed: Bool = false
  ) {
    self.columns = columns
    self.leftElement = leftElement
    self.rightElement = rightElement
    self.sums = sums
    self.left = left
    self.right = right
    self.adding = adding
    self.leftTransposed = leftTransposed
    self.rightTransposed = rightTransposed
  }
}

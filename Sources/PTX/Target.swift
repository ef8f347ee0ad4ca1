// SPDX-License-Identifier: Apache-2.0

/// A GPU architecture that text is written for.
package struct Target: Hashable, Sendable, CustomStringConvertible {
  /// The name that PTX uses, `sm_90a` for example.
  package let name: String
  /// Major and minor compute capability.
  package let capability: (major: Int, minor: Int)
  /// What it has beyond what all have.
  package let features: Set<Feature>
  /// Shared memory that one block can have, in bytes.
  package let maximumSharedBytes: Int
  /// The version of PTX that its features need.
  package let ptxVersion: String

  /// Names tell targets apart.
  package static func == (left: Target, right: Target) -> Bool { left.name == right.name }
  /// Hashes the name.
  package func hash(into hasher: inout Hasher) { hasher.combine(name) }

  /// Its name.
  package var description: String { name }
}

extension Target {
  /// Something that only some targets have.
  package enum Feature: String, Hashable, Sendable, CaseIterable {
    case float8Conversion = "conversions of E4M3 and E5M2"
    case float4Conversion = "conversions of E2M1"
    case scaleExponentConversion = "conversions to E8M0"
    case stochasticConversion = "conversions with stochastic rounding"
    case bfloat16Arithmetic = "arithmetic of BF16 pairs"
    case mbarrier = "transaction barriers"
    case bulkCopy = "bulk and tensor copies"
    case cluster = "clusters"
    /// `ptxas` takes them for SM120 too, but makes a loop over the stack of them.
    case multicast = "copies to several blocks of a cluster"
    case wgmma = "warpgroup matrix products"
    case storeMatrix = "stmatrix"
    case registerReallocation = "setmaxnreg"
    case electedLane = "elect.sync"
    case dependentLaunch = "programmatic dependent launch"
  }

  /// Ampere: A100.
  package static let sm80 = Target(
    name: "sm_80", capability: (8, 0), features: [], maximumSharedBytes: 166_912, ptxVersion: "8.1")

  /// Ada: RTX 40, L40.
  package static let sm89 = Target(
    name: "sm_89", capability: (8, 9), features: [.float8Conversion], maximumSharedBytes: 101_376,
    ptxVersion: "8.1")

  /// Hopper: H100, H200.
  package static let sm90a = Target(
    name: "sm_90a", capability: (9, 0),
    features: [
      .float8Conversion, .bfloat16Arithmetic, .mbarrier, .bulkCopy, .cluster, .multicast, .wgmma,
      .storeMatrix, .registerReallocation, .electedLane, .dependentLaunch,
    ],
    maximumSharedBytes: 232_448, ptxVersion: "8.3")

  /// Blackwell for data centres: B200.
  package static let sm100a = Target(
    name: "sm_100a", capability: (10, 0),
    features: [
      .float8Conversion, .float4Conversion, .scaleExponentConversion, .stochasticConversion,
      .bfloat16Arithmetic, .mbarrier, .bulkCopy, .cluster, .multicast, .storeMatrix,
      .registerReallocation, .electedLane, .dependentLaunch,
    ],
    maximumSharedBytes: 232_448, ptxVersion: "8.7")

  /// Blackwell for workstations: RTX 50, RTX PRO 6000.
  package static let sm120a = Target(
    name: "sm_120a", capability: (12, 0),
    features: [
      .float8Conversion, .float4Conversion, .scaleExponentConversion, .bfloat16Arithmetic,
      .mbarrier, .bulkCopy, .cluster, .storeMatrix, .registerReallocation, .electedLane,
      .dependentLaunch,
    ],
    maximumSharedBytes: 101_376, ptxVersion: "8.7")

  /// Every target, oldest first.
  package static let all: [Target] = [.sm80, .sm89, .sm90a, .sm100a, .sm120a]

  /// The target of this name, or nothing.
  package static func named(_ name: String) -> Target? { all.first { $0.name == name } }
}

/// A kernel asks for what its target lacks, or its parts do not fit.
package struct KernelError: Error, Hashable, Sendable, CustomStringConvertible {
  /// One sentence that names the kernel, the feature and the target.
  package let description: String

  package init(_ description: String) { self.description = description }
}

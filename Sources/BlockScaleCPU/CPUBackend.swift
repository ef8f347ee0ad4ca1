// SPDX-License-Identifier: Apache-2.0

public import BlockScale

/// The processor as the place where operations run.
///
/// It fixes the tier and the number of threads of the operations that it is handed to. Threads are
/// those of the process's Dispatch pool, which has one for each core however many callers there are; after an
/// operation they stay awake for about 50 µs where nothing else runs, since waking them takes as long.
/// Copies of a back end share the memory that its operations work in, a few megabytes for each thread
/// that has worked, since fresh pages cost more than quantizing does; it goes with the last copy.
///
///     let cpu = CPUBackend()
///     print(cpu.tier)  // amx-bf16
public struct CPUBackend: Sendable {
  /// The kernels that are used.
  public let tier: CPUTier
  /// The most threads that one operation runs on.
  public let threads: Int
  /// What quantizers work in.
  let workspaces = WorkspacePool()

  /// The fastest tier of this machine.
  ///
  /// - Parameter threads: The most threads of one operation; by default one for each
  ///   of ``processorCount``.
  public init(threads: Int? = nil) {
    self.init(availableTier: .fastest, threads: threads)
  }

  /// A chosen tier.
  ///
  /// - Throws: ``BlockScaleError`` if this processor lacks it.
  public init(tier: CPUTier, threads: Int? = nil) throws(BlockScaleError) {
    let available = CPUTier.available
    guard available.contains(tier) else {
      throw BlockScaleError(
        .unavailable,
        "This processor has no tier '\(tier)'; it has "
          + available.map(\.rawValue).joined(separator: ", ") + ".")
    }
    self.init(availableTier: tier, threads: threads)
  }

  private init(availableTier: CPUTier, threads: Int?) {
    precondition(threads.map { $0 > 0 } ?? true, "An operation runs on at least one thread")
    tier = availableTier
    self.threads = threads ?? Self.processorCount
  }
}

extension CPUBackend: Hashable {
  /// Whether both have the same tier and threads.
  public static func == (a: Self, b: Self) -> Bool {
    a.tier == b.tier && a.threads == b.threads
  }

  /// Hashes tier and threads.
  public func hash(into hasher: inout Hasher) {
    hasher.combine(tier)
    hasher.combine(threads)
  }
}

// SPDX-License-Identifier: Apache-2.0

/// The blocks that run together and reach each other's shared memory.
package struct Cluster {
  package let blocks: Int
  /// This block's index among them.
  package let rank: Value<UInt32>

  /// A multicast to every block.
  var everyBlock: Operand { .immediate((1 << UInt64(blocks)) - 1) }
}

extension KernelBuilder {
  /// The block's cluster, as the launch bounds say.
  package func cluster() -> Cluster {
    if bounds.clusterBlocks == 1 { return Cluster(blocks: 1, rank: Value(0)) }
    require(.cluster)
    return Cluster(blocks: bounds.clusterBlocks, rank: special(.blockInCluster))
  }

  /// Waits for all threads of the cluster; what any of them wrote before is visible to all.
  package func barrier(of cluster: Cluster, file: String = #fileID, line: Int = #line) {
    if cluster.blocks == 1 { return barrier(file: file, line: line) }
    at(file, line)
    append(.clusterArrive(relaxed: false))
    append(.clusterWait)
  }
}

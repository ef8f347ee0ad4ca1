// SPDX-License-Identifier: Apache-2.0

import PTX

extension KernelCatalog {
  /// The FP8 product 1x128 · 128x128, which needs Hopper's matrix products.
  static var blockwiseProducts: [KernelCatalogEntry] {
    BlockwiseGEMM.Configuration.all.map {
      KernelCatalogEntry(BlockwiseGEMM($0), targets: BlockwiseGEMM.targets)
    }
  }
}

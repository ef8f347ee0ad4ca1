// SPDX-License-Identifier: Apache-2.0

import BlockScale

extension KernelCatalog {
  /// FP8 under one scale a row.
  static var wholeRows: [KernelCatalogEntry] {
    var quantizers: [QuantizeWholeRows] = []
    func add(
      _ recipe: Recipe, _ scale: ScaleFormat, _ source: SourceFormat, isAligned: Bool = true
    ) {
      let rule = try? QuantizeRule(recipe, element: .e4m3, scale: scale, source: source)
      guard let rule else { return }
      quantizers += QuantizeWholeRows.warpCounts.map {
        QuantizeWholeRows(rule, warpsPerRow: $0, isAligned: isAligned)
      }
    }
    for recipe in Recipe.allCases {
      for scale in [ScaleFormat.float32, .bfloat16] { add(recipe, scale, .bfloat16) }
    }
    for source in SourceFormat.allCases {
      for isAligned in [true, false] { add(.torchaoFloat8, .float32, source, isAligned: isAligned) }
    }
    let dequantizers = [SourceFormat.bfloat16, .float32].flatMap { result in
      [true, false].map {
        Dequantize(.e4m3, scale: .float32, to: result, blocking: .row, isAligned: $0)
      }
    }
    return distinct(quantizers) + distinct(dequantizers)
  }
}

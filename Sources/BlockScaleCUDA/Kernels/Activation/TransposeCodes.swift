// SPDX-License-Identifier: Apache-2.0

package import PTX

/// The transpose of codes of eight bits.
///
/// - Constraints: M×N codes; `isAligned` says that M and N are multiples of 16.
/// - Traffic: 1 byte read and 1 written an element.
/// - Source: COAT:coat/activation/real_quantization/_transpose.py.
package struct TransposeCodes: Kernel {
  package var isAligned: Bool

  package init(isAligned: Bool = true) { self.isAligned = isAligned }

  package var name: String { kernelName("transpose_codes", isAligned ? "" : "tails") }
  package var bounds: LaunchBounds { LaunchBounds(threads: CodeTile.threads, minimumBlocks: 6) }

  package func body(_ k: KernelBuilder) {
    let (codes, transposed) = (
      k.pointer("codes", to: UInt8.self), k.pointer("transposed", to: UInt8.self)
    )
    let (rows, columns) = (k.uint32("rows"), k.uint32("columns"))
    let place = CodeTile.Place(k, columns: columns)
    let run = RowRun(
      k, row: place.firstRow + place.row, column: place.firstColumn + place.column, rows: rows,
      columns: columns, isAligned: isAligned)
    let turned = CodeTile(k).turned(run.words(codes, bytesPerValue: 1))
    RowRun(
      k, row: place.firstColumn + place.row, column: place.firstRow + place.column, rows: columns,
      columns: rows, isAligned: isAligned
    ).store(turned, to: transposed, bytesPerValue: 1)
  }
}

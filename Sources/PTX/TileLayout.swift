// SPDX-License-Identifier: Apache-2.0

package import Minifloat

/// An element that tensor copies move.
package protocol TileElement: MemoryElement {
  /// How tensor maps name it.
  static var tensorMapElement: TensorMapLayout.Element { get }
}

/// An element that tensor cores multiply.
package protocol MatrixElement: TileElement {
  static var matrixElement: MatrixProduct.Element { get }
}

extension Float: TileElement {
  package static var tensorMapElement: TensorMapLayout.Element { .float32 }
}
extension Float8E4M3: MatrixElement {
  package static var tensorMapElement: TensorMapLayout.Element { .uint8 }
  package static var matrixElement: MatrixProduct.Element { .e4m3 }
}
extension Float8E5M2: MatrixElement {
  package static var tensorMapElement: TensorMapLayout.Element { .uint8 }
  package static var matrixElement: MatrixProduct.Element { .e5m2 }
}
extension BFloat16: MatrixElement {
  package static var tensorMapElement: TensorMapLayout.Element { .bfloat16 }
  package static var matrixElement: MatrixProduct.Element { .bf16 }
}
extension Half: MatrixElement {
  package static var tensorMapElement: TensorMapLayout.Element { .float16 }
  package static var matrixElement: MatrixProduct.Element { .f16 }
}

/// How rows and columns of a matrix lie in shared memory: what the host's tensor map and the
/// kernel's copies and matrix descriptors both follow from.
///
/// A swizzled tile is cut into panels as wide as the swizzle's rows, one after the other; one box of
/// a tensor map fills a panel. A tile without a swizzle is one panel.
package struct TileLayout<Element: TileElement>: Hashable, Sendable {
  package let rows: Int
  package let columns: Int
  package let swizzle: Swizzle

  /// - Precondition: Rows of a panel are a multiple of 16 bytes; the columns are whole panels.
  package init(rows: Int, columns: Int, swizzle: Swizzle = .none) {
    self.rows = rows
    self.columns = columns
    self.swizzle = swizzle
    precondition(rows > 0 && columns > 0, "a tile has at least one row and one column")
    precondition(columns % panelColumns == 0, "columns of a swizzled tile are whole panels")
    precondition(panelRowBytes % 16 == 0, "rows of a tile are multiples of 16 bytes")
  }

  private var elementBytes: Int { Element.scalar.byteCount }

  /// Columns of one panel.
  package var panelColumns: Int { swizzle.rowBytes.map { $0 / elementBytes } ?? columns }
  package var panels: Int { columns / panelColumns }
  /// Bytes of a panel's row.
  package var panelRowBytes: Int { panelColumns * elementBytes }
  package var panelBytes: Int { rows * panelRowBytes }
  package var byteCount: Int { rows * columns * elementBytes }
  /// Tensor copies want 128 bytes, a swizzle's pattern its eight rows.
  package var alignment: Int { max(128, 8 * (swizzle.rowBytes ?? 0)) }

  /// The layout of so many of the rows.
  package func rows(_ count: Int) -> TileLayout {
    TileLayout(rows: count, columns: columns, swizzle: swizzle)
  }

  /// The tensor map that copies a panel of this tile from or to a row-major matrix.
  ///
  /// Boxes may reach over the matrix's edges: loads give zeros there, and stores leave memory alone.
  ///
  /// - Parameters:
  ///   - base: Of the matrix's first element, a multiple of 16.
  ///   - rows: Of the matrix.
  ///   - columns: Of the matrix.
  ///   - rowBytes: From one row to the next, a multiple of 16.
  ///   - operand: What messages call the matrix.
  /// - Throws: ``KernelError`` if the matrix does not lie as tensor maps want.
  package func tensorMap(
    base: UInt64, rows: Int, columns: Int, rowBytes: Int, operand: String
  ) throws(KernelError) -> TensorMapLayout {
    precondition(panelColumns <= 256 && self.rows <= 256, "a box has at most 256 rows and columns")
    let limit = Int(Int32.max)
    guard (1...limit).contains(rows), (1...limit).contains(columns) else {
      throw KernelError(
        "\(operand) is \(rows)x\(columns); tensor copies reach 1 to \(limit) rows and columns.")
    }
    guard base % 16 == 0 else {
      throw KernelError("\(operand) starts at an address that is not a multiple of 16.")
    }
    guard rowBytes % 16 == 0, rowBytes >= columns * elementBytes, rowBytes < 1 << 40 else {
      throw KernelError(
        "Rows of \(operand) are \(rowBytes) bytes apart; tensor copies want a multiple of 16, at least \(columns * elementBytes)."
      )
    }
    return TensorMapLayout(
      base: base, element: Element.tensorMapElement, extents: [columns, rows], strides: [rowBytes],
      box: [panelColumns, self.rows], swizzle: swizzle)
  }
}

/// A tensor map among a kernel's parameters, whatever its tile.
package protocol TensorMapUse {
  /// The map's generic address.
  var address: Value<UInt64> { get }
}

/// A tensor map among a kernel's parameters, and the tile that it copies.
package struct TensorMapParameter<Element: TileElement>: TensorMapUse {
  package let layout: TileLayout<Element>
  package let address: Value<UInt64>
}

extension KernelBuilder {
  /// Declares a tensor map whose boxes are the panels of a tile.
  package func tensorMap<Element>(
    _ name: String, of layout: TileLayout<Element>
  ) -> TensorMapParameter<Element> {
    TensorMapParameter(layout: layout, address: tensorMap(name))
  }

  /// Fetches tensor maps before their first use.
  package func prefetch(_ maps: any TensorMapUse..., file: String = #fileID, line: Int = #line) {
    when(thread .== 0, file: file, line: line) {
      for map in maps { append(.prefetchTensorMap(map.address.register)) }
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

package import PTX

/// Built kernels of one target, each built when it is first asked for.
package final class KernelLibrary {
  package let target: Target
  private var trees: [String: KernelTree] = [:]

  package init(for target: Target) { self.target = target }

  /// The tree of a kernel; configurations are told apart by their names.
  ///
  /// - Throws: ``KernelError`` if the target lacks what the kernel asks for.
  package func tree(of kernel: some Kernel) throws(KernelError) -> KernelTree {
    if let tree = trees[kernel.name] { return tree }
    let tree = try kernel.tree(for: target)
    trees[kernel.name] = tree
    return tree
  }
}

/// Rows and columns of a matrix that a kernel works on.
package struct MatrixShape: Sendable, Hashable {
  package let rows: Int
  package let columns: Int

  /// - Throws: ``KernelError`` if the matrix is empty or its extents do not fit into 32 bits.
  package init(rows: Int, columns: Int) throws(KernelError) {
    guard rows > 0, columns > 0 else {
      throw KernelError("A matrix of \(rows)x\(columns) holds nothing that a kernel could work on.")
    }
    // Padding, the columns beyond the last warp and the bytes of a row must not wrap.
    guard rows < 1 << 31, columns < 1 << 30 else {
      throw KernelError(
        "A matrix of \(rows)x\(columns) is too large: kernels count rows to 2³¹ and columns to "
          + "2³⁰.")
    }
    self.rows = rows
    self.columns = columns
  }

  var arguments: [String: KernelArgument] {
    ["rows": .uint32(UInt32(rows)), "columns": .uint32(UInt32(columns))]
  }

  /// Whether rows of values and of eight-bit codes can be read and written 16 and 8 bytes at a time.
  package var isAligned: Bool { columns % SourceRun.count == 0 }
}

extension GridShape {
  /// Blocks for tiles of a matrix: columns in x, rows in y and, beyond what y counts, in z.
  ///
  /// - Throws: ``KernelError`` if there are more than a grid can have.
  init(tileRows: Int, tileColumns: Int) throws(KernelError) {
    let y = min(tileRows, 32_768)
    let z = tileRows.dividedUp(by: y)
    guard z <= 65_535 else {
      throw KernelError("A grid of \(tileRows)x\(tileColumns) tiles has too many rows.")
    }
    self.init(tileColumns, y, z)
  }
}

// SPDX-License-Identifier: Apache-2.0

package import BlockScale
import Minifloat
package import PTX

/// A matrix of values in device memory.
package struct DeviceMatrix<Value: SourceValue>: ~Copyable {
  package let values: DeviceBuffer
  package let rows: Int
  package let columns: Int

  /// Sets memory aside.
  package init(rows: Int, columns: Int, on executor: any KernelExecutor) throws {
    values = try DeviceBuffer(byteCount: rows * columns * MemoryLayout<Value>.stride, on: executor)
    self.rows = rows
    self.columns = columns
  }

  /// Copies a matrix.
  package init(_ matrix: Matrix<Value>, on executor: any KernelExecutor) throws {
    values = try DeviceBuffer(matrix.values, on: executor)
    rows = matrix.rows
    columns = matrix.columns
  }

  /// Copies the matrix back.
  package func matrix() throws -> Matrix<Value> {
    try Matrix(values.elements(Value.self, count: rows * columns), rows: rows, columns: columns)
  }
}

/// Eight-bit codes and their scales in device memory.
package struct DeviceCodes<Element: ActivationElement, Scale: BlockScaleValue>:
  ~Copyable
{
  package let codes: DeviceBuffer
  package let scales: DeviceBuffer
  package let rows: Int
  package let columns: Int
  package let blocking: Blocking

  /// Sets memory aside.
  package init(rows: Int, columns: Int, blocking: Blocking, on executor: any KernelExecutor) throws
  {
    let grid = blocking.grid(rows: rows, columns: columns)
    let codes = try DeviceBuffer(byteCount: rows * columns, on: executor)
    scales = try DeviceBuffer(
      byteCount: grid.rows * grid.columns * MemoryLayout<Scale>.stride, on: executor)
    self.codes = codes
    self.rows = rows
    self.columns = columns
    self.blocking = blocking
  }

  /// Sets memory aside for a matrix of the shape of another, in groups.
  init(like matrix: some TensorContents, groupSize: Int, on executor: any KernelExecutor) throws {
    try self.init(
      rows: matrix.rows, columns: matrix.columns,
      blocking: Blocking(rows: 1, columns: groupSize), on: executor)
  }

  /// Copies a matrix.
  package init(_ matrix: BlockScaledMatrix<Element, Scale>, on executor: any KernelExecutor) throws
  {
    let codes = try DeviceBuffer(matrix.codes, on: executor)
    scales = try DeviceBuffer(matrix.scales, on: executor)
    self.codes = codes
    rows = matrix.rows
    columns = matrix.columns
    blocking = matrix.blocking
  }

  /// Copies the matrix back.
  package func matrix() throws -> BlockScaledMatrix<Element, Scale> {
    let grid = blocking.grid(rows: rows, columns: columns)
    return try BlockScaledMatrix(
      rows: rows, columns: columns, blocking: blocking,
      codes: codes.elements(UInt8.self, count: rows * columns),
      scales: scales.elements(Scale.self, count: grid.rows * grid.columns))
  }
}

extension DeviceMatrix {
  /// The argument of a kernel's parameter.
  func argument(_ name: String) -> [String: KernelArgument] { [name: .pointer(values.address)] }
}

extension DeviceCodes {
  /// The arguments of a kernel's two parameters.
  func arguments(_ name: String) -> [String: KernelArgument] {
    [name: .pointer(codes.address), "\(name)Scales": .pointer(scales.address)]
  }
}

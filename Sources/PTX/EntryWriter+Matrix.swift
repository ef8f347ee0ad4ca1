// SPDX-License-Identifier: Apache-2.0

extension EntryWriter {
  /// Tensor cores, and matrices between registers and shared memory.
  mutating func writeMatrix(_ instruction: Instruction) {
    switch instruction {
    case .wgmmaFence:
      emit("wgmma.fence.sync.aligned")
    case .wgmma(let product):
      writeProduct(product)
    case .wgmmaCommit:
      emit("wgmma.commit_group.sync.aligned")
    case .wgmmaWait(let pending):
      emit("wgmma.wait_group.sync.aligned", operands: "\(pending)")
    case .loadMatrix(let results, let address, let transposed):
      emit(
        "ldmatrix.sync.aligned.m8n8.x\(results.count)", transposed ? "trans" : "",
        "shared::cta.b16", operands: results.text, address.text)
    case .storeMatrix(let values, let address, let transposed):
      emit(
        "stmatrix.sync.aligned.m8n8.x\(values.count)", transposed ? "trans" : "",
        "shared::cta.b16", operands: address.text, values.text)
    default:
      preconditionFailure("not of this family: \(instruction)")
    }
  }

  /// A product with neither operand negated.
  ///
  /// Operands of eight bits have no transposing form.
  private mutating func writeProduct(_ product: MatrixProduct) {
    let left =
      switch product.left {
      case .descriptor(let descriptor): descriptor.text
      case .registers(let registers): registers.text
      }
    var operands = [
      product.sums.text, left, product.right.text, product.adding ? "1" : "0", "1", "1",
    ]
    if product.leftElement.depth == 16 {
      if case .descriptor = product.left { operands.append(product.leftTransposed ? "1" : "0") }
      operands.append(product.rightTransposed ? "1" : "0")
    }
    emit(
      "wgmma.mma_async.sync.aligned.m64n\(product.columns)k\(product.leftElement.depth).f32",
      product.leftElement.rawValue, product.rightElement.rawValue,
      operands: operands.joined(separator: ", "))
  }
}

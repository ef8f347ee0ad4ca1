// SPDX-License-Identifier: Apache-2.0

import PTX

extension Decoder {
  mutating func decodeProduct(_ instruction: Instruction) -> Work {
    switch instruction {
    case .wgmmaFence:
      return { (warp, mask) throws(Fault) in
        try warp.joinConvoy(mask, "`wgmma.fence`")
        warp.products.fence()
        return .done
      }
    case .wgmmaCommit:
      return { (warp, mask) throws(Fault) in
        try warp.joinConvoy(mask, "`wgmma.commit_group`")
        warp.products.commit()
        return .done
      }
    case .wgmmaWait(let pending):
      return { (warp, mask) throws(Fault) in
        try warp.joinConvoy(mask, "`wgmma.wait_group`")
        warp.waitForProducts(pending: pending)
        return .done
      }
    case .wgmma(let product): return decode(product)
    default: preconditionFailure("no product of matrices")
    }
  }

  private mutating func decode(_ product: MatrixProduct) -> Work {
    let depth = product.leftElement.depth
    let isByte = depth == 32
    if product.columns % 8 != 0 || !(8...256).contains(product.columns)
      || product.sums.count != product.columns / 2
    {
      report("multiplies into \(product.columns) columns and \(product.sums.count) registers")
    }
    if product.rightElement.depth != depth
      || !isByte && product.leftElement != product.rightElement
    {
      report(
        "multiplies \(product.leftElement.rawValue) by \(product.rightElement.rawValue), which PTX lacks"
      )
    }
    if isByte, product.leftTransposed || product.rightTransposed {
      report("transposes an operand of 8 bits, which wgmma cannot")
    }
    var left: [Place] = []
    var leftDescriptor: Place?
    switch product.left {
    case .descriptor(let register): leftDescriptor = place(register, .bits64)
    case .registers(let registers):
      left = registers.map { place($0, .bits32) }
      if registers.count != 4 || product.leftTransposed {
        report("takes the left operand from \(registers.count) registers; it needs 4 along K")
      }
    }
    let plan = ProductPlan(
      product: product, sums: product.sums.map { place($0, .bits32) }, left: left,
      leftDescriptor: leftDescriptor, right: place(product.right, .bits64),
      slots: product.sums.map { slot($0) }
        + (left.isEmpty ? [] : product.leftRegisters.map { slot($0) }),
      leftTable: product.leftElement.table, rightTable: product.rightElement.table)
    return { (warp, mask) throws(Fault) in
      try warp.multiply(plan, mask)
      return .done
    }
  }
}

/// A matrix product with its registers found.
struct ProductPlan {
  var product: MatrixProduct
  var sums: [Place]
  /// The left operand's registers, or none.
  var left: [Place]
  var leftDescriptor: Place?
  var right: Place
  var slots: [Int]
  var leftTable: [Float]?
  var rightTable: [Float]?

  var depth: Int { product.leftElement.depth }
}

extension Warp {
  func multiply(_ plan: ProductPlan, _ mask: UInt32) throws(Fault) {
    let rightDescriptor = MatrixDescriptor(
      bits: try uniform(plan.right, mask, "a matrix descriptor of"))
    var values = [rightDescriptor.bits]
    var leftDescriptor: MatrixDescriptor?
    if let place = plan.leftDescriptor {
      let descriptor = MatrixDescriptor(bits: try uniform(place, mask, "a matrix descriptor of"))
      leftDescriptor = descriptor
      values.append(descriptor.bits)
    }
    try joinConvoy(mask, "a matrix product", values)
    try products.checkFence(plan.slots, block.launch.program.slotNames)

    let firstRow = index % 4 * 16
    let right = try chunks(
      rightDescriptor, rows: 0..<plan.product.columns, plan.depth,
      transposed: plan.product.rightTransposed)
    let left = try leftDescriptor.map { (descriptor) throws(Fault) in
      try chunks(
        descriptor, rows: firstRow..<firstRow + 16, plan.depth,
        transposed: plan.product.leftTransposed)
    }
    let ranges = (right + (left ?? [])).map { $0..<$0 + 16 }
    for range in ranges { try block.shared.beginRead(range, by: self) }
    let isEarly = block.launch.options.completion == .earliest
    let perform = { [self] in finish(plan, left: left, right: right) }
    if isEarly { perform() }
    products.add(
      PendingProduct(
        line: line, slots: plan.slots, ranges: ranges, perform: isEarly ? nil : perform))
  }

  /// The shared offsets of an operand's chunks of 16 bytes: for each row the two along K, or for
  /// each step of K those along the rows.
  private func chunks(
    _ descriptor: MatrixDescriptor, rows: Range<Int>, _ depth: Int, transposed: Bool
  ) throws(Fault) -> [Int] {
    guard descriptor.strayBits == 0 else {
      throw Fault(
        .descriptor,
        "has a matrix descriptor \(hexadecimal(descriptor.bits)) with bits that mean nothing")
    }
    var chunks: [Int] = []
    if transposed {
      for k in 0..<depth {
        for chunk in rows.lowerBound / 8..<rows.upperBound / 8 {
          chunks.append(descriptor.acrossK(chunk: chunk, depth: k))
        }
      }
    } else {
      for row in rows {
        for chunk in 0..<2 { chunks.append(descriptor.alongK(row: row, chunk: chunk)) }
      }
    }
    let limit = block.shared.bytes.count
    for index in chunks.indices {
      chunks[index] -= SharedMemory.base
      guard chunks[index] >= 0, chunks[index] + 16 <= limit else {
        throw Fault(
          .outOfBounds,
          "has a matrix descriptor \(hexadecimal(descriptor.bits)) that reaches shared byte \(chunks[index]) of \(limit)"
        )
      }
    }
    return chunks
  }

  /// The values of an operand, rows by depth, or depth by rows where `columns` is asked for.
  private func values(
    _ chunks: [Int], rows: Int, _ plan: ProductPlan, _ element: MatrixProduct.Element,
    _ table: [Float]?, transposed: Bool, depthFirst: Bool
  ) -> Storage<Float> {
    let depth = plan.depth
    let result = Storage<Float>(repeating: 0, count: rows * depth)
    func put(_ row: Int, _ k: Int, _ value: Float) {
      result[depthFirst ? k * rows + row : row * depth + k] = value
    }
    let bytes = block.shared.bytes
    if let table {
      for row in 0..<rows {
        for k in 0..<32 {
          put(row, k, table[Int(bytes[chunks[row * 2 + k / 16] + k % 16])])
        }
      }
      return result
    }
    for row in 0..<rows {
      for k in 0..<16 {
        let place =
          transposed
          ? chunks[k * (rows / 8) + row / 8] + row % 8 * 2 : chunks[row * 2 + k / 8] + k % 8 * 2
        put(row, k, element.decode(bytes.load(UInt16.self, at: place)))
      }
    }
    return result
  }

  /// The left operand's values out of registers.
  private func leftRegisters(_ plan: ProductPlan) -> Storage<Float> {
    let depth = plan.depth
    // Values a register, of 8 or 16 bits.
    let count = depth / 8
    let result = Storage<Float>(repeating: 0, count: 16 * depth)
    for lane in 0..<32 {
      for (index, place) in plan.left.enumerated() {
        let row = lane / 4 + index % 2 * 8
        let first = lane % 4 * count + index / 2 * (depth / 2)
        let word = UInt32(truncatingIfNeeded: self[place, lane])
        for value in 0..<count {
          let code = UInt16(truncatingIfNeeded: word >> UInt32(value * (32 / count)))
          result[row * depth + first + value] = plan.product.leftElement.decode(
            count == 4 ? code & 0xFF : code)
        }
      }
    }
    return result
  }

  /// Multiplies and writes the sums, with what shared memory holds now.
  private func finish(_ plan: ProductPlan, left: [Int]?, right: [Int]) {
    let product = plan.product
    let columns = product.columns
    let a =
      left.map {
        values(
          $0, rows: 16, plan, product.leftElement, plan.leftTable,
          transposed: product.leftTransposed, depthFirst: false)
      } ?? leftRegisters(plan)
    let b = values(
      right, rows: columns, plan, product.rightElement, plan.rightTable,
      transposed: product.rightTransposed, depthFirst: true)
    // Register 4j + i of lane l: row l / 4, and 8 more for i of 2 and 3; column 8j + 2(l mod 4) + i mod 2.
    let sums = Storage<Float>(repeating: 0, count: 16 * columns)
    func place(_ register: Int, _ lane: Int) -> Int {
      let row = lane / 4 + (register & 2) * 4
      return row * columns + register / 4 * 8 + lane % 4 * 2 + register % 2
    }
    if product.adding {
      for (register, slot) in plan.sums.enumerated() {
        let lanes = registers.lanes(Float.self, at: slot.offset)
        for lane in 0..<32 { sums[place(register, lane)] = lanes[lane] }
      }
    }
    let kernel = ProductKernel(
      columns: columns, depth: plan.depth,
      truncates: plan.depth == 32 && block.launch.options.float8Sums == .truncated)
    kernel.add(a, b, to: sums)
    for (register, slot) in plan.sums.enumerated() {
      let lanes = registers.lanes(Float.self, at: slot.offset)
      for lane in 0..<32 { lanes[lane] = canonical(sums[place(register, lane)]) }
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

package import BlockScale
package import Minifloat
package import PTX

/// The sixteen neighbouring values of a row that one thread of an activation kernel works on.
///
/// Threads are counted along rows; those of a 1×QB group are neighbours in a warp, and a row's last
/// group may be short. Threads beyond the tensor see zeros and store nothing, but take part in
/// what lanes do together.
package struct ActivationChunk {
  /// Threads a block.
  package static let threads = 256

  private let k: KernelBuilder
  private let run: RowRun
  /// Lanes that share a group.
  private let lanesPerGroup: Int
  /// Of the chunk's group, in the tensor.
  private let group: Value<UInt32>
  private let isFirstOfGroup: Value<Bool>

  /// Finds the calling thread's chunk.
  package init(
    _ k: KernelBuilder, rows: Value<UInt32>, columns: Value<UInt32>, groupSize: Int, isAligned: Bool
  ) {
    precondition(
      groupSize % RowRun.width == 0 && groupSize <= 32 * RowRun.width, "groups are 16 to 512 values"
    )
    self.k = k
    lanesPerGroup = groupSize / RowRun.width
    let groupsPerRow = columns.dividedUp(by: groupSize)
    let chunksPerRow = groupsPerRow * lanesPerGroup
    let chunk = k.special(.blockX) * Self.threads + k.thread
    if isAligned, lanesPerGroup == 1 {
      // Nobody needs the row, which a division would cost.
      run = RowRun(k, number: chunk, of: rows * groupsPerRow)
      group = chunk
      isFirstOfGroup = run.isInside
      return
    }
    let row = chunk / chunksPerRow
    let place = chunk - row * chunksPerRow
    run = RowRun(
      k, row: row, column: place * RowRun.width, rows: rows, columns: columns, isAligned: isAligned)
    group = row * groupsPerRow + place / lanesPerGroup
    isFirstOfGroup =
      lanesPerGroup == 1 ? run.isInside : run.isInside .& ((place & (lanesPerGroup - 1)) .== 0)
  }

  /// Blocks for a tensor, one chunk a thread.
  package static func grid(rows: Int, columns: Int, groupSize: Int) -> GridShape {
    let chunks = rows * columns.dividedUp(by: groupSize) * (groupSize / RowRun.width)
    return GridShape(chunks.dividedUp(by: threads))
  }

  // MARK: Reading

  /// The values of codes in groups: code times scale.
  package func decoded<Element: ActivationElement>(
    _ codes: GlobalPointer<Element>, scales: GlobalPointer<BFloat16>
  ) -> [Value<Float>] {
    let scale = scales[group].load(if: run.isInside, otherwise: Value(BFloat16(bitPattern: 0)))
      .float
    return run.values(codes).map { $0 * scale }
  }

  /// Values of a format in FP32.
  package func values(
    _ source: GlobalPointer<UInt8>, _ format: SourceFormat = .bfloat16
  ) -> [Value<Float>] {
    run.values(source, format)
  }

  // MARK: Groups

  /// The largest magnitude of the chunk's group, the same in all its lanes.
  package func largestMagnitude(
    _ values: [Value<Float>], _ recipe: ActivationRecipe
  ) -> Value<Float> {
    // Under `storedScale` NaN is larger than everything, under `coat` it is left out.
    let larger: (Value<Float>, Value<Float>) -> Value<Float> = { first, second in
      recipe == .coat ? maximum(first, second) : maximumOrNaN(first, second)
    }
    // COAT starts from zero, which is what a group of NaN alone leaves.
    let zero = Value<Float>(Float(0))
    let ofChunk = larger(reduced(values.map { $0.magnitude }, larger), zero)
    return ofChunk.reduced(lanes: lanesPerGroup, larger)
  }

  /// Stores one value for each group, by its first lane.
  package func storeForGroup(_ value: Value<BFloat16>, to scales: GlobalPointer<BFloat16>) {
    scales[group].store(value, if: isFirstOfGroup)
  }

  /// Raises a tensor's largest scale to that of the chunk's group; all threads of a block take part.
  package func raise(_ largest: GlobalPointer<UInt32>, to scale: Value<BFloat16>) {
    // Scales have no sign, so their bits order like values, and NaN above infinity.
    let bits = scale.reinterpreted(as: UInt16.self).widened
    BlockMaximum(k).raise(largest, to: run.isInside.select(bits, Value(0)))
  }

  // MARK: Writing

  /// Stores values, rounded to BF16.
  package func store(_ values: [Value<Float>], to target: GlobalPointer<BFloat16>) {
    run.store(values, to: target)
  }

  /// Stores the codes of values that were divided by their scale.
  package func store<Element: ActivationElement>(
    codesOf quotients: [Value<Float>], to target: GlobalPointer<Element>
  ) {
    run.store(codeWords: k.codeWords(quotients, as: Element.self), to: target)
  }

  // MARK: Results

  /// Stores values as codes in groups, each with its scale.
  func store<Element: ActivationElement>(
    _ values: [Value<Float>], as element: Element.Type, _ recipe: ActivationRecipe,
    to codes: GlobalPointer<Element>, scales: GlobalPointer<BFloat16>
  ) {
    let scale = k.groupScale(maximum: largestMagnitude(values, recipe), element, recipe)
    run.store(
      codeWords: k.codeWords(k.quotients(values, scale.divisor, recipe), as: element), to: codes)
    storeForGroup(scale.stored, to: scales)
  }

  /// Values as they are after they were stored as codes in groups.
  func requantized<Element: ActivationElement>(
    _ values: [Value<Float>], as element: Element.Type, _ recipe: ActivationRecipe
  ) -> [Value<Float>] {
    let scale = k.groupScale(maximum: largestMagnitude(values, recipe), element, recipe)
    let factor = scale.stored.float
    return k.codeWords(k.quotients(values, scale.divisor, recipe), as: element)
      .flatMap { k.values(of: $0, as: element) }.map { $0 * factor }
  }

  /// Stores values in BF16, the scales of their groups and the largest of all scales: the first of
  /// the two stages in which a tensor gets one scale.
  func store<Element: ActivationElement>(
    _ values: [Value<Float>], for element: Element.Type, _ recipe: ActivationRecipe,
    to result: GroupScaledPointers
  ) {
    run.store(values, to: result.values)
    let scale = k.storedGroupScale(
      maximum: largestMagnitude(values, recipe), element, recipe)
    storeForGroup(scale, to: result.scales)
    raise(result.largest, to: scale)
  }
}

/// What a first stage writes.
struct GroupScaledPointers {
  let values: GlobalPointer<BFloat16>
  let scales: GlobalPointer<BFloat16>
  let largest: GlobalPointer<UInt32>

  init(_ k: KernelBuilder, _ name: String) {
    values = k.pointer(name, to: BFloat16.self)
    scales = k.pointer("\(name)Scales", to: BFloat16.self)
    largest = k.pointer("\(name)Largest", to: UInt32.self)
  }
}

// SPDX-License-Identifier: Apache-2.0

package import Minifloat

/// What memory holds: its type there and in registers.
package protocol MemoryElement {
  /// How loads and stores name it.
  static var scalar: ScalarType { get }
  /// What a load gives.
  associatedtype Loaded: RegisterValue
}

extension UInt8: MemoryElement {
  package static var scalar: ScalarType { .u8 }
  package typealias Loaded = UInt16
}
extension UInt16: MemoryElement { package typealias Loaded = UInt16 }
extension UInt32: MemoryElement { package typealias Loaded = UInt32 }
extension Int32: MemoryElement { package typealias Loaded = Int32 }
extension UInt64: MemoryElement { package typealias Loaded = UInt64 }
extension Float: MemoryElement { package typealias Loaded = Float }
extension Double: MemoryElement { package typealias Loaded = Double }
extension BFloat16: MemoryElement { package typealias Loaded = BFloat16 }
extension Half: MemoryElement { package typealias Loaded = Half }
extension Pair: MemoryElement where Element: PairElement { package typealias Loaded = Pair }
extension Float8E4M3: MemoryElement {
  package static var scalar: ScalarType { .u8 }
  package typealias Loaded = UInt16
}
extension Float8E5M2: MemoryElement {
  package static var scalar: ScalarType { .u8 }
  package typealias Loaded = UInt16
}

/// A space that pointers point into.
package protocol PointerSpace {
  static var space: MemorySpace { get }
  /// The type of addresses.
  associatedtype Word: IntegerRegisterValue
}

/// The device's memory.
package enum Global: PointerSpace {
  package static var space: MemorySpace { .global }
  package typealias Word = UInt64
}

/// A block's own memory.
package enum Shared: PointerSpace {
  package static var space: MemorySpace { .shared }
  package typealias Word = UInt32
}

/// An address of elements of one type in one space.
package struct Pointer<Space: PointerSpace, Element: MemoryElement> {
  /// Of the element at `offset` zero.
  package let address: Value<Space.Word>
  /// Bytes that loads and stores add without an instruction.
  package let offset: Int

  package init(address: Value<Space.Word>, offset: Int = 0) {
    self.address = address
    self.offset = offset
  }

  private var builder: KernelBuilder { Value<Space.Word>.builder(address.builder) }

  /// So many elements further, without an instruction.
  package func advanced(by elements: Int) -> Pointer {
    Pointer(address: address, offset: offset + elements * Element.scalar.byteCount)
  }

  /// The same address with elements of another type.
  package func assuming<Other: MemoryElement>(_ other: Other.Type) -> Pointer<Space, Other> {
    Pointer<Space, Other>(address: address, offset: offset)
  }

  /// The operand of instructions.
  package var place: Address { Address(address.register, offset: offset) }

  // MARK: Loads and stores

  /// Loads the element.
  ///
  /// - Parameters:
  ///   - cache: How the caches treat it.
  ///   - predicate: Lanes where it does not hold get `otherwise`.
  package func load(
    cache: CacheHint = .normal, if predicate: Value<Bool>? = nil,
    otherwise: Value<Element.Loaded>? = nil, file: String = #fileID, line: Int = #line
  ) -> Value<Element.Loaded> {
    load(count: 1, cache: cache, if: predicate, otherwise: otherwise, file: file, line: line)[0]
  }

  /// Loads 1, 2 or 4 neighbours, up to 16 bytes, by one instruction; the address is a multiple of its size.
  package func load(
    count: Int, cache: CacheHint = .normal, if predicate: Value<Bool>? = nil,
    otherwise: Value<Element.Loaded>? = nil, file: String = #fileID, line: Int = #line
  ) -> [Value<Element.Loaded>] {
    let k = builder
    k.at(file, line)
    precondition(
      predicate == nil || otherwise != nil, "lanes that do not load need a value: say otherwise")
    let results = (0..<count).map { _ in k.register(Element.Loaded.scalar.registerKind) }
    if predicate != nil, let otherwise {
      for result in results { k.append(.move(result, otherwise.operand)) }
    }
    let access = MemoryAccess(space: Space.space, type: Element.scalar, count: count, cache: cache)
    k.append(.load(access, to: results, address: place), if: predicate)
    return results.map { Value($0, k) }
  }

  /// Loads the element from where all blocks see it, whatever the first-level cache holds.
  package func loadAnew(file: String = #fileID, line: Int = #line) -> Value<Element.Loaded> {
    let k = builder
    k.at(file, line)
    let result = k.register(Element.Loaded.scalar.registerKind)
    let access = MemoryAccess(space: Space.space, type: Element.scalar, isVolatile: true)
    k.append(.load(access, to: [result], address: place))
    return Value(result, k)
  }

  /// Stores an element.
  package func store(
    _ value: Value<Element.Loaded>, cache: CacheHint = .normal, if predicate: Value<Bool>? = nil,
    file: String = #fileID, line: Int = #line
  ) {
    store([value], cache: cache, if: predicate, file: file, line: line)
  }

  /// Stores 1, 2 or 4 neighbours by one instruction.
  package func store(
    _ values: [Value<Element.Loaded>], cache: CacheHint = .normal, if predicate: Value<Bool>? = nil,
    file: String = #fileID, line: Int = #line
  ) {
    let k = builder
    k.at(file, line)
    let access = MemoryAccess(
      space: Space.space, type: Element.scalar, count: values.count, cache: cache)
    let operands = values.map { $0.materialized(k).operand }
    k.append(.store(access, from: operands, address: place), if: predicate)
  }
}

/// A pointer into the device's memory.
package typealias GlobalPointer<Element: MemoryElement> = Pointer<Global, Element>
/// A pointer into a block's memory.
package typealias SharedPointer<Element: MemoryElement> = Pointer<Shared, Element>

extension Pointer where Space == Global {
  /// The element at an index.
  package subscript(_ index: Value<UInt32>) -> Pointer { self[index.widened] }

  /// The element at an index beyond 32 bits.
  package subscript(_ index: Value<UInt64>) -> Pointer {
    // Of a shift and a sum `ptxas` makes two instructions, of a product by a constant up to six.
    let shift = Element.scalar.byteCount.trailingZeroBitCount
    return Pointer(address: (shift == 0 ? index : index << shift) + address, offset: offset)
  }

  /// The element `rows` times a distance in bytes further, by one instruction.
  package func advanced(rows: Value<UInt32>, of rowBytes: Value<UInt32>) -> Pointer {
    Pointer(address: rows.multipliedWide(by: rowBytes, adding: address), offset: offset)
  }
}

extension Pointer where Space == Shared {
  /// The element at an index.
  package subscript(_ index: Value<UInt32>) -> Pointer {
    let bytes = Element.scalar.byteCount
    return Pointer(
      address: bytes == 1 ? address + index : index.multiplied(by: Value(bytes), adding: address),
      offset: offset)
  }
}

extension Pointer where Element.Loaded: IntegerRegisterValue {
  /// Raises the element to a value, as one step (`red.max`).
  package func atomicMaximum(
    _ value: Value<Element.Loaded>, if predicate: Value<Bool>? = nil, file: String = #fileID,
    line: Int = #line
  ) {
    let k = builder
    k.at(file, line)
    k.append(
      .atomic(
        .maximum, Element.Loaded.scalar, Space.space, to: nil, address: place,
        value.materialized(k).operand,
        compare: nil), if: predicate)
  }
}

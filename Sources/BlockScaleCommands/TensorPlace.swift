// SPDX-License-Identifier: Apache-2.0

/// What a tensor's name says of where it is in a model.
package struct TensorPlace: Hashable, Sendable {
  /// The layer: the name's first component that is a number, or nil if there is none.
  package let layer: Int?
  /// The kind of module: the last component before `.weight`, such as `q_proj`.
  package let kind: String

  /// Takes a name apart.
  package init(_ name: String) {
    var components = name.split(separator: ".").map(String.init)
    if components.count > 1, components.last == "weight" { components.removeLast() }
    let layerIndex = components.firstIndex { Self.number($0) != nil }
    layer = layerIndex.flatMap { Self.number(components[$0]) }
    // A number alone names no kind: `to_out.0`, but just `net` for the layers of `net.0`.
    guard let last = components.last, Self.number(last) != nil, components.count > 1 else {
      kind = components.last ?? name
      return
    }
    let parent = components[components.count - 2]
    kind = layerIndex == components.count - 1 ? parent : parent + "." + last
  }

  private static func number(_ component: String) -> Int? {
    // `Int` alone would take signs too.
    component.utf8.allSatisfy { UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 } ? Int(component) : nil
  }
}

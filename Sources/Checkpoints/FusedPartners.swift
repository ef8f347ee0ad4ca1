// SPDX-License-Identifier: Apache-2.0

/// The linear layers that inference engines join into one matrix, whose tensor scales must agree.
///
/// vLLM and TensorRT-LLM load q, k and v as one product, and gate and up likewise; a joined matrix
/// has room for one tensor scale. vLLM takes the largest and only warns where they differ.
enum FusedPartners {
  /// Each set lists the last component of the module names.
  private static let sets: [[String]] = [
    ["q_proj", "k_proj", "v_proj"],
    ["gate_proj", "up_proj"],
    ["w1", "w3"],
    ["wq", "wk", "wv"],
    ["query", "key", "value"],
    ["to_q", "to_k", "to_v"],
    ["q_a_proj", "kv_a_proj_with_mqa"],
    ["wq_a", "wkv_a_with_mqa"],
  ]

  private static let setOfComponent: [String: Int] = Dictionary(
    uniqueKeysWithValues: sets.enumerated().flatMap { index, names in names.map { ($0, index) } })

  /// A key that partners have in common and no other parameter has; nil for a parameter without
  /// partners.
  static func key(of parameter: String) -> String? {
    guard parameter.hasSuffix(".weight") else { return nil }
    let module = parameter.dropLast(".weight".count)
    let component = module.split(separator: ".", omittingEmptySubsequences: false).last ?? module
    guard let set = setOfComponent[String(component)] else { return nil }
    return "\(module.dropLast(component.count))#\(set)"
  }

  /// Groups parameters that share a tensor scale, in order of their first member.
  static func groups<Member>(_ members: [Member], name: (Member) -> String) -> [[Member]] {
    var groups: [[Member]] = []
    var place: [String: Int] = [:]
    for member in members {
      guard let key = key(of: name(member)) else {
        groups.append([member])
        continue
      }
      if let index = place[key] {
        groups[index].append(member)
      } else {
        place[key] = groups.count
        groups.append([member])
      }
    }
    return groups
  }
}

// SPDX-License-Identifier: Apache-2.0

import RealModule

/// Causal attention of one sequence in FP64, and its gradients.
package struct AttentionReference: Sendable {
  package let queries: Int
  package let keys: Int
  package let heads: Int
  package let keyValueHeads: Int
  package let dimension: Int

  package init(queries: Int, keys: Int, heads: Int, keyValueHeads: Int, dimension: Int) {
    self.queries = queries
    self.keys = keys
    self.heads = heads
    self.keyValueHeads = keyValueHeads
    self.dimension = dimension
  }

  private func own(_ query: Int, _ head: Int) -> Int { (query * heads + head) * dimension }
  private func other(_ key: Int, _ head: Int) -> Int {
    (key * keyValueHeads + head * keyValueHeads / heads) * dimension
  }

  private func probabilities(_ q: [Double], _ k: [Double], _ query: Int, _ head: Int) -> [Double] {
    let scores = (0..<query + 1 + keys - queries).map { key in
      (0..<dimension).reduce(0.0) { $0 + q[own(query, head) + $1] * k[other(key, head) + $1] }
        / Double(dimension).squareRoot()
    }
    let powers = scores.map { Double.exp($0 - scores.max()!) }
    let sum = powers.reduce(0, +)
    return powers.map { $0 / sum }
  }

  package func output(_ q: [Double], _ k: [Double], _ v: [Double]) -> [Double] {
    var result = [Double](repeating: 0, count: q.count)
    for query in 0..<queries {
      for head in 0..<heads {
        for (key, p) in probabilities(q, k, query, head).enumerated() {
          for d in 0..<dimension { result[own(query, head) + d] += p * v[other(key, head) + d] }
        }
      }
    }
    return result
  }

  package func gradients(
    _ q: [Double], _ k: [Double], _ v: [Double], _ dy: [Double]
  ) -> (q: [Double], k: [Double], v: [Double]) {
    var result = (
      q: [Double](repeating: 0, count: q.count), k: [Double](repeating: 0, count: k.count),
      v: [Double](repeating: 0, count: v.count)
    )
    for query in 0..<queries {
      for head in 0..<heads {
        let p = probabilities(q, k, query, head)
        let mine = own(query, head)
        let products = p.indices.map { key in
          (0..<dimension).reduce(0.0) { $0 + dy[mine + $1] * v[other(key, head) + $1] }
        }
        let mean = zip(p, products).reduce(0) { $0 + $1.0 * $1.1 }
        for key in p.indices {
          let change = p[key] * (products[key] - mean) / Double(dimension).squareRoot()
          for d in 0..<dimension {
            result.v[other(key, head) + d] += p[key] * dy[mine + d]
            result.q[mine + d] += change * k[other(key, head) + d]
            result.k[other(key, head) + d] += change * q[mine + d]
          }
        }
      }
    }
    return result
  }
}

/// Signal over error in decibels.
package func decibels(_ values: some Collection<Double>, against reference: [Double]) -> Double {
  let error = zip(values, reference).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
  let signal = reference.reduce(0) { $0 + $1 * $1 }
  return error == 0 ? .infinity : 10 * Double.log10(signal / error)
}

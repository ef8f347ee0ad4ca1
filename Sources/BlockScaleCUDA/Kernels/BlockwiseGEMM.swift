// SPDX-License-Identifier: Apache-2.0

import Minifloat
package import PTX

/// Y = (A·sA)(B·sB)ᵀ for E4M3 operands, A in blocks of 1x128 and B in blocks of 128x128, Y in BF16.
///
/// - Constraints: any M, N, K ≥ 1. A is M×K and B N×K, row by row; rows of A, B and Y begin at
///   multiples of 16 bytes, which padding gives them (its contents do not matter). A's scales are one
///   row of M for each block of K, such rows at multiples of 4 values; B's are row-major.
/// - Numerics: products of codes are exact. The tensor cores sum 128 of K with at least 14 bits; each
///   such sum takes `sA · sB` in FP32 and is added in FP32 (one `fma`), from the first block of K on.
///   One rounding to BF16, to nearest even. A NaN scale makes its rows or columns NaN.
/// - Traffic: a tile of R rows and 128 columns reads `K(R + 128)` bytes of codes, from the second-level
///   cache but for the first of those that run at the same time.
///
/// One warpgroup starts copies, two compute: each holds half a tile's rows in FP32 registers and takes
/// them in waves of 64, whose products share the registers that the tensor cores write.
package struct BlockwiseGEMM: Kernel {
  package var configuration: Configuration

  /// The columns of a tile, which are those of a block of B, and the depth of one stage.
  static let tileColumns = 128, blockDepth = 128
  private static let consumers = 2

  package init(_ configuration: Configuration) { self.configuration = configuration }

  package var name: String {
    let (rows, stages) = (configuration.tileRows, configuration.stages)
    return
      "blockwise_gemm_\(rows)x\(Self.tileColumns)x\(stages)_cluster\(configuration.clusterBlocks)"
  }

  package var bounds: LaunchBounds {
    LaunchBounds(threads: 128 * (Self.consumers + 1), clusterBlocks: configuration.clusterBlocks)
  }

  /// One stage of the ring.
  private struct Stage {
    let a: SharedTile<Float8E4M3>, b: SharedTile<Float8E4M3>, aScales: SharedTile<Float>
  }

  package func body(_ k: KernelBuilder) {
    let a = k.tensorMap("a", of: configuration.aBox)
    let b = k.tensorMap("b", of: configuration.b)
    let aScales = k.tensorMap("aScales", of: configuration.aScales)
    let bScales = k.pointer("bScales", to: Float.self)
    let y = k.tensorMap("y", of: configuration.y)
    let rows = k.uint32("rows"), columns = k.uint32("columns"), depth = k.uint32("depth")

    k.prefetch(a, b, aScales, y)

    let cluster = k.cluster()
    let depthBlocks = depth.dividedUp(by: Self.blockDepth)
    let columnBlocks = columns.dividedUp(by: Self.tileColumns)
    let tiles = PersistentTiles(
      k, rows: rows, columns: columns, tileRows: configuration.tileRows,
      tileColumns: Self.tileColumns, strip: configuration.strip, cluster: cluster)
    let ring = k.pipeline(
      stages: configuration.stages, consumers: Self.consumers, cluster: cluster
    ) { memory in
      Stage(
        a: memory.tile(configuration.a), b: memory.tile(configuration.b),
        aScales: memory.tile(configuration.aScales))
    }
    let staging = k.stagedStore(configuration.y, warpgroups: Self.consumers)
    k.barrier(of: cluster)

    k.roles(
      Producer(registers: 40) {
        ring.produce { stages in
          tiles.forEach { row, column in
            k.repeated(depthBlocks) { block in
              stages.fill { stage, arrival in
                let start = block * Self.blockDepth
                stage.a.load(from: a, row: row, column: start, sharedBy: cluster, arrival: arrival)
                stage.b.load(from: b, row: column, column: start, arrival: arrival)
                stage.aScales.load(from: aScales, row: block, column: row, arrival: arrival)
              }
            }
          }
        }
      },
      Consumers(warpgroups: Self.consumers, registers: 232) { group in
        let groupRows = configuration.tileRows / Self.consumers
        let firstRow = group.index * groupRows
        ring.consume { stages in
          staging.use(by: group) { output in
            tiles.forEach { row, column in
              let sum = WarpgroupTile(group, rows: groupRows, columns: Self.tileColumns)
              // A tile beyond the last column, which a cluster may have, reads the last block's scales.
              let columnBlock = minimum(column / Self.tileColumns, columnBlocks - 1)
              let scales = bScales[columnBlock * depthBlocks]
              let nextScale = k.variable(scales.load(cache: .readOnly))
              k.repeated(depthBlocks) { block in
                // Loaded one block ahead; the last block loads its own again.
                let bScale = nextScale.snapshot()
                nextScale.value = scales[minimum(block + 1, depthBlocks - 1)].load(cache: .readOnly)
                stages.next { stage, release in
                  let rowScales = stage.aScales.columns(from: firstRow, count: groupRows)
                  let scales = sum.waves.map { sum.values(ofRows: rowScales, wave: $0) }
                  for wave in sum.waves {
                    let codes = stage.a.rows(from: firstRow + 64 * wave, count: 64)
                    let product = group.multiply(codes, stage.b)
                    let factors = (scales[wave].0 * bScale, scales[wave].1 * bScale)
                    let partial = product.finished()
                    // The refill overlaps the last wave's promotion.
                    if wave == sum.waves.last { release() }
                    sum.add(partial, wave: wave, scaledByRows: factors)
                  }
                }
              }
              output.store(sum, to: y, row: row + firstRow, column: column)
            }
          }
        }
      })
  }
}

// SPDX-License-Identifier: Apache-2.0

import OrderedCollections
import Safetensors
import SystemPackage

/// The files that a conversion writes, all of them under temporary names.
final class ConversionOutput: Sendable {
  /// One output file.
  struct Shard: Sendable {
    var name: String
    var writer: SafetensorsWriter
  }

  let shards: [Shard]
  /// The shard and place of each output tensor.
  private let places: [String: (shard: Int, info: TensorInfo)]

  init(shards: [Shard]) {
    self.shards = shards
    var places: [String: (shard: Int, info: TensorInfo)] = [:]
    for (index, shard) in shards.enumerated() {
      for (name, info) in shard.writer.header.tensors { places[name] = (index, info) }
    }
    self.places = places
  }

  private func place(of tensor: OutputTensor) -> (shard: Int, info: TensorInfo) {
    guard let place = places[tensor.name] else {
      preconditionFailure("Tensor '\(tensor.name)' was not planned")
    }
    return place
  }

  func write(_ bytes: [UInt8], to tensor: OutputTensor, at offset: Int) throws(SafetensorsError) {
    let place = place(of: tensor)
    // The span of an array that outlives the call.
    try unsafe shards[place.shard].writer.write(bytes.span.bytes, of: place.info, at: offset)
  }

  func write(
    _ bytes: UnsafeRawBufferPointer, to tensor: OutputTensor, at offset: Int
  ) throws(SafetensorsError) {
    let place = place(of: tensor)
    // The caller keeps the buffer alive for the length of the call.
    try unsafe shards[place.shard].writer.write(bytes, of: place.info, at: offset)
  }

  /// Counts a tensor as written by an earlier run.
  func markWritten(_ tensor: OutputTensor) throws(SafetensorsError) {
    let place = place(of: tensor)
    try shards[place.shard].writer.markWritten(of: place.info)
  }

  func synchronize() throws(SafetensorsError) {
    for shard in shards { try shard.writer.synchronize() }
  }

  func finish() throws(SafetensorsError) {
    for shard in shards { try shard.writer.finish() }
  }
}

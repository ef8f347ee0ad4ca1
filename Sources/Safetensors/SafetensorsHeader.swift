// SPDX-License-Identifier: Apache-2.0

public import OrderedCollections

/// The header of a safetensors file: its metadata and where each tensor lies.
///
/// A file is the header's length (8 bytes, little-endian), the header (JSON, which may be padded
/// with spaces), and the data section, which the tensors fill without a gap.
///
/// Parsing is strict. A header that this type accepts describes a file in which every byte of the
/// data section belongs to exactly one tensor, so that code which trusts it never reads outside
/// of the file.
///
/// Names are Swift strings, which compare by canonical equivalence: two names that differ only in
/// their Unicode normalisation count as duplicates here, although the reference library, which
/// compares bytes, keeps them apart.
public struct SafetensorsHeader: Sendable, Hashable {
  /// The `__metadata__` entry; empty where the file has none.
  public let metadata: OrderedDictionary<String, String>

  /// The tensors by name, in the order of their data.
  public let tensors: OrderedDictionary<String, TensorInfo>

  /// Where the data section begins in the file: 8 bytes and the header's length.
  public let dataOffset: Int

  /// The size of the data section in bytes.
  public let dataByteCount: Int

  /// The longest header, in bytes, that the format allows.
  public static let maximumByteCount = 100_000_000

  /// The name of the header's entry that holds the metadata, which no tensor can have.
  public static let metadataKey = "__metadata__"

  init(
    metadata: OrderedDictionary<String, String>, tensors: OrderedDictionary<String, TensorInfo>,
    dataOffset: Int, dataByteCount: Int
  ) {
    self.metadata = metadata
    self.tensors = tensors
    self.dataOffset = dataOffset
    self.dataByteCount = dataByteCount
  }
}

extension SafetensorsHeader {
  /// The size in bytes of a file with this header.
  public var fileByteCount: Int { dataOffset + dataByteCount }
}

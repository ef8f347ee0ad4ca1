// SPDX-License-Identifier: Apache-2.0

public import OrderedCollections
public import SystemPackage

extension SafetensorsFile {
  /// A whole tensor in memory.
  public typealias Contents = (name: String, dtype: DType, shape: [Int], bytes: [UInt8])

  /// Writes tensors that are in memory to a new file, back to back in the order given.
  ///
  /// - Throws: ``SafetensorsError`` if the tensors make no header (see
  ///   ``SafetensorsHeader/init(tensors:metadata:)``), if a tensor has another number of bytes than
  ///   its dtype and shape ask for, or if the file cannot be written.
  public static func write(
    _ tensors: [Contents], metadata: OrderedDictionary<String, String> = [:], to path: FilePath
  ) throws(SafetensorsError) {
    let header = try SafetensorsHeader(
      tensors: tensors.map { ($0.name, $0.dtype, $0.shape) }, metadata: metadata)
    let writer = try SafetensorsWriter(path: path, header: header)
    for (info, tensor) in zip(header.tensors.values, tensors) {
      // A byte has no padding that could be uninitialised.
      try unsafe writer.write(tensor.bytes.span.bytes, of: info)
    }
    try writer.finish()
  }
}

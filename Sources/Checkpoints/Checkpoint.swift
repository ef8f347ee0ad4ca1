// SPDX-License-Identifier: Apache-2.0

import BlockScale
import OrderedCollections
import Safetensors
public import SystemPackage

/// A checkpoint as its parameters: plain tensors, and block-scaled ones put together from their
/// parts.
public struct Checkpoint: Sendable {
  /// The file or folder that was opened.
  public let path: FilePath
  /// The layout of its block-scaled tensors; nil if it has none.
  public let layout: Layout?

  let collection: TensorCollection
  /// `config.json`, if the checkpoint is a folder that has one.
  let configuration: JSONValue?
  /// The parameters, in the order of their files.
  let parameters: OrderedDictionary<String, Parameter>
  /// What BlockScale recorded when it wrote the checkpoint.
  let record: ConversionRecord?
  let isFolder: Bool

  /// Opens a checkpoint.
  ///
  /// - Parameters:
  ///   - path: A `.safetensors` file, or a folder with one or with an index and its shards.
  ///   - layout: The layout to read block-scaled tensors in; detected if nil.
  /// - Throws: `SafetensorsError` for malformed files, ``CheckpointError`` if the layout cannot be
  ///   told or a block-scaled tensor's parts do not fit each other.
  public init(path: FilePath, layout: Layout? = nil) throws {
    let collection = try TensorCollection(path: path)
    let isFolder = try FileKind(of: path) == .folder
    let configuration = isFolder ? try readJSON(at: path.appending("config.json")) : nil
    var reader = LayoutReader(
      collection: collection, configuration: configuration,
      metadata: collection.files.first?.header.metadata ?? [:])
    let layout = try layout ?? reader.detectLayout(path: path)
    self.path = path
    self.collection = collection
    self.isFolder = isFolder
    self.configuration = configuration
    self.layout = layout
    parameters = try reader.parameters(in: layout)
    record =
      collection.files.lazy.compactMap { ConversionRecord(metadata: $0.header.metadata) }
      .first
  }

  /// The quantized parameters, in order.
  var quantizedTensors: [QuantizedTensor] {
    parameters.values.compactMap {
      if case .quantized(let tensor) = $0 { tensor } else { nil }
    }
  }
}

/// What BlockScale writes into the metadata of its files about how they were made.
struct ConversionRecord: Sendable, Hashable {
  static let metadataKey = "blockscale"

  var version: String
  var scheme: Scheme?
  var layout: Layout?
  var recipe: Recipe?
  var searchedScales: Bool

  init(
    version: String, scheme: Scheme?, layout: Layout?, recipe: Recipe?, searchedScales: Bool
  ) {
    self.version = version
    self.scheme = scheme
    self.layout = layout
    self.recipe = recipe
    self.searchedScales = searchedScales
  }

  init?(metadata: OrderedDictionary<String, String>) {
    guard let text = metadata[Self.metadataKey], let json = try? JSONValue.parse(Array(text.utf8)),
      let version = json["version"]?.stringValue
    else { return nil }
    self.version = version
    scheme = json["scheme"]?.stringValue.flatMap(Scheme.init(rawValue:))
    layout = json["layout"]?.stringValue.flatMap(Layout.init(rawValue:))
    recipe = json["recipe"]?.stringValue.flatMap(Recipe.init(rawValue:))
    searchedScales = json["scaleSearch"]?.boolValue ?? false
  }

  var json: JSONValue {
    var members: OrderedDictionary<String, JSONValue> = ["version": JSONValue(version)]
    if let scheme { members["scheme"] = JSONValue(scheme.rawValue) }
    if let layout { members["layout"] = JSONValue(layout.rawValue) }
    if let recipe { members["recipe"] = JSONValue(recipe.rawValue) }
    if searchedScales { members["scaleSearch"] = true }
    return .object(members)
  }
}

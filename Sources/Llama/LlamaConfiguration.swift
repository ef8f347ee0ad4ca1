// SPDX-License-Identifier: Apache-2.0

public import BlockScale
package import OrderedCollections
package import Safetensors

/// The shape of a Llama 3 model, as Hugging Face's config.json describes it.
///
/// Members that this type does not know are kept and written back.
public struct LlamaConfiguration: Sendable, Hashable {
  /// The number of tokens.
  public var vocabularySize: Int
  /// The width of the residual stream.
  public var hiddenSize: Int
  /// The width between the MLP's projections.
  public var intermediateSize: Int
  /// The number of decoder layers.
  public var layerCount: Int
  /// The heads of attention.
  public var heads: AttentionHeads
  /// What RMSNorm adds to the mean square.
  public var normEpsilon: Double
  /// The base of rotary frequencies.
  public var rotaryBase: Double
  /// How rotary frequencies are stretched, if they are.
  public var rotaryScaling: RotaryScaling?
  /// The longest sequence.
  public var maximumPositions: Int
  /// Whether the head is the embedding.
  public var tiesHead: Bool
  /// The deviation of normal numbers that weights begin with.
  public var initializerRange: Double
  /// Everything else in the file, and the order of all members.
  package var members: OrderedDictionary<String, JSONValue>

  /// Creates a configuration.
  public init(
    vocabularySize: Int, hiddenSize: Int, intermediateSize: Int, layerCount: Int,
    heads: AttentionHeads, normEpsilon: Double = 1e-5, rotaryBase: Double = 10_000,
    rotaryScaling: RotaryScaling? = nil, maximumPositions: Int = 2048, tiesHead: Bool = false,
    initializerRange: Double = 0.02
  ) {
    self.vocabularySize = vocabularySize
    self.hiddenSize = hiddenSize
    self.intermediateSize = intermediateSize
    self.layerCount = layerCount
    self.heads = heads
    self.normEpsilon = normEpsilon
    self.rotaryBase = rotaryBase
    self.rotaryScaling = rotaryScaling
    self.maximumPositions = maximumPositions
    self.tiesHead = tiesHead
    self.initializerRange = initializerRange
    members = [:]
  }

  /// A parameter of the model.
  public struct Parameter: Sendable, Hashable {
    /// Hugging Face's name, such as `model.layers.0.self_attn.q_proj.weight`.
    public let name: String
    /// The rows; one for a vector.
    public let rows: Int
    /// The columns.
    public let columns: Int
    /// Whether it is the vector of a normalization.
    public let isVector: Bool

    /// The shape in files.
    public var shape: [Int] { isVector ? [columns] : [rows, columns] }
  }

  /// The parameters in the order of the layers: what is saved, loaded, trained and clipped.
  public var parameters: [Parameter] {
    func matrix(_ name: String, _ rows: Int, _ columns: Int) -> Parameter {
      Parameter(name: "\(name).weight", rows: rows, columns: columns, isVector: false)
    }
    func vector(_ name: String) -> Parameter {
      Parameter(name: "\(name).weight", rows: 1, columns: hiddenSize, isVector: true)
    }
    let queryWidth = heads.count * heads.dimension
    let keyWidth = heads.keyValueCount * heads.dimension
    var result = [matrix("model.embed_tokens", vocabularySize, hiddenSize)]
    for index in 0..<layerCount {
      let layer = LayerNames(index)
      result += [
        vector(layer.inputNorm),
        matrix(layer.query, queryWidth, hiddenSize), matrix(layer.key, keyWidth, hiddenSize),
        matrix(layer.value, keyWidth, hiddenSize), matrix(layer.output, hiddenSize, queryWidth),
        vector(layer.postNorm),
        matrix(layer.gate, intermediateSize, hiddenSize),
        matrix(layer.up, intermediateSize, hiddenSize),
        matrix(layer.down, hiddenSize, intermediateSize),
      ]
    }
    result.append(vector("model.norm"))
    if !tiesHead { result.append(matrix("lm_head", vocabularySize, hiddenSize)) }
    return result
  }

  /// The names of the linear layers, the head's last.
  package var linearNames: [String] {
    (0..<layerCount).flatMap { LayerNames($0).linears } + ["lm_head"]
  }

  /// The number of all weights.
  public var parameterCount: Int { parameters.reduce(0) { $0 + $1.rows * $1.columns } }
}

/// The names of one layer's modules.
struct LayerNames: Sendable, Hashable {
  private let prefix: String

  init(_ index: Int) { prefix = "model.layers.\(index)" }

  var inputNorm: String { "\(prefix).input_layernorm" }
  var query: String { "\(prefix).self_attn.q_proj" }
  var key: String { "\(prefix).self_attn.k_proj" }
  var value: String { "\(prefix).self_attn.v_proj" }
  var output: String { "\(prefix).self_attn.o_proj" }
  var attention: String { "\(prefix).self_attn" }
  var postNorm: String { "\(prefix).post_attention_layernorm" }
  var gate: String { "\(prefix).mlp.gate_proj" }
  var up: String { "\(prefix).mlp.up_proj" }
  var down: String { "\(prefix).mlp.down_proj" }
  var mlp: String { "\(prefix).mlp" }

  /// The linear layers.
  var linears: [String] { [query, key, value, output, gate, up, down] }
}

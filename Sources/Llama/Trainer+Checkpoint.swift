// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleLayers
import Minifloat
import OrderedCollections
import Safetensors
public import SystemPackage

extension Trainer {
  /// Where the file's metadata has the run.
  private static var metadataKey: String { "blockscale.training" }

  /// Saves the whole state of the run in one safetensors file.
  ///
  /// The file is written under another name and renamed when it is on the disk, so that a run that is
  /// killed, or a disk that is full, leaves the last good one.
  ///
  /// - Throws: `SafetensorsError` or `CheckpointError` if the disk is full or refuses.
  public func save(to path: FilePath) throws {
    let state: JSONValue = [
      "schemaVersion": 1, "step": JSONValue(stepCount), "options": options.json,
      "text": JSONValue(String(data.fingerprint, radix: 16)),
      "configuration": JSONValue(String(decoding: model.configuration.json, as: UTF8.self)),
    ]
    var tensors: [(name: String, dtype: DType, shape: [Int])] = []
    var contents: [String: () -> [UInt8]] = [:]
    func add(_ name: String, _ dtype: DType, _ shape: [Int], _ bytes: @escaping () -> [UInt8]) {
      tensors.append((name, dtype, shape))
      contents[name] = bytes
    }
    for (index, parameter) in weights.parameters.enumerated() {
      add("weight.\(parameter.name)", .f32, parameter.shape) {
        littleEndian(weights[index].values)
      }
      switch optimizer {
      case .float32(let states):
        for (prefix, moment) in states[index].named {
          add("\(prefix).\(parameter.name)", .f32, parameter.shape) {
            littleEndian(moment.values)
          }
        }
      case .bfloat16(let states):
        for (prefix, moment) in states[index].named {
          add("\(prefix).\(parameter.name)", .bf16, parameter.shape) {
            littleEndian(moment.values)
          }
        }
      case .float8(let states):
        for (prefix, moment) in states[index].named {
          let name = "\(prefix).\(parameter.name)"
          let groups = [moment.scales.count]
          add(name, .f8E4M3, parameter.shape) { moment.codes }
          add("\(name).scales", .f32, groups) { littleEndian(moment.scales) }
          add("\(name).exponents", .f32, groups) { littleEndian(moment.exponents) }
          add("\(name).centers", .f32, groups) { littleEndian(moment.centers) }
        }
      }
    }
    try writeSafetensors(
      to: path, tensors, metadata: [Self.metadataKey: state.rendered(.compact)]
    ) { name, write in
      if let bytes = contents[name] { try write(bytes()) }
    }
  }

  /// Goes on with a run that was saved; what follows is bit for bit what would have followed.
  ///
  /// - Parameters:
  ///   - path: The file.
  ///   - data: The text that the run began with.
  /// - Throws: ``LlamaError`` if the file is of no run, or of one with another text; `SafetensorsError`
  ///   if it is damaged.
  public init(resuming path: FilePath, _ data: TrainingData, on backend: Compute) throws {
    let file = try SafetensorsFile(path: path)
    func refuse(_ text: String) -> LlamaError { LlamaError(.cannotResume, "\(path): \(text)") }
    guard let text = file.header.metadata[Self.metadataKey],
      let state = try? JSONValue.parse(Array(text.utf8)), state["schemaVersion"]?.intValue == 1,
      let stepCount = state["step"]?.intValue, stepCount >= 0,
      let options = state["options"].flatMap(TrainingOptions.init(json:)),
      let configurationText = state["configuration"]?.stringValue
    else { throw refuse("is no saved training run of this version.") }
    guard state["text"]?.stringValue == String(data.fingerprint, radix: 16) else {
      throw refuse("the run was begun with another text.")
    }
    let configuration = try LlamaConfiguration(json: Array(configurationText.utf8))
    let reader = StateReader(file: file, path: path)
    var weights = ParameterStore(zerosFor: configuration)
    for parameter in weights.parameters {
      weights[parameter.name].values = try reader.floats(
        "weight.\(parameter.name)", parameter.shape)
    }
    func states<First, Second>(
      _ moment: (String, [Int]) throws -> (First, Second)
    ) throws -> [AdamWState<First, Second>] {
      try weights.parameters.map { parameter in
        let (first, second) = try moment(parameter.name, parameter.shape)
        return try AdamWState(first: first, second: second, step: stepCount)
      }
    }
    let optimizer: Optimizer =
      switch options.moments {
      case .float32:
        .float32(
          try states { name, shape in
            (
              Float32Moment(encoding: try reader.floats("first.\(name)", shape)),
              Float32Moment(encoding: try reader.floats("second.\(name)", shape))
            )
          })
      case .bfloat16:
        .bfloat16(
          try states { name, shape in
            (
              // BF16 values are exact in FP32.
              BFloat16Moment(encoding: try reader.halves("first.\(name)", shape)),
              BFloat16Moment(encoding: try reader.halves("second.\(name)", shape))
            )
          })
      case .float8:
        .float8(
          try states { name, shape in
            (
              try reader.expanded("first.\(name)", shape),
              try reader.expanded("second.\(name)", shape)
            )
          })
      }
    try self.init(
      configuration, options, data, weights: weights, optimizer: optimizer, stepCount: stepCount,
      on: backend)
  }
}

extension AdamWState where First == Second {
  /// The moments with the prefixes of their tensors.
  fileprivate var named: [(String, First)] { [("first", first), ("second", second)] }
}

/// Reads tensors of a saved run.
private struct StateReader {
  let file: SafetensorsFile
  let path: FilePath

  func bytes(_ name: String, _ dtype: DType, _ shape: [Int]) throws -> [UInt8] {
    let info = try file.tensor(named: name)
    guard info.dtype == dtype, info.shape == shape else {
      throw LlamaError(
        .cannotResume,
        "\(path): tensor '\(name)' is \(info.dtype.rawValue) of shape \(info.shape), not "
          + "\(dtype.rawValue) of shape \(shape).")
    }
    return file.withBytes(of: info) { span in
      // The file is mapped during the call.
      unsafe span.withUnsafeBytes { unsafe [UInt8]($0) }
    }
  }

  func floats(_ name: String, _ shape: [Int]) throws -> [Float] {
    let bytes = try bytes(name, .f32, shape)
    // Whole numbers of four bytes, of any alignment.
    return try checked(
      unsafe bytes.withUnsafeBytes { buffer in
        (0..<buffer.count / 4).map {
          unsafe buffer.loadUnaligned(fromByteOffset: $0 * 4, as: Float.self)
        }
      }, name)
  }

  func halves(_ name: String, _ shape: [Int]) throws -> [Float] {
    let bytes = try bytes(name, .bf16, shape)
    return try checked(
      stride(from: 0, to: bytes.count, by: 2).map {
        Float(bitPattern: UInt32(bytes[$0]) << 16 | UInt32(bytes[$0 + 1]) << 24)
      }, name)
  }

  /// No run saves a value that is not finite: it stops where one arises.
  private func checked(_ values: [Float], _ name: String) throws(LlamaError) -> [Float] {
    guard values.allSatisfy(\.isFinite) else { throw notFinite(name) }
    return values
  }

  private func notFinite(_ name: String) -> LlamaError {
    LlamaError(.nonFinite, "\(path): tensor '\(name)' holds a NaN or an infinity.")
  }

  func expanded(_ name: String, _ shape: [Int]) throws -> RangeExpandedMoment {
    let count = shape.reduce(1, *)
    let groups = [(count + RangeExpandedMoment.groupSize - 1) / RangeExpandedMoment.groupSize]
    let codes = try bytes(name, .f8E4M3, shape)
    guard codes.allSatisfy({ !Float8E4M3(bitPattern: $0).isNaN }) else { throw notFinite(name) }
    return try RangeExpandedMoment(
      codes: codes, scales: floats("\(name).scales", groups),
      exponents: floats("\(name).exponents", groups), centers: floats("\(name).centers", groups))
  }
}

extension TrainingOptions {
  /// All options, exactly.
  var json: JSONValue {
    [
      "steps": JSONValue(steps), "sequences": JSONValue(sequences), "length": JSONValue(length),
      "microBatch": JSONValue(microBatch),
      "learningRate": JSONValue(schedule.peak), "warmupSteps": JSONValue(schedule.warmupSteps),
      "finalShare": JSONValue(schedule.finalShare),
      "beta1": JSONValue(Double(optimizer.beta1)), "beta2": JSONValue(Double(optimizer.beta2)),
      "epsilon": JSONValue(Double(optimizer.epsilon)),
      "weightDecay": JSONValue(Double(optimizer.weightDecay)),
      "expandMinimum": JSONValue(optimizer.expandMinimum), "clipNorm": JSONValue(clipNorm),
      "seed": JSONValue(String(seed)), "moments": JSONValue(moments.rawValue),
      "plan": .array(
        plan.rules.map { [.string($0.pattern), .string($0.precision.description)] }),
      "otherwise": JSONValue(plan.otherwise.description),
    ]
  }

  /// - Returns: nil if one is missing or cannot be.
  init?(json: JSONValue) {
    func float(_ key: String) -> Float? { json[key]?.doubleValue.map { Float($0) } }
    guard let steps = json["steps"]?.intValue, let sequences = json["sequences"]?.intValue,
      let length = json["length"]?.intValue, let microBatch = json["microBatch"]?.intValue,
      let peak = json["learningRate"]?.doubleValue,
      let warmupSteps = json["warmupSteps"]?.intValue,
      let finalShare = json["finalShare"]?.doubleValue, let beta1 = float("beta1"),
      let beta2 = float("beta2"), let epsilon = float("epsilon"),
      let weightDecay = float("weightDecay"), let expandMinimum = json["expandMinimum"]?.intValue,
      expandMinimum > 0, let clipNorm = json["clipNorm"]?.doubleValue,
      let seed = json["seed"]?.stringValue.flatMap({ UInt64($0) }),
      let moments = json["moments"]?.stringValue.flatMap(MomentFormat.init(rawValue:)),
      let otherwise = json["otherwise"]?.stringValue.flatMap({ LinearPrecision($0) }),
      let rules = json["plan"]?.arrayValue
    else { return nil }
    var plan = PrecisionPlan(rules: [], otherwise: otherwise)
    for rule in rules {
      guard let parts = rule.arrayValue, parts.count == 2, let pattern = parts[0].stringValue,
        let precision = parts[1].stringValue.flatMap({ LinearPrecision($0) })
      else { return nil }
      plan.rules.append(PrecisionPlan.Rule(pattern, precision))
    }
    self.init(
      steps: steps, sequences: sequences, length: length, microBatch: microBatch,
      schedule: LearningRateSchedule(
        peak: peak, warmupSteps: warmupSteps, finalShare: finalShare),
      optimizer: AdamW(
        beta1: beta1, beta2: beta2, epsilon: epsilon, weightDecay: weightDecay,
        expandMinimum: expandMinimum), clipNorm: clipNorm, seed: seed)
    self.plan = plan
    self.moments = moments
  }
}

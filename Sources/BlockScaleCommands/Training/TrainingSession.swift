// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import Checkpoints
import Llama
import Safetensors
import SystemPackage

/// What follows the last step: evaluation, quantization, and the files of the run.
struct TrainingSession {
  let run: TrainingRun
  let data: TrainingData
  let tokenizer: ModelTokenizer
  let cpu: CPUBackend
  let jobs: Int
  /// A prompt that suits the text.
  let prompt: String

  /// Saves and evaluates all models, quantizes the last one, and writes pictures and the report.
  ///
  /// - Parameter mayGoOn: Called now and then; what it throws ends the work.
  func finish(_ mayGoOn: () throws -> Void = {}) throws -> TrainingResult {
    let options = run.arms[0].trainer.options
    var result = TrainingResult(
      folder: run.folder, data: data, tokensPerStep: options.tokensPerStep, prompt: prompt)
    result.configuration = run.arms[0].trainer.model.configuration
    for arm in run.arms {
      try mayGoOn()
      try run.saveModel(arm, tokenizer, on: cpu)
      result.arms.append(
        TrainingResult.Arm(
          curve: arm.curve, evaluationLoss: try arm.trainer.evaluationLoss(),
          tokensPerSecond: arm.tokensPerSecond,
          seconds: arm.records.reduce(0) { $0 + $1.seconds }))
    }
    let last = run.arms[run.arms.count - 1]
    let source = run.folder.model(last.recipe.rawValue)
    let checkpoint = try Checkpoint(path: source)
    for searches in [false, true] {
      try mayGoOn()
      let names = TrainingFolder.quantized
      let name = searches ? names.searched : names.plain
      let target = run.folder.model(name)
      _ = try Converter(jobs: jobs, overwrite: true).quantize(
        checkpoint, to: target, scheme: .nvfp4, searchesScales: searches)
      let model = try LlamaModel(folder: target, on: cpu)
      let comparison = try Comparison(
        reference: checkpoint, candidate: Checkpoint(path: target), jobs: jobs)
      result.quantized.append(
        TrainingResult.Quantized(
          name: name, source: last.recipe.rawValue,
          evaluationLoss: try model.evaluationLoss(
            data.evaluation, length: options.length, microBatch: options.microBatch
          ).loss,
          ratios: comparison.tensors.filter { $0.error.errorPower > 0 }.map {
            ($0.name, $0.error.sqnr)
          }))
    }
    try write(result)
    return result
  }

  private func write(_ result: TrainingResult) throws {
    let curves = result.arms.map(\.curve)
    let model = result.configuration?.summary ?? ""
    let bars = result.arms.map {
      (
        name: $0.curve.name, value: $0.tokensPerSecond,
        label: "\(DecimalText.fixed($0.tokensPerSecond, digits: 0)) tokens/s"
      )
    }
    let noise = result.quantized[0].ratios.map { (name: $0.name, sqnr: $0.sqnr) }
    for (path, text) in [
      (run.folder.lossPicture, LossPlot.svg(curves, title: "Training a Llama of \(model)")),
      (
        run.folder.throughputPicture,
        BarPlot.svg(bars, unit: "tokens a second", title: "Throughput of a Llama of \(model)")
      ),
      (run.folder.noisePicture, SQNRPlot.svg(points: noise, title: "SQNR of the NVFP4 weights")),
      (run.folder.report, JSONOutput.text(command: "train", result.json)),
    ] {
      try writeFileAtomically(Array(text.utf8), to: path)
    }
  }
}

/// What a training run has come to.
struct TrainingResult {
  struct Arm {
    let curve: LossCurve
    let evaluationLoss: Double
    let tokensPerSecond: Double
    let seconds: Double

    /// The mean over the last fifty steps.
    var finalLoss: Double { curve.finalLoss(over: TrainingResult.lastSteps) }
  }

  struct Quantized {
    let name: String
    let source: String
    let evaluationLoss: Double
    let ratios: [(name: String, sqnr: Double)]
  }

  static let lastSteps = 50
  let folder: TrainingFolder
  let data: TrainingData
  let tokensPerStep: Int
  let prompt: String
  var configuration: LlamaConfiguration?
  var arms: [Arm] = []
  var quantized: [Quantized] = []

  /// How far a loss lies from the first arm's.
  private func difference(_ loss: Double, _ reference: Double) -> Double {
    (loss - reference) / reference
  }

  private func signed(_ fraction: Double) -> String {
    (fraction >= 0 ? "+" : "") + ByteText.percent(fraction, digits: 2)
  }

  func text(width: Int, color: Bool) -> String {
    func loss(_ value: Double) -> String { DecimalText.fixed(value, digits: 4) }
    var text = ""
    if let configuration {
      let millions = Double(configuration.parameterCount) * 1e-6
      text +=
        "Model: \(configuration.summary); \(DecimalText.fixed(millions, digits: 2)) M parameters\n"
    }
    text +=
      "Text: \(data.training.count) tokens to train on, \(data.evaluation.count) to evaluate on\n"
      + "Entropy of its single tokens: \(loss(data.unigramEntropy)) nats\n\n"
    text += TerminalChart.text(arms.map(\.curve), width: min(width, 100), color: color) + "\n"
    let steps = min(Self.lastSteps, arms[0].curve.losses.count)
    var table = TextTable([
      .init("Loss in nats a token"), .init("Last \(steps) steps", .right), .init("vs bf16", .right),
      .init("Evaluation", .right), .init("vs bf16", .right), .init("Tokens/s", .right),
    ])
    for arm in arms {
      let isFirst = arm.curve == arms[0].curve
      table.addRow([
        arm.curve.name, loss(arm.finalLoss),
        isFirst ? "" : signed(difference(arm.finalLoss, arms[0].finalLoss)),
        loss(arm.evaluationLoss),
        isFirst ? "" : signed(difference(arm.evaluationLoss, arms[0].evaluationLoss)),
        DecimalText.fixed(arm.tokensPerSecond, digits: 0),
      ])
    }
    for model in quantized {
      table.addRow([
        "\(model.name) of \(model.source)", "", "", loss(model.evaluationLoss),
        signed(difference(model.evaluationLoss, arms[0].evaluationLoss)), "",
      ])
    }
    text += table.render()
    text += """

      Models, losses (CSV), pictures (SVG) and the report (JSON) are in '\(folder.path)'.
      Next: blockscale generate \(folder.model("nvfp4")) --prompt "\(prompt)"

      """
    return text
  }

  /// Without the members that every document begins with.
  var json: JSONValue {
    [
      "folder": JSONValue(folder.path.string),
      "model": [
        "summary": JSONValue(configuration?.summary ?? ""),
        "parameters": JSONValue(configuration?.parameterCount ?? 0),
      ],
      "text": [
        "trainingTokens": JSONValue(data.training.count),
        "evaluationTokens": JSONValue(data.evaluation.count),
        "unigramEntropy": JSONValue(data.unigramEntropy),
      ],
      "tokensPerStep": JSONValue(tokensPerStep),
      "arms": .array(
        arms.map { arm in
          [
            "recipe": JSONValue(arm.curve.name),
            "losses": .array(arm.curve.losses.map { JSONValue($0) }),
            "finalLoss": JSONValue(arm.finalLoss),
            "finalLossAgainstFirst": JSONValue(difference(arm.finalLoss, arms[0].finalLoss)),
            "evaluationLoss": JSONValue(arm.evaluationLoss),
            "tokensPerSecond": JSONValue(arm.tokensPerSecond), "seconds": JSONValue(arm.seconds),
          ]
        }),
      "quantized": .array(
        quantized.map { model in
          [
            "name": JSONValue(model.name), "source": JSONValue(model.source),
            "evaluationLoss": JSONValue(model.evaluationLoss),
            "tensors": .array(
              model.ratios.map { ["name": JSONValue($0.name), "sqnr": JSONValue($0.sqnr)] }),
          ]
        }),
    ]
  }
}

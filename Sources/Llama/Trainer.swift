// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import RealModule

/// Trains a model step by step.
///
/// The same options, weights, text and number of threads give the same bits; so does a run that is
/// saved and resumed.
///
///     var trainer = try Trainer(configuration, options, data, on: CPUBackend())
///     while !trainer.isFinished { print(try trainer.step().loss) }
public struct Trainer<Compute: TransformerBackend>: Sendable {
  /// What one step did.
  public struct StepReport: Sendable, Hashable {
    /// The number of the step, the first being one.
    public let step: Int
    /// The mean loss of its sequences before the step, in nats a token.
    public let loss: Double
    /// The norm of all gradients before clipping.
    public let gradientNorm: Double
    /// The step size.
    public let learningRate: Double
  }

  /// What the run follows from.
  public let options: TrainingOptions
  /// The text.
  public let data: TrainingData
  /// The model as it is now.
  public private(set) var model: LlamaModel<Compute>
  /// The master weights.
  public private(set) var weights: ParameterStore
  /// The steps taken.
  public private(set) var stepCount: Int
  private(set) var optimizer: Optimizer
  let backend: Compute
  private var gradients: ParameterStore
  private var order: SequenceOrder

  /// Whether all steps are taken.
  public var isFinished: Bool { stepCount >= options.steps }

  /// Begins a run.
  ///
  /// - Parameters:
  ///   - weights: What to begin with; from the seed if nil.
  ///   - data: Its text must have a sequence at least, and its tokens be in the vocabulary.
  /// - Throws: ``LlamaError`` if options, text and model do not fit each other.
  public init(
    _ configuration: LlamaConfiguration, _ options: TrainingOptions, _ data: TrainingData,
    weights: ParameterStore? = nil, on backend: Compute
  ) throws {
    try self.init(
      configuration, options, data,
      weights: weights ?? ParameterStore(for: configuration, seed: options.seed),
      optimizer: Optimizer(options.moments, for: configuration.parameters), stepCount: 0,
      on: backend)
  }

  /// Goes on from a state.
  init(
    _ configuration: LlamaConfiguration, _ options: TrainingOptions, _ data: TrainingData,
    weights: ParameterStore, optimizer: Optimizer, stepCount: Int, on backend: Compute
  ) throws {
    try options.check()
    order = try SequenceOrder(
      tokens: data.training.count, length: options.length, seed: options.seed)
    if let token = (data.training + data.evaluation).first(where: {
      $0 < 0 || Int($0) >= configuration.vocabularySize
    }) {
      throw LlamaError(
        .wrongInput,
        "The text has the token \(token), and the model's vocabulary ends at "
          + "\(configuration.vocabularySize - 1).")
    }
    model = try LlamaModel(
      configuration, weights: weights, plan: options.plan,
      contextLength: min(configuration.maximumPositions, max(options.length, 1)), on: backend)
    self.options = options
    self.data = data
    self.weights = weights
    self.optimizer = optimizer
    self.stepCount = stepCount
    self.backend = backend
    gradients = ParameterStore(zerosFor: configuration)
  }

  /// Takes one step.
  ///
  /// - Throws: ``LlamaError`` that names the step and the module or parameter where a value is not
  ///   finite or the loss has left all bounds; the weights are those before the step, unless the step
  ///   itself made them so.
  /// - Precondition: The run is not finished.
  public mutating func step() throws(LlamaError) -> StepReport {
    precondition(!isFinished, "The run has taken all its steps")
    do throws(LlamaError) {
      let report = try takeStep()
      stepCount += 1
      return report
    } catch {
      throw LlamaError(error.code, "Step \(stepCount + 1): \(error.description)")
    }
  }

  private mutating func takeStep() throws(LlamaError) -> StepReport {
    gradients.clear()
    var loss = 0.0
    let parts = options.sequences / options.microBatch
    for part in 0..<parts {
      let first = stepCount * options.sequences + part * options.microBatch
      let batch = try TokenBatch(
        (first..<first + options.microBatch).map { index in
          let start = order.start(of: index)
          return Array(data.training[start...start + options.length])
        })
      loss += try model.loss(
        batch, addingGradientsTo: &gradients, share: 1 / Double(parts))
    }
    loss /= Double(parts)
    guard loss < 4 * Double.log(Double(model.configuration.vocabularySize)) + 4 else {
      throw LlamaError(
        .diverged,
        "The loss is \(loss), far above that of guessing, and the largest gradient is that of "
          + "'\(gradients.steepest(on: backend))'; a smaller learning rate may help.")
    }
    let norm = gradients.norm(on: backend)
    guard norm.isFinite else {
      throw LlamaError(
        .nonFinite,
        "\(gradients.firstNonFinite ?? "all parameters together"): The gradient holds a NaN or an "
          + "infinity.")
    }
    var settings = options.optimizer
    let rate = options.schedule.rate(step: stepCount, of: options.steps)
    settings.learningRate = Float(rate)
    try optimizer.step(
      &weights, gradients, settings,
      gradientFactor: norm > options.clipNorm ? Float(options.clipNorm / norm) : 1, on: backend)
    try model.update(weights)
    return StepReport(
      step: stepCount + 1, loss: loss, gradientNorm: norm, learningRate: rate)
  }

  /// The mean loss over the evaluation text, in nats a token.
  ///
  /// - Parameter sequences: The most sequences to look at; all if nil.
  /// - Throws: ``LlamaError`` if the text is shorter than one sequence.
  public func evaluationLoss(sequences: Int? = nil) throws(LlamaError) -> Double {
    try model.evaluationLoss(
      data.evaluation, length: options.length, microBatch: options.microBatch,
      sequences: sequences
    ).loss
  }
}

extension LlamaModel {
  /// The mean loss over a text that is cut into sequences, in nats a token, and the losses that it is the
  /// mean of; what is left of a sequence at the end is not looked at.
  ///
  /// - Parameters:
  ///   - length: The tokens of a sequence.
  ///   - microBatch: The sequences that go through the model at once.
  ///   - sequences: The most sequences to look at; all if nil.
  ///   - onProgress: Called with the sequences that have just been looked at, and the mean loss of all
  ///     so far.
  /// - Throws: ``LlamaError`` if the text is shorter than one sequence.
  public func evaluationLoss(
    _ tokens: [Int32], length: Int, microBatch: Int = 8, sequences: Int? = nil,
    onProgress: (_ sequences: Int, _ loss: Double) -> Void = { _, _ in }
  ) throws(LlamaError) -> (loss: Double, tokenLosses: [Float]) {
    let count = min((tokens.count - 1) / length, sequences ?? .max)
    guard count > 0 else {
      throw LlamaError(
        .wrongInput,
        "The evaluation text has \(tokens.count) tokens, which is less than one sequence of "
          + "\(length + 1).")
    }
    var losses: [Float] = []
    var total = 0.0
    for first in stride(from: 0, to: count, by: microBatch) {
      let batch = try TokenBatch(
        (first..<min(count, first + microBatch)).map {
          Array(tokens[$0 * length...($0 + 1) * length])
        })
      let more = try tokenLosses(batch)
      losses += more
      total += more.reduce(0.0) { $0 + Double($1) }
      onProgress(batch.sequences, total / Double(losses.count))
    }
    return (total / Double(losses.count), losses)
  }
}

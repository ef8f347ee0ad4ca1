// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import RealModule

/// The formats that AdamW's moments are kept in between steps.
public enum MomentFormat: String, Sendable, Hashable, CaseIterable {
  /// Eight bytes a parameter.
  case float32
  /// Four bytes a parameter.
  case bfloat16
  /// E4M3 with COAT's range expansion: two bytes a parameter and 24 for every 128.
  case float8
}

/// What a training run computes in.
public enum TrainingRecipe: String, Sendable, Hashable, CaseIterable {
  /// Everything in BF16.
  case bf16
  /// Linear layers in FP8 blocks.
  case fp8
  /// COAT: linear layers, normalizations and SwiGLU in FP8, and the moments of AdamW.
  case coat

  /// The numerics of the linear layers.
  public var plan: PrecisionPlan {
    switch self {
    case .bf16: .bfloat16
    case .fp8: .float8
    case .coat: .coat
    }
  }

  /// The format of the optimizer's moments.
  public var moments: MomentFormat { self == .coat ? .float8 : .bfloat16 }
}

/// The step size over a run: a linear warm-up, then half a cosine down to a share of the peak.
public struct LearningRateSchedule: Sendable, Hashable {
  /// The largest step size.
  public var peak: Double
  /// The steps until it is reached.
  public var warmupSteps: Int
  /// The last step size over the largest.
  public var finalShare: Double

  /// Creates a schedule.
  public init(peak: Double, warmupSteps: Int, finalShare: Double = 0.1) {
    self.peak = peak
    self.warmupSteps = warmupSteps
    self.finalShare = finalShare
  }

  /// The step size of a step, the first being zero.
  public func rate(step: Int, of steps: Int) -> Double {
    if step < warmupSteps { return peak * Double(step + 1) / Double(warmupSteps) }
    let place = Double(step - warmupSteps) / Double(max(1, steps - 1 - warmupSteps))
    let cosine = (1 + Double.cos(Double.pi * min(place, 1))) / 2
    return peak * (finalShare + (1 - finalShare) * cosine)
  }
}

/// All that a training run follows from, beside the model's shape and the text.
public struct TrainingOptions: Sendable, Hashable {
  /// The optimizer steps of the run.
  public var steps: Int
  /// The sequences of a step.
  public var sequences: Int
  /// The tokens of a sequence.
  public var length: Int
  /// The sequences that go through the model at once; gradients add up over a step.
  public var microBatch: Int
  /// The step sizes.
  public var schedule: LearningRateSchedule
  /// AdamW's other settings; its `learningRate` is not used.
  public var optimizer: AdamW
  /// The largest norm of all gradients together, to which longer ones are scaled.
  public var clipNorm: Double
  /// What weights and the order of sequences follow from.
  public var seed: UInt64
  /// The numerics of the linear layers.
  public var plan: PrecisionPlan
  /// The format of the optimizer's moments.
  public var moments: MomentFormat

  /// Creates options.
  ///
  /// - Parameter microBatch: All sequences of a step at once if nil.
  public init(
    recipe: TrainingRecipe = .bf16, steps: Int, sequences: Int, length: Int,
    microBatch: Int? = nil, schedule: LearningRateSchedule? = nil,
    optimizer: AdamW = AdamW(beta2: 0.95, weightDecay: 0.1), clipNorm: Double = 1,
    seed: UInt64 = 0
  ) {
    self.steps = steps
    self.sequences = sequences
    self.length = length
    self.microBatch = microBatch ?? sequences
    self.schedule =
      schedule ?? LearningRateSchedule(peak: 1e-3, warmupSteps: min(100, steps / 10))
    self.optimizer = optimizer
    self.clipNorm = clipNorm
    self.seed = seed
    plan = recipe.plan
    moments = recipe.moments
  }

  /// The tokens that a step trains on.
  public var tokensPerStep: Int { sequences * length }

  /// - Throws: ``LlamaError`` for settings that cannot be.
  package func check() throws(LlamaError) {
    func require(_ isTrue: Bool, _ text: String) throws(LlamaError) {
      if !isTrue { throw LlamaError(.wrongInput, text) }
    }
    // Small enough that no product of them overflows.
    let counts = 1...1 << 30
    try require(counts.contains(steps), "A run cannot have \(steps) steps.")
    try require(
      counts.contains(sequences) && counts.contains(length),
      "A step cannot have \(sequences) sequences of \(length) tokens.")
    try require(
      microBatch > 0 && sequences % microBatch == 0,
      "Micro-batches of \(microBatch) do not make up a step of \(sequences) sequences.")
    try require(
      schedule.peak > 0 && schedule.peak.isFinite && schedule.warmupSteps >= 0
        && (0...1).contains(schedule.finalShare),
      "A learning rate of \(schedule.peak) with \(schedule.warmupSteps) steps of warm-up, down to a "
        + "share of \(schedule.finalShare), is no schedule.")
    try require(
      optimizer.weightDecay >= 0 && optimizer.weightDecay.isFinite,
      "Weights cannot decay by \(optimizer.weightDecay).")
    try require(
      clipNorm > 0 && clipNorm.isFinite, "Gradients cannot be clipped to a norm of \(clipNorm).")
  }
}

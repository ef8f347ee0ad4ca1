// SPDX-License-Identifier: Apache-2.0

import BlockScale

/// AdamW's moments of all parameters, in their order.
enum Optimizer: Sendable {
  case float32([Float32AdamWState])
  case bfloat16([BFloat16AdamWState])
  case float8([Float8AdamWState])

  /// Before the first step.
  init(_ format: MomentFormat, for parameters: [LlamaConfiguration.Parameter]) {
    func states<First, Second>() -> [AdamWState<First, Second>] {
      parameters.map { AdamWState(count: $0.rows * $0.columns) }
    }
    switch format {
    case .float32: self = .float32(states())
    case .bfloat16: self = .bfloat16(states())
    case .float8: self = .float8(states())
    }
  }

  /// Takes a step with all parameters; vectors do not decay.
  mutating func step(
    _ weights: inout ParameterStore, _ gradients: ParameterStore, _ options: AdamW,
    gradientFactor: Float, on backend: some TransformerBackend
  ) throws(LlamaError) {
    func take<First, Second>(
      _ states: inout [AdamWState<First, Second>]
    ) throws(LlamaError) {
      for (index, parameter) in weights.parameters.enumerated() {
        var options = options
        if parameter.isVector { options.weightDecay = 0 }
        try at(parameter.name) { () throws(BlockScaleError) in
          try backend.adamWStep(
            parameters: &weights[index].values, gradients: gradients[index].values,
            state: &states[index], options, gradientFactor: gradientFactor)
        }
      }
    }
    // Moved out and back, so that nothing is copied.
    switch self {
    case .float32(var states):
      self = .float32([])
      defer { self = .float32(states) }
      try take(&states)
    case .bfloat16(var states):
      self = .bfloat16([])
      defer { self = .bfloat16(states) }
      try take(&states)
    case .float8(var states):
      self = .float8([])
      defer { self = .float8(states) }
      try take(&states)
    }
  }
}

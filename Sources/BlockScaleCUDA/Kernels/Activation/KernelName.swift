// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat

/// An entry's name from its parts, which tell configurations apart: words of letters and digits.
func kernelName(_ parts: Any...) -> String {
  parts.map { part in
    switch part {
    case is Float8E4M3.Type: "e4m3"
    case is Float8E5M2.Type: "e5m2"
    case let recipe as ActivationRecipe: recipe == .coat ? "coat" : ""
    case let settings as ActivationSettings:
      kernelName("g", settings.groupSize, settings.recipe, settings.isAligned ? "" : "tails")
    default: "\(part)"
    }
  }.filter { !$0.isEmpty }.joined(separator: "_")
}

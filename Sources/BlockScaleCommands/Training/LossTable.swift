// SPDX-License-Identifier: Apache-2.0

import Llama
import SystemPackage

/// What was measured of all steps of all arms, as comma-separated values.
///
/// Numbers are written with as many digits as it takes to read them back exactly. Columns of an arm are
/// empty behind its last step.
struct LossTable {
  private static let measures = ["loss", "gradient_norm", "learning_rate", "seconds"]
  private var arms: [(name: String, records: [StepRecord])]

  init(_ arms: [TrainingArm]) {
    self.arms = arms.map { ($0.recipe.rawValue, $0.records) }
  }

  /// The names of the arms.
  var names: [String] { arms.map(\.name) }

  /// The text of the file in UTF-8.
  var csv: [UInt8] {
    let titles = arms.flatMap { arm in Self.measures.map { "\(arm.name)_\($0)" } }
    var text = (["step"] + titles).joined(separator: ",") + "\n"
    for step in 0..<(arms.map(\.records.count).max() ?? 0) {
      var fields = ["\(step + 1)"]
      for arm in arms {
        if step < arm.records.count {
          let record = arm.records[step]
          fields += [record.loss, record.gradientNorm, record.learningRate, record.seconds].map(
            \.description)
        } else {
          fields += Self.measures.map { _ in "" }
        }
      }
      text += fields.joined(separator: ",") + "\n"
    }
    return Array(text.utf8)
  }

  /// Reads a file.
  ///
  /// - Throws: ``CommandError`` if it is none of these.
  init(csv: [UInt8], path: FilePath) throws(CommandError) {
    let lines = String(decoding: csv, as: UTF8.self).split(separator: "\n")
    func malformed(_ line: Int) -> CommandError {
      CommandError("\(path): line \(line + 1) is none of a table of losses.")
    }
    guard let titles = lines.first?.split(separator: ",", omittingEmptySubsequences: false),
      titles.first == "step", titles.count % Self.measures.count == 1
    else { throw malformed(0) }
    arms = try stride(from: 1, to: titles.count, by: Self.measures.count).map {
      first throws(CommandError) in
      let name = titles[first].dropLast("_loss".count)
      guard
        titles[first...].prefix(Self.measures.count).elementsEqual(
          Self.measures.map { "\(name)_\($0)" }, by: ==)
      else { throw malformed(0) }
      return (String(name), [])
    }
    for (index, line) in lines.enumerated().dropFirst() {
      let fields = line.split(separator: ",", omittingEmptySubsequences: false)
      guard fields.count == titles.count, fields[0] == "\(index)" else { throw malformed(index) }
      for arm in arms.indices {
        let texts = fields[(1 + arm * Self.measures.count)...].prefix(Self.measures.count)
        if texts.allSatisfy(\.isEmpty) { continue }
        let numbers = texts.compactMap { Double($0) }
        guard numbers.count == Self.measures.count, arms[arm].records.count == index - 1 else {
          throw malformed(index)
        }
        arms[arm].records.append(
          StepRecord(
            loss: numbers[0], gradientNorm: numbers[1], learningRate: numbers[2],
            seconds: numbers[3]))
      }
    }
  }

  /// The first steps of an arm.
  ///
  /// - Throws: ``CommandError`` if there are fewer.
  func records(_ recipe: TrainingRecipe, count: Int) throws(CommandError) -> [StepRecord] {
    let records = arms.first { $0.name == recipe.rawValue }?.records ?? []
    guard records.count >= count else {
      throw CommandError(
        "The table of losses has \(records.count) steps of the arm '\(recipe.rawValue)', and its "
          + "state \(count).")
    }
    return Array(records.prefix(count))
  }
}

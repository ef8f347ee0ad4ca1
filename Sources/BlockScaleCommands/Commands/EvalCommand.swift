// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Checkpoints
import Llama
import OrderedCollections
import RealModule
import Safetensors
import SystemPackage

struct EvalCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "eval",
    abstract: "Measure how well a Llama foretells a text.",
    usage: "blockscale eval <model> --text <file> [<options>]",
    discussion: """
      The text is cut into sequences that the model sees one by one, each token after those before \
      it in its sequence. Perplexity is e to the mean loss of a token.

      Example: blockscale eval Llama-3.2-1B-NVFP4 --text article.txt
      """)

  @OptionGroup var input: ModelArgument

  @Option(
    name: .long, help: ArgumentHelp("The text.", valueName: "file"), completion: .file())
  var text: String

  @Option(
    name: .long, help: "The tokens of a sequence (default: the model's context, at most 1024).")
  var length: Int?

  @Option(name: .long, help: "The sequences that are computed at once.")
  var batch = 4

  @Flag(name: .long, help: "With --json, print the loss of each token too.")
  var tokenLosses = false

  @OptionGroup var report: ReportOptions

  func validate() throws {
    guard report.json || !tokenLosses else {
      throw ValidationError("--token-losses is printed with --json only.")
    }
    guard length ?? 1 > 0, batch > 0 else {
      throw ValidationError("--length and --batch must be at least 1.")
    }
  }

  /// What a text shows of a model.
  struct Result {
    /// In nats a token.
    let loss: Double
    /// Of each token that was foretold.
    let tokenLosses: [Float]
    /// The tokens of a sequence.
    let length: Int
    let bitsPerByte: Double
    let seconds: Double

    var tokens: Int { tokenLosses.count }
    var perplexity: Double { Double.exp(loss) }
  }

  func run() throws {
    let result = try measured()
    if report.json {
      var members: OrderedDictionary<String, JSONValue> = [
        "model": JSONValue(input.model), "text": JSONValue(text),
        "tokens": JSONValue(result.tokens), "length": JSONValue(result.length),
        "loss": JSONValue(result.loss), "perplexity": JSONValue(result.perplexity),
        "bitsPerByte": JSONValue(result.bitsPerByte), "seconds": JSONValue(result.seconds),
      ]
      if tokenLosses {
        members["tokenLosses"] = .array(result.tokenLosses.map { JSONValue(Double($0)) })
      }
      try Terminal.standardOutput.writeResult(JSONOutput.text(command: "eval", .object(members)))
    } else if !report.quiet {
      let tokens = result.tokens == 1 ? "1 token" : "\(result.tokens) tokens"
      try Terminal.standardOutput.writeResult(
        """
        Loss \(DecimalText.fixed(result.loss, digits: 4)), perplexity \
        \(DecimalText.fixed(result.perplexity, digits: 3)), \
        \(DecimalText.fixed(result.bitsPerByte, digits: 4)) bits a byte; \(tokens) in \
        sequences of \(result.length), \
        \(DecimalText.fixed(Double(result.tokens) / result.seconds, digits: 0)) tokens/s\n
        """)
    }
  }

  func measured() throws -> Result {
    let (model, tokenizer) = try input.load(threads: report.jobs)
    let bytes = try readInput(FilePath(text))
    let tokens = tokenizer.encode(bytes, addsSpecialTokens: true)
    guard tokens.count > 1 else {
      throw CommandError("\(text): the text has no two tokens, of which one foretells the other.")
    }
    if let length, length > model.contextLength {
      throw CommandError(
        "--length \(length) is more than the model's context of \(model.contextLength).")
    }
    let length = min(length ?? min(model.contextLength, 1024), tokens.count - 1)
    let terminal = Terminal.standardError
    let reporter = ProgressReporter(
      mode: ProgressReporter.Mode(
        isTerminal: terminal.isTerminal, quiet: report.quiet, noProgress: report.noProgress),
      terminal: terminal, total: (tokens.count - 1) / length, unit: .sequences(tokens: length),
      verb: "Evaluating")
    let start = ContinuousClock.now
    do {
      let (loss, losses) = try model.evaluationLoss(tokens, length: length, microBatch: batch) {
        reporter.advance(by: $0, item: "loss \(DecimalText.fixed($1, digits: 4))")
      }
      reporter.finish("Evaluated")
      // Special tokens stand for no byte.
      let special = tokenizer.encode([], addsSpecialTokens: true).count
      let tokensPerByte = Double(tokens.count - special) / Double(bytes.count)
      return Result(
        loss: loss, tokenLosses: losses, length: length,
        bitsPerByte: loss / Double.log(2) * tokensPerByte,
        seconds: start.duration(to: .now) / .seconds(1))
    } catch {
      reporter.abandon()
      throw error
    }
  }
}

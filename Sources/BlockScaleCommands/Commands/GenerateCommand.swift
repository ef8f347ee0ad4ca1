// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BlockScaleCPU
import Checkpoints
import Llama
import Safetensors
import SystemPackage

/// A model to run.
struct ModelArgument: ParsableArguments {
  @Argument(
    help: "A model folder in Hugging Face's form: BF16, or as 'quantize' writes it.",
    completion: .directory)
  var model: String

  @Option(
    name: .long,
    help: ArgumentHelp(
      "The tokenizer (default: the one beside the weights; bytes for a vocabulary of 256).",
      valueName: "tokenizer.json"), completion: .file(extensions: ["json"]))
  var tokenizer: String?

  func load(threads: Int) throws -> (model: LlamaModel<CPUBackend>, tokenizer: any Tokenizer) {
    let folder = FilePath(model)
    if try FileKind(of: folder) == .folder, try TrainingFolder(path: folder).state == .run {
      let names = try TrainingFolder(path: folder).models.map(\.string)
      throw CommandError(
        "\(model) is the folder of a training run; "
          + (names.isEmpty
            ? "it holds no model yet." : "its models are \(names.joined(separator: ", "))."))
    }
    let loaded: LlamaModel<CPUBackend>
    do {
      loaded = try LlamaModel(folder: folder, on: CPUBackend(threads: threads))
    } catch let error as LlamaError where error.code == .nonFinite {
      // It names the layer only.
      throw CommandError("\(model): \(error.description)")
    }
    return (
      loaded,
      try ModelTokenizer(
        of: folder, named: tokenizer, vocabularySize: loaded.configuration.vocabularySize
      ).tokenizer
    )
  }
}

struct GenerateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "generate",
    abstract: "Let a Llama go on with a text.",
    usage: "blockscale generate <model> --prompt <text> [<options>]",
    discussion: """
      Weights stay as they are stored: NVFP4 and FP8 blocks are multiplied without being decoded \
      first. The text goes to standard output as it comes, rates go to standard error.

      Example: blockscale generate Llama-3.2-1B-NVFP4 --prompt "Once upon a time" --temperature 0.7
      """)

  @OptionGroup var input: ModelArgument

  @Option(name: [.short, .long], help: ArgumentHelp("The text to go on with.", valueName: "text"))
  var prompt: String

  @Option(name: [.customShort("n"), .long], help: "The most tokens to write.")
  var maxTokens = 128

  @Option(name: .long, help: "0 picks the likeliest token, 1 leaves the model's probabilities.")
  var temperature = 0.0

  @Option(name: .long, help: "Pick among the likeliest tokens that have this share together.")
  var topP = 1.0

  @Option(name: .long, help: "What the picks follow from.")
  var seed: UInt64 = 0

  @Flag(name: .long, help: "Do not stop at the tokens that end a text.")
  var ignoreEnd = false

  @Flag(name: .long, help: "Print the text and what was measured as JSON.")
  var json = false

  @Flag(name: [.short, .long], help: "Do not print rates.")
  var quiet = false

  @Option(name: [.short, .long], help: ArgumentHelp("Use that many threads.", valueName: "n"))
  var jobs = CPUBackend.processorCount

  func validate() throws {
    guard jobs > 0 else { throw ValidationError("--jobs must be at least 1.") }
    guard maxTokens >= 0 else { throw ValidationError("--max-tokens must not be negative.") }
    do throws(LlamaError) {
      _ = try Sampler(temperature: temperature, topP: topP, seed: seed)
    } catch {
      throw ValidationError(error.description)
    }
  }

  func run() throws {
    let (model, tokenizer) = try input.load(threads: jobs)
    let tokens = tokenizer.encode(Array(prompt.utf8), addsSpecialTokens: true)
    let start = ContinuousClock.now
    var generator = try TokenGenerator(
      model, prompt: tokens, sampler: Sampler(temperature: temperature, topP: topP, seed: seed),
      capacity: maxTokens)
    let promptSeconds = start.duration(to: .now) / .seconds(1)
    let ends = ignoreEnd ? [] : model.configuration.endTokens
    var written: [Int32] = []
    let output = Terminal.standardOutput
    var shown = try tokenizer.decode(tokens).count
    if !json { try output.writeResult(prompt) }
    let begin = ContinuousClock.now
    while written.count < maxTokens, !generator.isFull {
      let token = try generator.next()
      if ends.contains(token) { break }
      written.append(token)
      guard !json else { continue }
      // Decoded as a whole, since a token's text may depend on those before it.
      let text = try tokenizer.decode(tokens + written)
      let end = text.endOfCharacters
      if end > shown {
        let more = String(decoding: text[shown..<end], as: UTF8.self)
        try output.writeResult(output.isTerminal ? more.withoutControls : more)
        shown = end
      }
    }
    let seconds = begin.duration(to: .now) / .seconds(1)
    let text = String(decoding: try tokenizer.decode(written), as: UTF8.self)
    if json {
      try output.writeResult(
        JSONOutput.text(
          command: "generate",
          [
            "prompt": JSONValue(prompt), "text": JSONValue(text),
            "promptTokens": JSONValue(tokens.count), "tokens": JSONValue(written.count),
            "promptSeconds": JSONValue(promptSeconds), "seconds": JSONValue(seconds),
          ]))
      return
    }
    try output.writeResult("\n")
    if !quiet {
      /// - Parameter computed: The tokens that took the time.
      func rate(_ count: Int, computed: Int, _ seconds: Double) -> String {
        let rate = DecimalText.fixed(Double(computed) / seconds, digits: 1)
        return "\(count) \(count == 1 ? "token" : "tokens") in \(ByteText.seconds(seconds))"
          + (computed > 0 ? " (\(rate)/s)" : "")
      }
      let note = generator.isFull ? "; the context is full" : ""
      // The first token comes with the prompt.
      Terminal.standardError.write(
        "Read \(rate(tokens.count, computed: tokens.count, promptSeconds)), "
          + "wrote \(rate(written.count, computed: generator.count - 1, seconds))\(note)\n")
    }
  }
}

extension [UInt8] {
  /// The end of the last whole character of a text in UTF-8.
  fileprivate var endOfCharacters: Int {
    var start = count
    // A character has at most three bytes after its first.
    for back in 1...4 where back <= count {
      let byte = self[count - back]
      if byte & 0xC0 == 0x80 { continue }
      let length = byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4
      start = back < length ? count - back : count
      break
    }
    return start
  }
}

// SPDX-License-Identifier: Apache-2.0

public import ArgumentParser
import Checkpoints

/// The root of the command line.
public struct BlockScaleCommand: ParsableCommand {
  /// The name, the version and the subcommands.
  public static let configuration = CommandConfiguration(
    commandName: "blockscale",
    abstract:
      "Train, quantize, run, check and compare block-scaled FP8 and FP4 models, and check kernels.",
    discussion: """
      A checkpoint is a .safetensors file, or a Hugging Face model folder with config.json and one \
      or more shards. Results go to standard output, progress to standard error. The exit code is \
      0 when all is done, 1 when something failed or was violated, and 64 for wrong usage.
      """,
    version: Converter.version,
    subcommands: [
      QuantizeCommand.self, DequantizeCommand.self, ConvertCommand.self, InspectCommand.self,
      CompareCommand.self, VerifyCommand.self, TrainCommand.self, GenerateCommand.self,
      EvalCommand.self, DoctorCommand.self, BenchCommand.self, PTXCommand.self,
    ])

  /// Creates the command.
  public init() {}

  /// Refuses arguments that are not in UTF-8, whose bytes Swift would have put others in place of: a
  /// model would go on with another text than the one given.
  public func validate() throws {
    for place in 1..<max(1, Int(CommandLine.argc)) {
      // The process's own arguments, each with a zero at its end.
      if let argument = unsafe CommandLine.unsafeArgv[place],
        unsafe String(validatingCString: argument) == nil
      {
        throw ValidationError("Argument \(place) is not in UTF-8.")
      }
    }
  }
}

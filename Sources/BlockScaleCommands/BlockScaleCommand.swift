// SPDX-License-Identifier: Apache-2.0

public import ArgumentParser

/// The root of the command line.
public struct BlockScaleCommand: ParsableCommand {
  public static let configuration = CommandConfiguration(commandName: "blockscale")
  public init() {}
}

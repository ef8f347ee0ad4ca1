// SPDX-License-Identifier: Apache-2.0

import Foundation

/// Texts that are pinned under `Tests/Vectors/ptx`.
///
/// With `BLOCKSCALE_RECORD=1` in the environment they are written anew instead; look at the difference before
/// it is committed.
package enum GoldenText {
  package static let isRecording = ProcessInfo.processInfo.environment["BLOCKSCALE_RECORD"] == "1"

  private static let folder = URL(filePath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().appending(path: "Vectors/ptx")

  /// The first line that differs from the pinned text of this name, as a sentence; `nil` if none does.
  package static func difference(of text: String, from name: String) throws -> String? {
    let file = folder.appending(path: name + ".ptx")
    if isRecording {
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
      try Data(text.utf8).write(to: file)
      return nil
    }
    let pinned = try String(contentsOf: file, encoding: .utf8)
    guard pinned != text else { return nil }
    let old = pinned.split(separator: "\n", omittingEmptySubsequences: false)
    let new = text.split(separator: "\n", omittingEmptySubsequences: false)
    let line = zip(old, new).prefix { $0 == $1 }.count
    func words(_ lines: [Substring]) -> Substring { line < lines.count ? lines[line] : "the end" }
    return "\(name).ptx, line \(line + 1): \"\(words(new))\" instead of \"\(words(old))\""
  }
}

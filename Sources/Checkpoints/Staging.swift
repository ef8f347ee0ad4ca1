// SPDX-License-Identifier: Apache-2.0

import OrderedCollections
import Safetensors
import Synchronization
import SystemPackage

#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The place where an output grows before it gets its name, and the journal of what is done.
///
/// Everything is written to `NAME.partial`. The journal beside it, `NAME.partial.journal`, begins with
/// a fingerprint of the conversion; each later line names a unit whose bytes are on the disk. A run
/// that is killed leaves both, and a run that resumes skips what the journal names.
final class Staging: Sendable {
  /// The name that the output will get.
  let target: FilePath
  /// The file or folder that is written until then.
  let path: FilePath
  let isFolder: Bool
  /// Whether an earlier run's output is continued.
  let isResumed: Bool
  /// The reports of the units that an earlier run finished.
  let finishedUnits: [String: [TensorReport]]

  private let journalPath: FilePath
  private let journal: FileDescriptor

  static func temporaryPath(for target: FilePath) -> FilePath { FilePath("\(target).partial") }
  static func journalPath(for target: FilePath) -> FilePath {
    FilePath("\(target).partial.journal")
  }

  /// Prepares the output's place.
  ///
  /// - Parameter subfolders: The folders that an output to be replaced may hold.
  /// - Throws: ``CheckpointError`` if the output exists and may not be replaced, if an interrupted run
  ///   left something that is neither to be resumed nor overwritten, or if another run is at work.
  init(
    target: FilePath, isFolder: Bool, fingerprint: JSONValue, resume: Bool, overwrite: Bool,
    subfolders: Set<String>
  ) throws(CheckpointError) {
    let path = Self.temporaryPath(for: target)
    let journalPath = Self.journalPath(for: target)
    try Self.checkTarget(
      target, isFolder: isFolder, overwrite: overwrite, subfolders: subfolders)
    let fingerprintLine = fingerprint.rendered(.compact)
    let leftovers = [try FileKind(of: path), try FileKind(of: journalPath)]
    let hasLeftover = leftovers != [.missing, .missing]
    if hasLeftover, !resume, !overwrite {
      throw CheckpointError(
        .outputExists,
        "\(path): left by an interrupted run; continue it with --resume or start anew with "
          + "--overwrite.")
    }
    let journal: FileDescriptor
    do {
      journal = try FileDescriptor.open(
        journalPath, .readWrite, options: [.create, .append, .closeOnExec],
        permissions: [.ownerReadWrite, .groupRead, .otherRead])
    } catch {
      throw try Self.cannotBegin(target, journalPath, error)
    }
    guard flock(journal.rawValue, LOCK_EX | LOCK_NB) == 0 else {
      try? journal.close()
      throw CheckpointError(.outputExists, "\(path): another run is writing it.")
    }
    var finished: [String: [TensorReport]] = [:]
    var isResumed = false
    do throws(CheckpointError) {
      if hasLeftover, resume {
        let lines = Self.lines(try readFile(at: journalPath) ?? [])
        // An empty journal means that the earlier run was killed before it began.
        if let first = lines.first {
          guard first == fingerprintLine else {
            throw CheckpointError(
              .cannotResume,
              "\(path): was begun with other options, another version or another input; start anew "
                + "with --overwrite.")
          }
          finished = Self.finishedUnits(lines.dropFirst())
          isResumed = try FileKind(of: path) != .missing
        }
      }
      if !isResumed {
        finished = [:]
        if try FileKind(of: path) != .missing { try removeItem(path) }
        try check(journalPath, "cannot be emptied") { ftruncate(journal.rawValue, 0) }
        if isFolder { try makeFolder(path) }
      }
    } catch {
      try? journal.close()
      throw error
    }
    self.target = target
    self.path = path
    self.isFolder = isFolder
    self.isResumed = isResumed
    self.journalPath = journalPath
    self.journal = journal
    finishedUnits = finished
    if !isResumed { try append(fingerprintLine) }
  }

  deinit { try? journal.close() }

  /// The path of an output file while it is written.
  func path(ofShard name: String) -> FilePath { isFolder ? path.appending(name) : path }

  /// Records units whose bytes are on the disk.
  func record(_ units: [(name: String, reports: [TensorReport])]) throws(CheckpointError) {
    guard !units.isEmpty else { return }
    try append(
      units.map { unit in
        JSONValue.object([
          "unit": JSONValue(unit.name), "reports": .array(unit.reports.map(\.json)),
        ]).rendered(.compact)
      }.joined(separator: "\n"))
  }

  /// Gives the output its name.
  func commit(overwrite: Bool) throws(CheckpointError) {
    let old = FilePath("\(target).replaced")
    let kind = try FileKind(of: target)
    let replaces = isFolder && overwrite && kind != .missing
    if replaces { try renameItem(target, to: old) }
    try renameItem(path, to: target)
    try synchronizeFolder(target.removingLastComponent())
    try removeItem(journalPath)
    // A folder of that name that this run did not make is not its to remove.
    if replaces { try removeItem(old) }
  }

  // MARK: Helpers

  /// Why nothing can be written beside the target, in terms of what the user named.
  private static func cannotBegin(
    _ target: FilePath, _ journalPath: FilePath, _ error: any Error
  ) throws(CheckpointError) -> CheckpointError {
    let folder = target.removingLastComponent()
    if !folder.isEmpty, try FileKind(of: folder) == .missing {
      return CheckpointError(
        .systemCall, "\(target): cannot be written, since there is no folder '\(folder)'.")
    }
    let reason = (error as? Errno)?.description ?? "\(error)"
    let isLeft = try FileKind(of: journalPath) != .missing
    return CheckpointError(
      .systemCall,
      "\(target): cannot be written\(isLeft ? ", since \(journalPath) cannot be" : ""): \(reason).")
  }

  private func append(_ line: String) throws(CheckpointError) {
    do {
      _ = try journal.writeAll(Array("\(line)\n".utf8))
    } catch {
      let reason = (error as? Errno)?.description ?? "\(error)"
      throw CheckpointError(.systemCall, "\(journalPath): cannot be written: \(reason).")
    }
    try check(journalPath, "cannot be flushed to the disk") { fsync(journal.rawValue) }
  }

  private static func checkTarget(
    _ target: FilePath, isFolder: Bool, overwrite: Bool, subfolders: Set<String>
  ) throws(CheckpointError) {
    let kind = try FileKind(of: target)
    switch kind {
    case .missing: return
    case .file where isFolder, .folder where !isFolder:
      throw CheckpointError(
        .outputExists,
        "\(target): is a \(kind == .file ? "file" : "folder"), but the output is a "
          + "\(isFolder ? "folder" : "file").")
    case _ where !overwrite:
      throw CheckpointError(.outputExists, "\(target): exists; replace it with --overwrite.")
    case .file: return
    case .folder:
      // A folder is replaced as a whole, so it must be a checkpoint and nothing else.
      let names: [String]
      do throws(SafetensorsError) {
        names = try fileNames(in: target)
      } catch {
        throw CheckpointError(.systemCall, error.description)
      }
      for name in names.filter({ !subfolders.contains($0) })
      where try FileKind(of: target.appending(name)) == .folder {
        throw CheckpointError(
          .outputExists, "\(target): holds the folder '\(name)' and is not replaced.")
      }
      guard names.isEmpty || names.contains(where: { $0.hasSuffix(".safetensors") }) else {
        throw CheckpointError(
          .outputExists, "\(target): holds no safetensors file and is not replaced.")
      }
    }
  }

  /// The complete lines of a journal; a killed run may have left half of one.
  private static func lines(_ bytes: [UInt8]) -> [String] {
    guard let end = bytes.lastIndex(of: 0x0A) else { return [] }
    return bytes[..<end].split(separator: 0x0A).map { String(decoding: $0, as: UTF8.self) }
  }

  private static func finishedUnits(_ lines: ArraySlice<String>) -> [String: [TensorReport]] {
    var result: [String: [TensorReport]] = [:]
    for line in lines {
      guard let json = try? JSONValue.parse(Array(line.utf8)),
        let name = json["unit"]?.stringValue, let reports = json["reports"]?.arrayValue
      else { continue }
      result[name] = reports.compactMap { TensorReport(json: $0) }
    }
    return result
  }
}

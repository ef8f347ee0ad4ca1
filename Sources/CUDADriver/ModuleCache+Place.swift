// SPDX-License-Identifier: Apache-2.0

package import SystemPackage

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

extension ModuleCache {
  /// The user's cache: `$XDG_CACHE_HOME/blockscale`, or `~/.cache/blockscale` where that is not set.
  ///
  /// - Returns: The cache, or nil where neither variable is a path from the root, as for services
  ///   without a home.
  public static func ofUser() -> ModuleCache? {
    place { name in
      // The text is copied at once, and no part of this package changes the environment.
      guard let value = unsafe getenv(name) else { return nil }
      // Environment strings end with a zero byte.
      return unsafe String(cString: value)
    }
    .map(ModuleCache.init(directory:))
  }

  /// The folder that an environment's variables name.
  package static func place(_ variable: (String) -> String?) -> FilePath? {
    /// A variable's path; the XDG specification has relative ones ignored.
    func path(_ name: String) -> FilePath? {
      variable(name).map(FilePath.init(_:)).flatMap { $0.isAbsolute ? $0 : nil }
    }
    let caches = path("XDG_CACHE_HOME") ?? path("HOME")?.appending(".cache")
    return caches?.appending("blockscale")
  }
}

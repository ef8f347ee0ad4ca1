// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0

import PackageDescription

// A package of its own, since the sanitizer needs unsafe flags, which no package that others
// depend on may use. The library's sources are here by symbolic links, so that they are instrumented and
// their package-level API is in reach.
let collections = Target.Dependency.product(name: "OrderedCollections", package: "swift-collections")
let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")

let package = Package(
  name: "fuzz",
  platforms: [.macOS(.v15)],
  dependencies: [
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-numerics", from: "1.1.1"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
  ],
  targets: [
    .executableTarget(
      name: "FuzzSafetensors", dependencies: [collections, system],
      // The gold linker, which is the default on Linux, fails on the sanitizers' libraries.
      linkerSettings: [.unsafeFlags(["-sanitize=fuzzer,address", "-use-ld=lld"])]
    ),
    .executableTarget(
      name: "FuzzCheckpoints",
      dependencies: ["BlockScale", "Checkpoints", "Safetensors", collections, system],
      linkerSettings: [.unsafeFlags(["-sanitize=fuzzer,address", "-use-ld=lld"])]
    ),
    .target(name: "Minifloat"),
    .target(
      name: "BlockScale",
      dependencies: ["Minifloat", .product(name: "RealModule", package: "swift-numerics")]),
    .target(name: "Safetensors", dependencies: ["Minifloat", collections, system]),
    .target(
      name: "Checkpoints",
      dependencies: ["BlockScale", "Minifloat", "Safetensors", collections, system]),
  ]
)

for target in package.targets {
  target.swiftSettings = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .unsafeFlags(["-sanitize=fuzzer,address", "-parse-as-library"]),
  ]
}

// swift-tools-version: 6.2

import PackageDescription

let package = Package(
  name: "blockscale-benchmarks",
  platforms: [.macOS(.v15)],
  dependencies: [
    .package(name: "blockscale", path: ".."),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
  ],
  targets: [
    .executableTarget(
      name: "benchmark",
      dependencies: [
        .product(name: "BlockScale", package: "blockscale"),
        .product(name: "BlockScaleCPU", package: "blockscale"),
        .product(name: "BlockScaleLayers", package: "blockscale"),
        .product(name: "Checkpoints", package: "blockscale"),
        .product(name: "Llama", package: "blockscale"),
        .product(name: "Minifloat", package: "blockscale"),
        .product(name: "Safetensors", package: "blockscale"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: [.swiftLanguageMode(.v6)]
    )
  ]
)

// swift-tools-version: 6.2

import PackageDescription

let package = Package(
  name: "blockscale",
  platforms: [.macOS(.v15)],
  products: [
    .library(name: "Minifloat", targets: ["Minifloat"]),
    .library(name: "BlockScale", targets: ["BlockScale"]),
    .library(name: "BlockScaleCPU", targets: ["BlockScaleCPU"]),
    .library(name: "CUDADriver", targets: ["CUDADriver"]),
    .library(name: "BlockScaleLayers", targets: ["BlockScaleLayers"]),
    .library(name: "BlockScaleDifferentiation", targets: ["BlockScaleDifferentiation"]),
    .library(name: "Safetensors", targets: ["Safetensors"]),
    .library(name: "Checkpoints", targets: ["Checkpoints"]),
    .library(name: "Llama", targets: ["Llama"]),
    .executable(name: "blockscale", targets: ["blockscale"]),
  ],
  traits: [
    .trait(
      name: "Differentiation",
      description: "The layers under Swift's automatic differentiation (import _Differentiation).")
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-numerics", from: "1.1.1"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
  ],
  targets: [
    .target(name: "Minifloat"),
    .target(
      name: "BlockScale",
      dependencies: ["Minifloat", .product(name: "RealModule", package: "swift-numerics")]
    ),
    .target(name: "_BlockScaleShims"),
    .target(name: "PTX", dependencies: ["Minifloat"]),
    .target(
      name: "PTXEmulator",
      dependencies: ["Minifloat", "PTX", .product(name: "RealModule", package: "swift-numerics")]
    ),
    .target(
      name: "BlockScaleCUDA", dependencies: ["BlockScale", "CUDADriver", "Minifloat", "PTX"]
    ),
    .target(
      name: "BlockScaleCPU",
      dependencies: ["BlockScale", "Minifloat", "_BlockScaleShims"]
    ),
    .target(
      name: "CUDADriver",
      dependencies: [.product(name: "SystemPackage", package: "swift-system")]
    ),
    .target(name: "BlockScaleLayers", dependencies: ["BlockScale", "Minifloat"]),
    .target(
      name: "BlockScaleDifferentiation",
      dependencies: ["BlockScale", "BlockScaleLayers", "Minifloat"]
    ),
    .target(
      name: "Safetensors",
      dependencies: [
        "Minifloat",
        .product(name: "OrderedCollections", package: "swift-collections"),
        .product(name: "SystemPackage", package: "swift-system"),
      ]
    ),
    .target(
      name: "Checkpoints",
      dependencies: [
        "BlockScale",
        "BlockScaleCPU",
        "Minifloat",
        "Safetensors",
        .product(name: "OrderedCollections", package: "swift-collections"),
        .product(name: "SystemPackage", package: "swift-system"),
      ]
    ),
    .target(
      name: "Llama",
      dependencies: [
        "BlockScale",
        "BlockScaleLayers",
        "Checkpoints",
        "Minifloat",
        "Safetensors",
        .product(name: "HeapModule", package: "swift-collections"),
        .product(name: "OrderedCollections", package: "swift-collections"),
        .product(name: "RealModule", package: "swift-numerics"),
        .product(name: "SystemPackage", package: "swift-system"),
      ]
    ),
    .target(
      name: "BlockScaleCommands",
      dependencies: [
        "BlockScale",
        "BlockScaleCPU",
        "BlockScaleCUDA",
        "BlockScaleLayers",
        "CUDADriver",
        "Checkpoints",
        "Llama",
        "PTX",
        "PTXEmulator",
        "Safetensors",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "OrderedCollections", package: "swift-collections"),
        .product(name: "RealModule", package: "swift-numerics"),
        .product(name: "SystemPackage", package: "swift-system"),
      ]
    ),
    .executableTarget(
      name: "blockscale",
      dependencies: [
        "BlockScaleCommands",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ]
    ),
    .target(
      name: "_BlockScaleTestSupport",
      dependencies: [
        "BlockScale",
        "Minifloat",
        "Safetensors",
        .product(name: "OrderedCollections", package: "swift-collections"),
        .product(name: "RealModule", package: "swift-numerics"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      path: "Tests/_BlockScaleTestSupport"
    ),
    .testTarget(name: "MinifloatTests", dependencies: ["Minifloat", "_BlockScaleTestSupport"]),
    .testTarget(
      name: "BlockScaleTests",
      dependencies: [
        "BlockScale",
        "Safetensors",
        "_BlockScaleTestSupport",
        .product(name: "RealModule", package: "swift-numerics"),
      ]
    ),
    .testTarget(
      name: "BlockScaleCPUTests",
      dependencies: [
        "BlockScale", "BlockScaleCPU", "Minifloat", "Safetensors", "_BlockScaleTestSupport",
        .product(name: "RealModule", package: "swift-numerics"),
      ]),
    .testTarget(
      name: "CUDADriverTests",
      dependencies: [
        "BlockScaleCUDA",
        "CUDADriver",
        "PTX",
        .product(name: "SystemPackage", package: "swift-system"),
      ]),
    .testTarget(
      name: "BlockScaleLayersTests",
      dependencies: [
        "BlockScale", "BlockScaleCPU", "BlockScaleLayers", "Minifloat", "_BlockScaleTestSupport",
        .product(name: "RealModule", package: "swift-numerics"),
      ]),
    .testTarget(
      name: "BlockScaleDifferentiationTests",
      dependencies: [
        "BlockScale", "BlockScaleCPU", "BlockScaleDifferentiation", "BlockScaleLayers", "Minifloat",
        "_BlockScaleTestSupport",
        .product(name: "RealModule", package: "swift-numerics"),
      ]),
    .testTarget(name: "PTXTests", dependencies: ["Minifloat", "PTX", "_BlockScaleTestSupport"]),
    .testTarget(
      name: "PTXEmulatorTests",
      dependencies: ["Minifloat", "PTX", "PTXEmulator", "_BlockScaleTestSupport"]),
    .testTarget(
      name: "BlockScaleCUDATests",
      dependencies: [
        "BlockScale", "BlockScaleCPU", "BlockScaleCUDA", "Minifloat", "PTX", "PTXEmulator",
        "Safetensors", "_BlockScaleTestSupport",
      ]),
    .testTarget(name: "SafetensorsTests", dependencies: ["Safetensors"]),
    .testTarget(
      name: "CheckpointsTests",
      dependencies: [
        "BlockScale",
        "Checkpoints",
        "Safetensors",
        "_BlockScaleTestSupport",
        .product(name: "OrderedCollections", package: "swift-collections"),
        .product(name: "SystemPackage", package: "swift-system"),
      ]
    ),
    .testTarget(
      name: "LlamaTests",
      dependencies: [
        "BlockScale",
        "BlockScaleCPU",
        "BlockScaleLayers",
        "Checkpoints",
        "Llama",
        "Minifloat",
        "Safetensors",
        "_BlockScaleTestSupport",
        .product(name: "OrderedCollections", package: "swift-collections"),
        .product(name: "RealModule", package: "swift-numerics"),
        .product(name: "SystemPackage", package: "swift-system"),
      ]
    ),
    .testTarget(
      name: "BlockScaleCommandsTests",
      dependencies: [
        "BlockScale",
        "BlockScaleCPU",
        "BlockScaleCUDA",
        "BlockScaleCommands",
        "CUDADriver",
        "Checkpoints",
        "Llama",
        "PTX",
        "PTXEmulator",
        "Safetensors",
        "_BlockScaleTestSupport",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "OrderedCollections", package: "swift-collections"),
        .product(name: "RealModule", package: "swift-numerics"),
        .product(name: "SystemPackage", package: "swift-system"),
      ]
    ),
  ]
)

// One place for the settings of every Swift target.
for target in package.targets where target.name != "_BlockScaleShims" {
  target.swiftSettings = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  ]
}

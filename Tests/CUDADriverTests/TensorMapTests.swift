// SPDX-License-Identifier: Apache-2.0

import CUDADriver
import Testing

/// Tensor maps: what the driver is given, and every limit with its sentence.
@Suite struct TensorMapTests {
  private typealias Description = TensorMap.Description

  @Test func givesTheDriverEveryField() throws {
    try MockDriver.run { mock in
      let context = try mockContext()
      _ = try TensorMap(
        .init(
          elementType: .bfloat16, extents: [4096, 300, 7], strides: [8192, 8192 * 512],
          box: [64, 128, 1], swizzle: .bytes128, l2Promotion: .bytes256, outOfBoundsFill: .nan),
        at: DeviceAddress(rawValue: 0x7F00), in: context)
      #expect(
        mock.withState { $0.tensorMap } == [
          [9, 0x7F00, 0, 3, 3, 1], [4096, 300, 7], [8192, 8192 * 512], [64, 128, 1], [1, 1, 1],
        ])
      _ = try TensorMap(
        .init(elementType: .float32, extents: [1 << 32], box: [256], l2Promotion: .none),
        at: DeviceAddress(rawValue: 0x10), in: context)
      #expect(
        mock.withState { $0.tensorMap } == [[7, 0x10, 0, 0, 0, 0], [1 << 32], [], [256], [1]])
    }
  }

  @Test func computesDenseStrides() {
    #expect(
      Description(elementType: .float32, extents: [96, 5, 3], box: [4, 1, 1]).strides
        == [384, 1920])
    #expect(Description(elementType: .uint4, extents: [96, 5], box: [32, 1]).strides == [48])
  }

  private static let mistakes: [(description: Description, address: UInt64, sentence: String)] = [
    (.init(elementType: .uint8, extents: [], box: []), 0, "it has 0 dimensions, and 1 to 5 can be"),
    (
      .init(
        elementType: .uint8, extents: .init(repeating: 16, count: 6), box: [16, 1, 1, 1, 1, 1]),
      0, "it has 6 dimensions"
    ),
    (
      .init(elementType: .uint8, extents: [16, 16], strides: [], box: [16, 16]), 0,
      "2 extents need 1 strides and 2 numbers of a box"
    ),
    (.init(elementType: .uint8, extents: [16, 16], box: [16]), 0, "2 extents need 1 strides"),
    (
      .init(elementType: .uint8, extents: [16, 16], box: [16, 16]), 8,
      "its address 0x8 is no multiple of 16"
    ),
    (
      .init(elementType: .uint8, extents: [16, 0], box: [16, 1]), 0, "the extent 0 is not in 1 to"
    ),
    (
      .init(elementType: .uint8, extents: [16, 1 << 32 + 1], box: [16, 1]), 0,
      "the extent 4294967297 is not in 1 to 2^32"
    ),
    (
      .init(elementType: .uint8, extents: [100, 16], box: [16, 16]), 0,
      "the stride 100 is no positive multiple of 16 below 2^40"
    ),
    (
      .init(elementType: .uint8, extents: [16, 16], strides: [1 << 40], box: [16, 16]), 0,
      "the stride 1099511627776 is no"
    ),
    (
      .init(elementType: .uint8, extents: [16, 16], strides: [0], box: [16, 16]), 0,
      "the stride 0 is no positive"
    ),
    (
      .init(elementType: .uint8, extents: [512, 512], box: [128, 257]), 0,
      "the box's side 257 is not in 1 to 256"
    ),
    (.init(elementType: .uint8, extents: [512, 512], box: [128, 0]), 0, "the box's side 0"),
    (
      .init(elementType: .uint8, extents: [512, 512], box: [24, 8]), 0,
      "a row of the box has 192 bits, no multiple of 16 bytes"
    ),
    (
      .init(elementType: .bfloat16, extents: [512, 512], box: [128, 8], swizzle: .bytes128), 0,
      "a row of the box has 256 bytes, and its swizzle takes at most 128"
    ),
    (
      .init(elementType: .uint8, extents: [512, 512], box: [128, 8], swizzle: .bytes64), 0,
      "its swizzle takes at most 64"
    ),
    (
      .init(elementType: .uint8, extents: [512, 512], box: [48, 8], swizzle: .bytes32), 0,
      "its swizzle takes at most 32"
    ),
    (
      .init(elementType: .uint8, extents: [512], box: [128], outOfBoundsFill: .nan), 0,
      "only floating-point elements can be filled with NaN"
    ),
  ]

  @Test(arguments: mistakes.indices)
  func refusesWhatCannotBe(index: Int) throws {
    try MockDriver.run { mock in
      let context = try mockContext()
      let mistake = Self.mistakes[index]
      let error = try #require(throws: CUDAError.self) {
        _ = try TensorMap(
          mistake.description, at: DeviceAddress(rawValue: mistake.address), in: context)
      }
      #expect(error.code == .invalidArgument)
      #expect(error.description.hasPrefix("The tensor map (\(mistake.description.elementType), "))
      #expect(error.description.contains(mistake.sentence), "\(error)")
      #expect(!mock.calls.contains("cuTensorMapEncodeTiled"))
    }
  }

  private static let blackwellMistakes: [(Description, UInt64, String)] = [
    (
      .init(elementType: .uint4, extents: [127, 4], strides: [64], box: [32, 4]), 0,
      "4-bit elements come in pairs"
    ),
    (
      .init(elementType: .uint4Padded, extents: [192, 4], strides: [96], box: [128, 4]), 0,
      "padded 4-bit elements need rows of a multiple of 128"
    ),
    (
      .init(elementType: .uint4Padded, extents: [256, 4], box: [64, 4]), 0,
      "and boxes of 128"
    ),
    (
      .init(elementType: .uint4Padded, extents: [256, 4], strides: [144], box: [128, 4]), 0,
      "no positive multiple of 32"
    ),
    (
      .init(elementType: .uint4Padded, extents: [256, 4], box: [128, 4]), 16,
      "no multiple of 32"
    ),
    (
      .init(elementType: .uint4Padded, extents: [256, 4], box: [128, 4], swizzle: .bytes64), 0,
      "no swizzle or that of 128 bytes"
    ),
  ]

  @Test(arguments: blackwellMistakes.indices)
  func refusesWhatCannotBeOnBlackwell(index: Int) throws {
    try MockDriver.run { mock in
      mock.withState { $0.deviceAttributes[75] = 10 }
      let context = try mockContext()
      let (description, address, sentence) = Self.blackwellMistakes[index]
      let error = try #require(throws: CUDAError.self) {
        _ = try TensorMap(description, at: DeviceAddress(rawValue: address), in: context)
      }
      #expect(error.description.contains(sentence), "\(error)")
      // The same with nothing wrong.
      _ = try TensorMap(
        .init(elementType: .uint4Padded, extents: [256, 4], box: [128, 4], swizzle: .bytes128),
        at: DeviceAddress(rawValue: 64), in: context)
    }
  }

  @Test func needsTheArchitecture() throws {
    try MockDriver.run { mock in
      let hopper = try mockContext()
      let four = try #require(throws: CUDAError.self) {
        _ = try TensorMap(
          .init(elementType: .uint4, extents: [256], box: [128]), at: DeviceAddress(rawValue: 0),
          in: hopper)
      }
      #expect(four.code == .unsupported)
      #expect(four.description.contains("they came with 10.0; use .uint8 for pairs of them"))
      mock.withState { $0.deviceAttributes[75] = 8 }
      let ampere = try mockContext()
      let error = try #require(throws: CUDAError.self) {
        _ = try TensorMap(
          .init(elementType: .uint8, extents: [256], box: [128]), at: DeviceAddress(rawValue: 0),
          in: ampere)
      }
      #expect(error.description.contains("compute capability 8.0 and has no tensor maps"))
    }
  }

  @Test func passesOnTheDriversRefusal() throws {
    try MockDriver.run { mock in
      let context = try mockContext()
      mock.fail("cuTensorMapEncodeTiled", with: 1)
      let error = try #require(throws: CUDAError.self) {
        _ = try TensorMap(
          .init(elementType: .uint8, extents: [256], box: [128]), at: DeviceAddress(rawValue: 0),
          in: context)
      }
      #expect(
        error.description == "The tensor map (uint8, extents [256], strides [], box [128], swizzle "
          + "none) cannot be encoded: cuTensorMapEncodeTiled returned CUDA_ERROR_INVALID_VALUE (1)."
      )
    }
  }
}

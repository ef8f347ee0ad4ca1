#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/Vectors/reference.safetensors with the reference library.

The file holds one tensor of each dtype that the Python package can write, and some with unusual
names and shapes. Byte i of each tensor is (7 * i + length of its name) % 256, so that tests need
no second copy of the data; a Boolean's bytes are that modulo 2.

Run with: pip install safetensors==0.8.0, then python3 Tools/make-safetensors-vectors.py
"""

import ctypes
import math
import pathlib

import safetensors

# By the shapes that the package takes: for packed F4 it doubles the last dimension.
WIDTHS = {
    "bool": 8, "float4_e2m1fn_x2": 8, "uint8": 8, "int8": 8, "float8_e5m2": 8,
    "float8_e4m3fn": 8, "float8_e8m0fnu": 8, "float8_e4m3fnuz": 8, "float8_e5m2fnuz": 8,
    "int16": 16, "uint16": 16, "float16": 16, "bfloat16": 16, "int32": 32, "uint32": 32,
    "float32": 32, "complex64": 64, "float64": 64, "int64": 64, "uint64": 64,
}


def tensor(name, dtype, shape):
    count = math.prod(shape) * WIDTHS[dtype] // 8
    data = bytes((7 * i + len(name)) % (2 if dtype == "bool" else 256) for i in range(count))
    buffer = ctypes.create_string_buffer(data, len(data))
    spec = safetensors.TensorSpec(
        dtype=dtype, shape=shape, data_ptr=ctypes.addressof(buffer), data_len=len(data)
    )
    return spec, buffer


def main():
    items = [(f"all.{dtype}", dtype, [2, 4]) for dtype in WIDTHS]
    items += [
        ("scalar", "float32", []),
        ("empty", "float16", [3, 0, 2]),
        ("Größe \"quoted\" \\ / \n tab\t", "uint8", [5]),
        ("b", "uint8", [1]),
        ("a", "uint8", [1]),
        ("B", "uint8", [1]),
    ]
    items.sort(key=lambda item: hash(item[0]))  # The library must sort by itself.
    pairs = {name: tensor(name, dtype, shape) for name, dtype, shape in items}
    specs = {name: spec for name, (spec, buffer) in pairs.items()}  # The buffers stay in pairs.
    data = safetensors.serialize(specs, {"format": "pt é"})
    folder = pathlib.Path(__file__).resolve().parent.parent / "Tests" / "Vectors"
    (folder / "reference.safetensors").write_bytes(data)


if __name__ == "__main__":
    main()

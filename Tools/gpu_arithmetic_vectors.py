#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Asks a GPU for the results of single instructions, with which the emulator's are compared.

    python3 Tools/gpu_arithmetic_vectors.py Tests/Vectors/h100_arithmetic.safetensors

Needs PyTorch, safetensors and a GPU of compute capability 9.0. Each tensor of the file holds the
32-bit result of an instruction for every pair of the tensors `x` and `y`: values at which arithmetic
breaks, then random bits.
"""

import ctypes
import sys

import numpy as np
import torch
from safetensors.numpy import save_file

# a, b: the operands as bits; fa, fb: as FP32; h, g: halves; r: the result; fr: the result as FP32.
FLOAT = "{} mov.b32 r, fr;"
HALF = "{} cvt.u32.u16 r, h;"
SPLIT = "mov.b32 {{h, g}}, a; {}"
INSTRUCTIONS = {
    "pack_e4m3x2": HALF.format("cvt.rn.satfinite.e4m3x2.f32 h, fa, fb;"),
    "pack_e5m2x2": HALF.format("cvt.rn.satfinite.e5m2x2.f32 h, fa, fb;"),
    "pack_f16x2": "cvt.rn.f16x2.f32 r, fa, fb;",
    "pack_bf16x2": "cvt.rn.bf16x2.f32 r, fa, fb;",
    "unpack_e4m3x2": SPLIT.format("cvt.rn.f16x2.e4m3x2 r, h;"),
    "unpack_e5m2x2": SPLIT.format("cvt.rn.f16x2.e5m2x2 r, h;"),
    "f32_to_f16": HALF.format("cvt.rn.f16.f32 h, fa;"),
    "f32_to_bf16_cut": HALF.format("cvt.rz.bf16.f32 h, fa;"),
    "f16_to_f32": SPLIT.format(FLOAT.format("cvt.f32.f16 fr, h;")),
    "bf16_to_f32": SPLIT.format(FLOAT.format("cvt.f32.bf16 fr, h;")),
    "f32_to_s32": "cvt.rzi.s32.f32 r, fa;",
    "f32_to_u32": "cvt.rni.u32.f32 r, fa;",
    "f32_to_s64_high": "cvt.rzi.s64.f32 l, fa; mov.b64 {q, r}, l;",
    "f32_rounded": FLOAT.format("cvt.rni.f32.f32 fr, fa;"),
    "add_f32": FLOAT.format("add.rn.f32 fr, fa, fb;"),
    "sub_f32": FLOAT.format("sub.rn.f32 fr, fa, fb;"),
    "mul_f32": FLOAT.format("mul.rn.f32 fr, fa, fb;"),
    "div_f32": FLOAT.format("div.rn.f32 fr, fa, fb;"),
    "fma_f32": FLOAT.format("fma.rn.f32 fr, fa, fb, fa;"),
    "min_f32": FLOAT.format("min.f32 fr, fa, fb;"),
    "max_f32": FLOAT.format("max.f32 fr, fa, fb;"),
    "min_nan_f32": FLOAT.format("min.NaN.f32 fr, fa, fb;"),
    "max_nan_f32": FLOAT.format("max.NaN.f32 fr, fa, fb;"),
    "neg_f32": FLOAT.format("neg.f32 fr, fa;"),
    "abs_f32": FLOAT.format("abs.f32 fr, fa;"),
    "rcp_f32": FLOAT.format("rcp.rn.f32 fr, fa;"),
    "sqrt_f32": FLOAT.format("sqrt.rn.f32 fr, fa;"),
    "rcp_approx_f32": FLOAT.format("rcp.approx.ftz.f32 fr, fa;"),
    "rsqrt_approx_f32": FLOAT.format("rsqrt.approx.f32 fr, fa;"),
    "ex2_approx_f32": FLOAT.format("ex2.approx.f32 fr, fa;"),
    "lg2_approx_f32": FLOAT.format("lg2.approx.f32 fr, fa;"),
    "tanh_approx_f32": FLOAT.format("tanh.approx.f32 fr, fa;"),
    "add_f16x2": "add.rn.f16x2 r, a, b;",
    "mul_f16x2": "mul.rn.f16x2 r, a, b;",
    "add_bf16x2": "add.rn.bf16x2 r, a, b;",
    "max_bf16x2": "max.bf16x2 r, a, b;",
    "abs_bf16x2": "abs.bf16x2 r, a;",
    "neg_bf16x2": "neg.bf16x2 r, a;",
    "div_u32": "div.u32 r, a, b;",
    "rem_u32": "rem.u32 r, a, b;",
    "div_s32": "div.s32 r, a, b;",
    "rem_s32": "rem.s32 r, a, b;",
}

KERNEL = """.version 8.0
.target sm_90a
.address_size 64
.visible .entry k(.param .u64 x, .param .u64 y, .param .u64 o, .param .u64 n)
{{
  .reg .b64 px, py, po, pn, l; .reg .b32 i, a, b, r, q, c; .reg .f32 fa, fb, fr; .reg .b16 h, g;
  ld.param.u64 px, [x]; ld.param.u64 py, [y]; ld.param.u64 po, [o]; ld.param.u64 pn, [n];
  mov.u32 i, %tid.x; mov.u32 c, %ctaid.x; mad.lo.u32 i, c, 256, i; mul.wide.u32 l, i, 4;
  add.u64 px, px, l; add.u64 py, py, l; add.u64 po, po, l;
  ld.global.u32 a, [px]; ld.global.u32 b, [py]; mov.b32 fa, a; mov.b32 fb, b;
{}
  ret;
}}
"""


def operands(count=512):
    """Pairs of awkward bits, then random ones."""
    left = [
        0x7FC00000, 0xFFC00000, 0x7F800001, 0x7F800000, 0xFF800000, 0, 0x80000000, 1, 0x3F800000,
        0xBF800000, 0x4F000000, 0xCF000000, 0x7F7FFFFF, 0x7FFF7FFF, 0x43E80000, 0x43E90000,
        0x3F000000, 0x40200000, 0x477FE000, 0x47800000, 0x7E7D7C7F, 0xFFFEFDFC, 0x00800000,
        0x3FFF7F7F,
    ]
    right = [0, 0xFFFFFFFF, 0x80000000, 0x7FC00000, 0x3F800000, 7]
    pairs = [(a, b) for a in left for b in right]
    random = np.random.default_rng(1).integers(0, 1 << 32, (count - len(pairs), 2), dtype=np.uint64)
    # Half of the random values are of moderate size.
    random[::2] = random[::2] & 0x87FFFFFF | 0x38000000
    values = np.concatenate([np.array(pairs, dtype=np.uint64), random]).astype(np.uint32)
    return np.ascontiguousarray(values[:, 0]), np.ascontiguousarray(values[:, 1])


def main(path):
    torch.zeros(1).cuda()
    driver = ctypes.CDLL("libcuda.so.1")
    body = "\n".join(
        f"  {text} st.global.u32 [po], r; add.u64 po, po, pn;" for text in INSTRUCTIONS.values()
    )
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    code = driver.cuModuleLoadData(ctypes.byref(module), KERNEL.format(body).encode())
    assert code == 0, f"cuModuleLoadData: {code}"
    driver.cuModuleGetFunction(ctypes.byref(function), module, b"k")
    x, y = operands()
    count = len(x)
    inputs = [torch.from_numpy(values.view(np.int32)).cuda() for values in (x, y)]
    results = torch.zeros(len(INSTRUCTIONS), count, dtype=torch.int32, device="cuda")
    values = [*(t.data_ptr() for t in inputs), results.data_ptr(), 4 * count]
    cells = [ctypes.c_uint64(value) for value in values]
    arguments = (ctypes.c_void_p * 4)(*(ctypes.addressof(cell) for cell in cells))
    code = driver.cuLaunchKernel(function, count // 256, 1, 1, 256, 1, 1, 0, None, arguments, None)
    assert code == 0, f"cuLaunchKernel: {code}"
    torch.cuda.synchronize()
    rows = results.cpu().numpy().view(np.uint32)
    tensors = {name: rows[index].copy() for index, name in enumerate(INSTRUCTIONS)}
    metadata = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    save_file({"x": x, "y": y, **tensors}, path, metadata=metadata)


if __name__ == "__main__":
    main(sys.argv[1])

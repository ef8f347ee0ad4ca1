#!/usr/bin/env python3
"""Golden vectors for the small float formats, from ml_dtypes.

usage: minifloat_vectors.py OUT.safetensors        (needs numpy, ml_dtypes, safetensors)

Keys, for <fmt> in float8_e4m3fn float8_e5m2 float4_e2m1fn float8_e8m0fnu bfloat16
(float4 codes are in the low 4 bits of a byte; bfloat16 codes are U16, all others U8):
  <fmt>.decode_f32      F32  value of every code (256 or 16; absent for bfloat16)
  <fmt>.from_bf16       code of each of the 65536 bf16 bit patterns, in order (absent for bfloat16)
  <fmt>.from_f16        code of each of the 65536 f16 bit patterns, in order
  <fmt>.midpoints_f32   F32  every midpoint of two adjacent finite values, and the two float32 next to it, both signs
                             (absent for bfloat16, whose from_f32_in has midpoints)
  <fmt>.midpoints_codes
  <fmt>.from_f64_in     F64  doubles a relative 2^-40 beside a midpoint: rounding to float32 first lands on the tie
  <fmt>.from_f64_codes       the correct single rounding, found with exact Fractions (see metadata "from_f64")
  bfloat16.from_f32_in  F32  random bit patterns, midpoints +-1 ulp, subnormals, infinities, NaN payloads
  bfloat16.from_f32_codes
Conventions are those of ml_dtypes: overflow and infinity give NaN in e4m3fn (0x7F/0xFF) and e8m0fnu, infinity in
e5m2 and bfloat16, and saturate in e2m1fn; e8m0fnu gives NaN (0xFF) for zero and negatives. Ties go to the even
code, but away from zero in e8m0fnu. NaN gives 0x7F/0xFF in e4m3fn, 0x7E/0xFE in e5m2, 0x7FC0/0xFFC0 in bfloat16
(payload lost) and, e2m1fn having no NaN, 0x8/0x0 (-0.0 for +NaN, 0.0 for -NaN).
"""
import sys, warnings
from bisect import bisect_left
from fractions import Fraction
import numpy as np, ml_dtypes
from safetensors.numpy import save_file

warnings.filterwarnings("ignore")
rng = np.random.default_rng(20260901)
FMTS = ["float8_e4m3fn", "float8_e5m2", "float4_e2m1fn", "float8_e8m0fnu", "bfloat16"]
out, notes = {}, {"generator": "minifloat_vectors.py", "ml_dtypes": ml_dtypes.__version__, "numpy": np.__version__}


def codes(x, fmt):
    """Codes of x in fmt, as ml_dtypes converts them."""
    y = x.astype(getattr(ml_dtypes, fmt))
    return y.view(np.uint16).copy() if fmt == "bfloat16" else y.view(np.uint8) & (15 if "float4" in fmt else 255)


def positives(fmt):
    """(value, code) of the finite non-negative values, ascending, as exact doubles."""
    n = {"float4_e2m1fn": 8, "bfloat16": 0x7F80, "float8_e8m0fnu": 255}.get(fmt, 128)
    c = np.arange(n, dtype=np.uint16 if fmt == "bfloat16" else np.uint8)
    v = c.view(getattr(ml_dtypes, fmt)).astype(np.float64)
    return [(float(a), int(b)) for a, b in zip(v, c) if np.isfinite(a)]


def round_exact(x, fmt, pos):
    """Code of the double x, nearest, by exact arithmetic (x inside the range; no tie is ever asked for)."""
    values = [v for v, _ in pos]
    i = bisect_left(values, abs(x))
    if i < len(pos) and values[i] == abs(x): c = pos[i][1]
    else:
        (lo, cl), (hi, ch) = pos[i - 1], pos[i]
        a = Fraction(abs(x)); dl, dh = a - Fraction(lo), Fraction(hi) - a
        assert dl != dh
        c = cl if dl < dh else ch
    sign = {"float4_e2m1fn": 8, "bfloat16": 0x8000}.get(fmt, 0x80)
    return c | (sign if np.signbit(x) else 0)


all16 = np.arange(65536, dtype=np.uint16)
for fmt in FMTS:
    pos = positives(fmt); values = np.array([v for v, _ in pos])
    signed = fmt != "float8_e8m0fnu"
    if fmt != "bfloat16":
        n = 16 if "float4" in fmt else 256
        out[f"{fmt}.decode_f32"] = np.arange(n, dtype=np.uint8).view(getattr(ml_dtypes, fmt)).astype(np.float32)
        out[f"{fmt}.from_bf16"] = codes(all16.view(ml_dtypes.bfloat16), fmt)
    out[f"{fmt}.from_f16"] = codes(all16.view(np.float16), fmt)

    mid = (values[:-1] + values[1:]) / 2                      # exact in double for every format here
    # the would-be next value above the largest: the limit where overflow begins
    top = values[-1] + (values[-1] - values[-2]) / 2 if fmt != "float8_e8m0fnu" else values[-1] * 1.5
    mid32 = np.append(mid, top).astype(np.float32)
    near = np.concatenate([mid32, np.nextafter(mid32, np.float32(0)), np.nextafter(mid32, np.float32(np.inf))])
    near = np.concatenate([near, -near]) if signed else near
    if fmt != "bfloat16":
        out[f"{fmt}.midpoints_f32"] = near
        out[f"{fmt}.midpoints_codes"] = codes(near, fmt)

    # doubles beside midpoints (normal float32 range, so that the tie itself is a float32)
    m = mid[mid >= 2.0**-126]
    m = m if len(m) <= 500 else np.sort(rng.choice(m, 500, replace=False))
    m = np.repeat(m, -(-500 // len(m)))[:500]                 # 500 midpoints (repeated for the smaller formats)
    x = np.concatenate([m * (1 + 2.0**-40 * (1 + np.arange(500) % 3)), m * (1 - 2.0**-40 * (1 + np.arange(500) % 3))])
    x = np.concatenate([x, -x]) if signed else x
    right = np.array([round_exact(v, fmt, pos) for v in x], np.uint16 if fmt == "bfloat16" else np.uint8)
    wrong_if_f32 = int((codes(x.astype(np.float32), fmt) != right).sum())
    differ = int((codes(x, fmt) != right).sum())
    notes[f"{fmt}.from_f64"] = (f"{len(x)} doubles, codes by exact Fractions; through float32 {wrong_if_f32} would be wrong; "
                                f"ml_dtypes' own double conversion differs in {differ}")
    out[f"{fmt}.from_f64_in"], out[f"{fmt}.from_f64_codes"] = x, right

    if fmt == "bfloat16":
        bits = np.concatenate([
            rng.integers(0, 2**32, 8000, dtype=np.uint32),                                # any pattern
            rng.integers(0, 2**23, 1000, dtype=np.uint32),                                # subnormals
            (rng.integers(0, 2**16, 6000, dtype=np.uint32) << 16 | 0x8000)
            + rng.integers(-1, 2, 6000).astype(np.uint32),                                # ties and their neighbours
            rng.integers(0, 2**23, 1000, dtype=np.uint32) | 0x7F800000,                   # NaN payloads, +
            rng.integers(0, 2**23, 1000, dtype=np.uint32) | 0xFF800000,                   # NaN payloads, -
            (rng.integers(0x3B00, 0x4100, 3000, dtype=np.uint32) << 16) + rng.integers(0, 2**16, 3000, dtype=np.uint32),
            np.array([0, 0x80000000, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F7F7FFF, 0x7F7F8000, 0x7F7F8001,
                      1, 0x80000001, 0x8000, 0x8001, 0x7FFF, 0x007FFFFF, 0x00800000, 0x7F800001, 0xFF800001,
                      0x7F80FFFF, 0x7F810000, 0x7FC00000, 0xFFC00000, 0x7FFFFFFF, 0xFFFFFFFF], np.uint32)]).astype(np.uint32)
        out["bfloat16.from_f32_in"] = bits.view(np.float32)
        out["bfloat16.from_f32_codes"] = codes(bits.view(np.float32), fmt)

save_file({k: np.ascontiguousarray(v) for k, v in out.items()}, sys.argv[1], metadata=notes)
for k, v in sorted(notes.items()): print(f"{k}: {v}")
print(sum(v.nbytes for v in out.values()), "bytes")

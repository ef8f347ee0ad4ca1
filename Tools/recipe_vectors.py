"""Vectors of producers beside quant_golden.py's, from the inputs of its files.

usage: recipe_vectors.py IN.safetensors OUT.safetensors
PYTHONPATH holds, unpacked: fouroversix 1.0.5 (its src), transformer_engine 2.20.2 (a wheel without compiled parts), and mlx
0.31.2 before the environment's own.  Keys: <dt>.<producer>[_<format>].<tensor>, without the inputs.

torchao_*_ceil (to_mx), torchao_pow2_* (torchao.float8), mlx_nearest_* (mlx.core.quantize), fouroversix and te_4over6 (the
PyTorch reference that TransformerEngine's own tests compare its kernels with) are the libraries.  ggml_nvfp4 takes gguf's scale
and table, whose C quantizer it says it matches, with the search of its MXFP4.  vllm_emu, deepgemm_* and mlx_metal_* are own
emulations of vLLM's ref_nvfp4_quant, DeepGEMM's per_token_cast_to_{fp4,fp8} and the kernel fp_quantize that mlx 0.32.4 carries
as source (include/mlx/backend/metal/kernels/fp_quantized.h), a few lines of torch each."""
import importlib.metadata as im, importlib.util, pathlib, sys, types
from unittest import mock
import numpy as np, torch
from safetensors import safe_open
from safetensors.torch import save_file

src, out = sys.argv[1:3]
u8 = lambda t: t.contiguous().view(torch.uint8)
E2M1 = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6])


def pack(codes):   # even column in the low nibble
    return (codes[:, ::2] | codes[:, 1::2] << 4).to(torch.uint8)


def torchao_ceil(x, kind):
    from torchao.prototype.mx_formats.mx_tensor import to_mx, ScaleCalculationMode as S
    t = torch.float4_e2m1fn_x2 if kind == "mxfp4" else torch.float8_e4m3fn
    s, q = to_mx(x, t, 32, scaling_mode=S.CEIL)
    return dict(codes=u8(q).reshape(len(x), -1), scales=u8(s).reshape(len(x), -1))


def torchao_pow2(x, rowwise):
    from torchao.float8.float8_utils import tensor_to_scale, to_fp8_saturated
    from torchao.float8.config import ScalingGranularity as G
    s = tensor_to_scale(x, torch.float8_e4m3fn, round_scales_to_power_of_2=True,
                        **(dict(scaling_granularity=G.AXISWISE, axiswise_dim=-1) if rowwise else {}))
    q = to_fp8_saturated(x.to(torch.float32) * s, torch.float8_e4m3fn)   # as hp_tensor_and_scale_to_float8
    return dict(codes=u8(q), factor=s.reshape(-1))


def mlx_nearest(x, kind):
    import mlx.core as mx
    assert mx.__version__ == "0.31.2", mx.__version__
    mx.set_default_device(mx.cpu)
    t = {torch.bfloat16: mx.bfloat16, torch.float16: mx.float16, torch.float32: mx.float32}[x.dtype]
    q, s = mx.quantize(mx.array(x.float().numpy()).astype(t), group_size=32, bits=4 if kind == "mxfp4" else 8, mode=kind)
    return dict(codes=torch.from_numpy(np.array(q).view(np.uint8).copy()), scales=torch.from_numpy(np.array(s).copy()))


def fouroversix(x):
    from fouroversix.quantize.pytorch.reference import quantize_to_fp4
    q, s, a = quantize_to_fp4(x, use_blackwell_scale_layout=False)   # by default NVFP4 with the rule "mse"
    return dict(codes=q, scales=u8(s).reshape(len(x), -1), amax=a.reshape(1))


def te_reference():
    """The reference by itself: what it imports needs the compiled parts, and quantizing needs none of it."""
    folder = next(p for p in (pathlib.Path(d) / "transformer_engine/pytorch/custom_recipes" for d in sys.path) if p.exists())
    bases = types.ModuleType("quantized_tensor")
    bases.QuantizedTensorStorage, bases.Quantizer = type("Storage", (), {}), type("Quantizer", (), {})
    sys.modules["transformer_engine.pytorch.quantized_tensor"] = bases
    for name in ("", ".pytorch", ".pytorch.custom_recipes"): sys.modules["transformer_engine" + name] = mock.MagicMock()
    spec = importlib.util.spec_from_file_location("te_reference", folder / "reference_nvfp4.py")
    module = sys.modules["te_reference"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.NVFP4QuantizerRef


def te_4over6(x, mode):
    a = x.abs().amax().float()
    q, s = te_reference()._quantize_blockwise_reference(
        x, a, 16, 1, pow_2_scales=False, nvfp4_use_4over6=True, nvfp4_e4m3_max=256, nvfp4_4over6_err_mode=mode, eps=0.0)
    return dict(codes=q, scales=u8(s).reshape(len(x), -1), amax=a.reshape(1))


def ggml_nvfp4(x):
    from gguf.quants import NVFP4
    b = x.float().numpy().reshape(-1, 16)
    e = NVFP4.fp32_to_ue4m3(np.abs(b).max(-1) / np.float32(6))
    d = NVFP4.ue4m3_to_fp32(e).astype(np.float32)
    k = np.array(NVFP4.kvalues, np.float32)
    codes = np.abs(d[:, None, None] * k - b[:, :, None]).argmin(-1)   # the first of equals
    return dict(codes=pack(torch.from_numpy(codes.reshape(x.shape))), scales=torch.from_numpy(e.reshape(len(x), -1)))


def round_e2m1(magnitude):   # halves to even
    bounds = torch.tensor([.25, .75, 1.25, 1.75, 2.5, 3.5, 5])
    above = torch.tensor([False, True, False, True, False, True, False])
    m = magnitude.unsqueeze(-1)
    return torch.where(above, m >= bounds, m > bounds).sum(-1)


def vllm_emu(x):
    recip = lambda t: torch.where(t == 0, torch.zeros_like(t), 1 / t)
    g = 448.0 * 6.0 / x.abs().max().to(torch.float32)
    b = x.reshape(len(x), -1, 16)
    s = torch.clamp(g * (b.abs().amax(-1, keepdim=True).float() * (1 / 6.0)), -448, 448).to(torch.float8_e4m3fn)
    y = torch.clamp(b.float() * recip(s.float() * recip(g)), -6, 6).reshape(x.shape)
    value = E2M1[round_e2m1(y.abs())] * torch.sign(y)
    codes = round_e2m1(y.abs()) | torch.signbit(value).long() << 3
    return dict(codes=pack(codes), scales=u8(s).reshape(len(x), -1), global_scale=g.reshape(1))


def deepgemm(x, kind):
    b = x.reshape(len(x), -1, 32)
    a = b.abs().float().amax(-1).clamp_min(1e-4) / (6 if kind == "mxfp4" else 448)
    bits = a.view(torch.int32)
    e = ((bits >> 23) + ((bits & 0x7FFFFF) != 0)).clamp(1, 254)
    y = (b * (1 / (e << 23).to(torch.int32).view(torch.float32)).unsqueeze(-1)).reshape(x.shape)
    if kind == "mxfp8": return dict(codes=u8(y.to(torch.float8_e4m3fn)), scales=e.to(torch.uint8))
    magnitude = torch.bucketize(y.abs(), torch.tensor([.25, .75, 1.25, 1.75, 2.5, 3.5, 5.]))   # halves go down
    return dict(codes=pack(magnitude | ((y < 0) & (magnitude != 0)).long() << 3), scales=e.to(torch.uint8))


def mlx_metal(x, kind):
    size, largest = (16 if kind == "nvfp4" else 32), (448 if kind == "mxfp8" else 6)
    b = x.float().reshape(len(x), -1, size)
    s = b.abs().amax(-1) / largest
    if kind == "nvfp4":
        s = s.clamp(max=448).to(torch.float8_e4m3fn); scales, s = u8(s), s.float()
    else:   # the smallest power of two that is not less
        mantissa, exponent = torch.frexp(s.double())
        exponent = torch.where(s == 0, torch.tensor(-127), exponent - (mantissa == .5).int()).clamp(-127, 127)
        scales, s = (exponent + 127).to(torch.uint8), torch.ldexp(torch.tensor(1.), exponent)
    y = (b * torch.where(s == 0, 0, 1 / s).unsqueeze(-1)).reshape(x.shape)
    if kind == "mxfp8": return dict(codes=u8(y.clamp(-448, 448).to(torch.float8_e4m3fn)), scales=scales)
    return dict(codes=pack(round_e2m1(y.abs()) | torch.signbit(y).long() << 3), scales=scales)


d = {}
with safe_open(src, "pt") as file:
    for dt in ("bf16", "f16", "f32"):
        if f"{dt}.input" not in file.keys(): continue
        x = file.get_tensor(f"{dt}.input").contiguous()
        runs = {"fouroversix": lambda: fouroversix(x), "te_4over6": lambda: te_4over6(x, "MAE"), "ggml_nvfp4": lambda: ggml_nvfp4(x),
                "vllm_emu": lambda: vllm_emu(x), "torchao_pow2_row": lambda: torchao_pow2(x, True), "torchao_pow2_tensor": lambda: torchao_pow2(x, False)}
        runs["mlx_metal_nvfp4"] = lambda: mlx_metal(x, "nvfp4")
        for kind in ("mxfp4", "mxfp8"):
            if x.shape[1] % 32: continue
            if dt != "f16": runs[f"torchao_{kind}_ceil"] = lambda kind=kind: torchao_ceil(x, kind)   # to_mx takes no FP16
            runs[f"mlx_nearest_{kind}"] = lambda kind=kind: mlx_nearest(x, kind)
            runs[f"mlx_metal_{kind}"] = lambda kind=kind: mlx_metal(x, kind)
            runs[f"deepgemm_{kind}"] = lambda kind=kind: deepgemm(x, kind)
        for name, run in runs.items():
            for part, value in run().items(): d[f"{dt}.{name}.{part}"] = value
meta = {p: im.version(p) for p in ("torch", "torchao", "gguf")}
meta |= {"mlx": "0.31.2", "fouroversix": "1.0.5", "transformer_engine": "2.20.2", "vllm_emu": "own emulation", "deepgemm": "own emulation", "mlx_metal": "own emulation"}
save_file({k: v.detach().contiguous().clone() for k, v in d.items()}, out, metadata=meta)
print(out, len(d), "tensors", sum(v.nbytes for v in d.values()), "bytes")

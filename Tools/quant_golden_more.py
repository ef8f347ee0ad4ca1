"""More golden vectors of the real libraries, for acceptance.  usage: quant_golden_more.py SEED N K DIST OUT.safetensors
DIST: normal | student | outlier | tiny | log2edge | zero.  PYTHONPATH must hold comfy_kitchen (unpacked wheel is enough).
Keys as in quant_golden.py: <dt>.<producer>[_<format>].<tensor>; added: ct_fp8_{block,channel,tensor}, modelopt_fp8{,_pc,_pb},
torchao_float8_{tensor,row,block,1x128}, comfy_{nvfp4,mxfp8,fp8}, te_emu (own emulation of TransformerEngine, not the library)."""
import warnings; warnings.filterwarnings("ignore")
import sys, numpy as np, torch, ml_dtypes, importlib.metadata as im
from safetensors.torch import save_file
import modelopt.torch.quantization as mtq
from modelopt.torch.quantization.qtensor.nvfp4_tensor import NVFP4QTensor
from modelopt.torch.quantization.qtensor.mxfp4_tensor import MXFP4QTensor
from modelopt.torch.quantization.qtensor.mxfp8_tensor import MXFP8QTensor
from modelopt.torch.export.unified_export_hf import _export_quantized_weight
from torchao.prototype.mx_formats.nvfp4_tensor import nvfp4_quantize, per_tensor_amax_to_scale
from torchao.prototype.mx_formats.mx_tensor import to_mx, ScaleCalculationMode as S
from torchao.prototype.mx_formats.utils import to_blocked
from torchao.quantization.quantize_.workflows.float8.float8_tensor import Float8Tensor
from torchao.quantization.granularity import PerRow, PerTensor, PerBlock
from llmcompressor.entrypoints.model_free.lifecycle import initialize_quantized_linear, calibrate_weight
from compressed_tensors.quantization import preset_name_to_scheme
from compressed_tensors.compressors import compress_module
import comfy_kitchen.tensor as ckt
import mlx.core as mx
from gguf import quants, GGMLQuantizationType as T

seed, N, K, dist, out = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
r = np.random.default_rng(seed); f4 = np.float32
if dist == "student": w = (r.standard_t(3, (N, K)) * .02)
elif dist == "outlier": w = r.standard_normal((N, K)) * .005 * np.where(r.random((N, K)) < .002, 200., 1.) * np.exp2(r.integers(-6, 3, (N, 1)))
elif dist == "tiny": w = r.standard_normal((N, K)) * 2e-5
elif dist == "zero": w = np.zeros((N, K))
else: w = r.standard_normal((N, K)) * .02
w = w.astype(f4)
if dist == "log2edge":   # F32 block maxima a few ulps around 448*2^k and 6*2^k: ceil(float32 log2) differs from the exact ceil
    for i in range(N):
        for b in range(K // 32):
            c = f4((448., 6.)[(i + b) % 2]) * f4(2.) ** int(r.integers(-40, 3)); c = np.array([c], f4).view(np.int32); c += int(r.integers(-6, 25)); w[i, 32 * b:32 * b + 32] = (r.random(32) * 2 - 1).astype(f4) * c.view(f4)[0]; w[i, 32 * b + int(r.integers(32))] = c.view(f4)[0]
elif dist != "zero":
    s = f4(1e-3 if dist == "tiny" else 1.)
    w[0, :32] = 0; w[1, :16] = -0.; w[2, :16] = f4([6, .75, 1.75, 3.5, .25, -.25, 1.25, 5, -.1, 2.5, -.75, -1.75, -3.5, -5, -2.5, 0]) / 64 * s; w[3, :16] = 1e-6 * s; w[4, :] = 0; w[5, 16:32] = f4(-7.5e-4) * s; w[6, :8] = f4([1e-9, -1e-9, 3e-7, -3e-7, 1e-12, -1e-20, 6e-5, -6e-5])
w = torch.from_numpy(np.ascontiguousarray(w)); d = {}
u8 = lambda t: t.contiguous().view(torch.uint8)
def ct(x, name):
    sch = preset_name_to_scheme({"FP8_TENSOR": "FP8"}.get(name, name), ["Linear"])
    if name == "FP8_TENSOR": sch.input_activations.dynamic = True; sch.input_activations.observer = None
    m = initialize_quantized_linear(x, sch, "cpu"); calibrate_weight(m); compress_module(m); return {k: v.detach() for k, v in m.state_dict().items()}
def mo(x, cfg):
    m = torch.nn.Sequential(torch.nn.Linear(K, N, bias=False, dtype=x.dtype)); m[0].weight.data.copy_(x)
    mtq.quantize(m, getattr(mtq, cfg), forward_loop=lambda q: q(torch.ones(2, K, dtype=x.dtype))); _export_quantized_weight(m[0], x.dtype)
    return m[0].weight.data, m[0].weight_scale
def te(x):   # TransformerEngine formulas in numpy float32
    f = x.float().numpy(); A = np.abs(f).max(); G = f4(2688) / A if A > 0 else f4(1); G = min(G, np.finfo(f4).max); G = f4(1) if G == 0 else f4(G)
    v = f.reshape(N, K // 16, 16); a = np.abs(v).max(-1); sc = np.clip((a * (G * (f4(1) / f4(6)))).astype(f4), 0, 448).astype(ml_dtypes.float8_e4m3fn)
    with np.errstate(all="ignore"): inv = np.minimum(f4(1) / (sc.astype(f4) * (f4(1) / G)), np.finfo(f4).max).astype(f4)
    c = np.clip((v * inv[..., None]).astype(f4), -6, 6).astype(ml_dtypes.float4_e2m1fn).view(np.uint8).reshape(N, K) & 15
    return c[:, ::2] | c[:, 1::2] << 4, sc.view(np.uint8), A / f4(2688)
def put(k, f):
    try:
        for n, v in f().items(): d[f"{k}.{n}"] = v
    except Exception as e: print("skipped", k, repr(e)[:110])
for nm, dt in (("bf16", torch.bfloat16), ("f16", torch.float16), ("f32", torch.float32)):
    x = w.to(dt); d[f"{nm}.input"] = x; P = lambda k, f: put(f"{nm}.{k}", f)
    def mo_nv(): q, s, s2 = NVFP4QTensor.quantize(x.clone(), 16); return dict(weight=q._quantized_data, weight_scale=s, weight_scale_2=s2)
    P("modelopt", mo_nv)
    def t2():
        p = per_tensor_amax_to_scale(x.abs().max()); s, q = nvfp4_quantize(x, 16, p); return dict(qdata=u8(q), scale=s.reshape(N, -1), per_tensor_scale=p, scale_blocked=to_blocked(u8(s).reshape(N, -1)).flatten())
    def t1(): s, q = nvfp4_quantize(x, 16, None); return dict(qdata=u8(q), scale=s.reshape(N, -1))
    if nm != "f16": P("torchao", t2); P("torchao_single", t1)
    P("ct_nvfp4a16", lambda: ct(x, "NVFP4A16"))
    for k, s in (("block", "FP8_BLOCK"), ("channel", "FP8_DYNAMIC"), ("tensor", "FP8_TENSOR")): P(f"ct_fp8_{k}", lambda: ct(x, s))
    for k, c in (("", "FP8_DEFAULT_CFG"), ("_pc", "FP8_PER_CHANNEL_PER_TOKEN_CFG"), ("_pb", "FP8_2D_BLOCKWISE_WEIGHT_ONLY_CFG")): P(f"modelopt_fp8{k}", lambda: dict(zip(("weight", "weight_scale"), mo(x, c))))
    def f8(g): t = Float8Tensor.from_hp(x, granularity=g); return dict(qdata=t.qdata, scale=t.scale)
    P("torchao_float8_tensor", lambda: f8(PerTensor())); P("torchao_float8_row", lambda: f8(PerRow()))
    if N % 128 == 0 and K % 128 == 0: P("torchao_float8_block", lambda: f8(PerBlock([128, 128])))
    if K % 128 == 0: P("torchao_float8_1x128", lambda: f8(PerBlock([1, 128])))
    def cf(L): q, p = L.quantize(x.clone()); return {"weight" + a: b for a, b in L.state_dict_tensors(q, p).items()}
    P("comfy_nvfp4", lambda: cf(ckt.TensorCoreNVFP4Layout)); P("comfy_mxfp8", lambda: cf(ckt.TensorCoreMXFP8Layout)); P("comfy_fp8", lambda: cf(ckt.TensorCoreFP8Layout))
    q, s, g = te(x); d[f"{nm}.te_emu.weight"], d[f"{nm}.te_emu.weight_scale"], d[f"{nm}.te_emu.weight_scale_2"] = torch.from_numpy(q), torch.from_numpy(s).view(torch.float8_e4m3fn), torch.tensor(g)
    xm = mx.array(x.float().numpy()).astype({"bf16": mx.bfloat16, "f16": mx.float16, "f32": mx.float32}[nm])
    def ml(mode, gs, b): q, s = mx.quantize(xm, group_size=gs, bits=b, mode=mode); return {"weight_u32_as_bytes": torch.from_numpy(np.array(q).view(np.uint8).copy()), "scales": torch.from_numpy(np.array(s).copy())}
    P("mlx_cpu_nvfp4", lambda: ml("nvfp4", 16, 4))
    if K % 32: continue
    P("mlx_cpu_mxfp4", lambda: ml("mxfp4", 32, 4)); P("mlx_cpu_mxfp8", lambda: ml("mxfp8", 32, 8))
    def m4(): q, s = MXFP4QTensor.quantize(x.clone(), 32); return dict(weight=q._quantized_data, weight_scale=s.reshape(N, -1))
    def m8(): q, s = MXFP8QTensor.quantize(x.clone()); return dict(weight=q._quantized_data, weight_scale=u8(s).reshape(N, -1))
    P("modelopt_mxfp4", m4); P("modelopt_mxfp8", m8)
    if nm != "f16":
        for mode in (S.FLOOR, S.RCEIL, S.EVEN):
            for en, et in (("mxfp4", torch.float4_e2m1fn_x2), ("mxfp8", torch.float8_e4m3fn)):
                def tm(): s, q = to_mx(x, et, 32, scaling_mode=mode); return dict(qdata=u8(q).reshape(N, -1), scale=u8(s).reshape(N, -1))
                P(f"torchao_{en}_{mode.name.lower()}", tm)
    P("ct_mxfp4a16", lambda: ct(x, "MXFP4A16")); P("ct_mxfp8a16", lambda: ct(x, "MXFP8A16"))
    d[f"{nm}.gguf_mxfp4.blocks"] = torch.from_numpy(quants.quantize(x.float().numpy(), T.MXFP4).copy())
meta = {p: im.version(p) for p in ("torch", "nvidia-modelopt", "torchao", "compressed-tensors", "llmcompressor", "mlx", "gguf")}
save_file({k: v.detach().contiguous().clone() for k, v in d.items()}, out, metadata=meta | {"comfy-kitchen": "0.2.40", "te_emu": "own emulation, not TransformerEngine", "args": f"seed {seed} {N}x{K} {dist}"})
print(out, len(d), "tensors", sum(v.nbytes for v in d.values()), "bytes")

#!/usr/bin/env python3
"""Times BlockScale beside other libraries on the same cores, by turns in one run.

    pip install torch==2.13.0+cpu torchao==0.18.0 "mlx[cpu]" pywhispercpp
    swift build -c release --package-path Benchmarks
    python3 Benchmarks/peers.py products
    python3 Benchmarks/peers.py products --tier avx2    # torch in FP32, limited to AVX2
    python3 Benchmarks/peers.py quantize
    python3 Benchmarks/peers.py layers
    python3 Benchmarks/peers.py fp4                     # products with NVFP4 weights elsewhere
    python3 Benchmarks/peers.py train                   # training steps of a Llama; pip install transformers

In every round each contestant has its turn, after a pause: torch's idle threads spin for some
milliseconds and would take a core from whoever comes next. Ratios are medians of the rounds' own.

On a rented machine another guest may use the same core's multiplier for seconds at a time. Products
therefore take many short rounds and show, beside the ratio of them all, that of the quiet ones: those
before and after which the tier's ceiling was at least QUIET of the highest of the run so far.
"""

import argparse
import ctypes
import glob
import os
import statistics
import subprocess
import sys
import time

PAUSE = 0.03
QUIET = 0.85


class BlockScale:
    """The benchmark program, which waits for requests."""

    def __init__(self):
        here = os.path.dirname(os.path.abspath(__file__))
        program = os.path.join(here, ".build/release/benchmark")
        if not os.path.exists(program):
            raise SystemExit("build it first: swift build -c release --package-path Benchmarks")
        self.process = subprocess.Popen(
            [program, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words):
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise SystemExit(f"the benchmark program stopped at: {' '.join(map(str, words))}")
        return answer

    def prepare(self, operation, m, n, k, tier=""):
        return self.ask("prepare", operation, operation, m, n, k, *([tier] if tier else [])).split()

    def seconds(self, operation, count):
        return float(self.ask("run", operation, count))

    def ceiling(self, tier, rounds):
        return float(self.ask("ceiling", tier, rounds))


def median_seconds(work, count):
    work()
    times = []
    for _ in range(count):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def by_turns(rounds, peer, ours, operations, count, between=lambda: None):
    """The seconds of each round: the peer's, and ours by operation.

    `between` is called before, between and after the rounds.
    """
    peers, own = [], {operation: [] for operation in operations}
    for _ in range(rounds):
        time.sleep(PAUSE)
        between()
        peers.append(median_seconds(peer, count))
        time.sleep(PAUSE)
        for operation in operations:
            own[operation].append(ours.seconds(operation, count))
    between()
    return peers, own


def ratio_text(pairs):
    ratios = [peer / own for peer, own in pairs]
    return f"{statistics.median(ratios):7.2f} ({min(ratios):.2f}, {max(ratios):.2f})"


def quiet_text(pairs):
    ratios = [peer / own for peer, own in pairs]
    return f"{statistics.median(ratios):7.2f} in {len(ratios):3d}" if ratios else "      - in   0"


def products(arguments):
    import torch

    torch.set_num_threads(arguments.threads)
    ours = BlockScale()
    k = arguments.k
    # What a gradient costs beside the same shape forward.
    peer_of = {"fp8-wgrad": "wgrad", "bf16-wgrad": "wgrad"}
    dtype = torch.float32 if arguments.tier == "avx2" else torch.bfloat16
    print(f"torch {torch.__version__}, {dtype}, {arguments.threads} threads, K = {k}; "
          "rates are medians, ratios by round (least, most)")
    print("operation        M      N   torch GF    ours GF          ratio         quiet rounds   "
          "ceiling GF  of ceiling")
    highest = 0
    for n in arguments.n:
        for m in arguments.m:
            work = 2 * m * n * k
            count = max(1, min(30, 4_000_000_000 // (m * n * k)))
            x = torch.randn(m, k).to(dtype)
            # More weights than the caches hold, as in a model.
            copies = max(1, 300_000_000 // (n * k * 2)) if m <= 8 else 1
            weights = [(torch.randn(n, k) * 0.02).to(dtype) for _ in range(copies)]
            turn = [0]

            def forward():
                turn[0] = (turn[0] + 1) % len(weights)
                torch.nn.functional.linear(x, weights[turn[0]])

            gradient = torch.randn(k, m).to(dtype)
            inputs = torch.randn(k, n).to(dtype)

            def wgrad():
                gradient.t() @ inputs

            for kind, peer in (("forward", forward), ("wgrad", wgrad)):
                operations = [operation for operation in arguments.operation
                              if peer_of.get(operation, "forward") == kind]
                if not operations:
                    continue
                for operation in operations:
                    tier = ours.prepare(operation, m, n, k, arguments.tier)[1]
                ceilings = []
                peers, own = by_turns(arguments.rounds, peer, ours, operations, count,
                                      lambda: ceilings.append(ours.ceiling(tier, 1)))
                highest = max(highest, ours.ceiling(tier, 5), *ceilings)
                quiet = [min(pair) >= QUIET * highest for pair in zip(ceilings, ceilings[1:])]
                for operation in operations:
                    rate = work / statistics.median(own[operation])
                    pairs = list(zip(peers, own[operation]))
                    print(f"{operation:12s} {m:5d}  {n:5d} "
                          f"{work / statistics.median(peers) * 1e-9:10.0f} {rate * 1e-9:10.0f} "
                          f"{ratio_text(pairs)}  "
                          f"{quiet_text(pair for pair, is_quiet in zip(pairs, quiet) if is_quiet)}  "
                          f"{highest * 1e-9:10.0f}  {rate / highest:8.2f}  {tier}", flush=True)


def layers(arguments):
    import torch

    torch.set_num_threads(arguments.threads)
    ours = BlockScale()
    print(f"torch {torch.__version__} nn.Linear in BF16, forward and backward")
    print("layer         M      N      K   torch ms    ours ms          ratio")
    for m, n, k in ((2048, 4096, 4096), (512, 4096, 4096)):
        layer = torch.nn.Linear(k, n, bias=False).bfloat16()
        x = torch.randn(m, k).bfloat16().requires_grad_()
        gradient = torch.randn(m, n).bfloat16()

        def step():
            layer(x).backward(gradient)

        operations = ["layer-bf16", "layer-fp8", "layer-nvfp4"]
        for operation in operations:
            ours.prepare(operation, m, n, k)
        peers, own = by_turns(arguments.rounds, step, ours, operations, 3)
        for operation in operations:
            print(f"{operation:11s} {m:4d}  {n:5d}  {k:5d} {statistics.median(peers) * 1e3:10.1f} "
                  f"{statistics.median(own[operation]) * 1e3:10.1f} "
                  f"{ratio_text(zip(peers, own[operation]))}", flush=True)


def train(arguments):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(arguments.threads)
    ours = BlockScale()
    tokens, vocabulary = 1024, 4096
    print(f"torch {torch.__version__}, a Llama of 4 layers in BF16 with fused AdamW and clipping, "
          f"{arguments.threads} threads, {tokens} tokens a step")
    print("recipe      hidden   torch ms    ours ms          ratio")
    for hidden in arguments.hidden:
        model = LlamaForCausalLM(LlamaConfig(
            vocab_size=vocabulary, hidden_size=hidden, intermediate_size=hidden * 11 // 4,
            num_hidden_layers=4, num_attention_heads=hidden // 64,
            num_key_value_heads=max(1, hidden // 128), max_position_embeddings=512,
            attn_implementation="sdpa", use_cache=False)).bfloat16()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        x = torch.randint(0, vocabulary, (tokens // 512, 512))

        def step():
            optimizer.zero_grad()
            logits = model(x).logits
            torch.nn.functional.cross_entropy(
                logits.view(-1, vocabulary).float(), x.view(-1)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

        operations = [f"train-{recipe}" for recipe in arguments.recipe]
        for operation in operations:
            ours.prepare(operation, tokens, hidden, vocabulary)
        peers, own = by_turns(arguments.rounds, step, ours, operations, 1)
        for operation in operations:
            print(f"{operation[6:]:10s} {hidden:7d} {statistics.median(peers) * 1e3:10.1f} "
                  f"{statistics.median(own[operation]) * 1e3:10.1f} "
                  f"{ratio_text(zip(peers, own[operation]))}", flush=True)


def quantize(arguments):
    import torch

    torch.set_num_threads(arguments.threads)
    float8 = torch.float8_e4m3fn
    ours = BlockScale()
    rows, columns = 4096, arguments.k
    values = (torch.randn(rows, columns) * 0.02).bfloat16()

    def blocks(x, height, width):
        return x.float().view(rows // height, height, columns // width, width)

    def fp8(height, width):
        def work(x):
            v = blocks(x, height, width)
            scales = v.abs().amax((1, 3), keepdim=True).clamp(min=1e-12) / 448
            return (v / scales).clamp(-448, 448).to(float8).view(rows, columns), scales
        return work

    def unfp8(height, width):
        def work(codes, scales):
            return (blocks(codes, height, width) * scales).bfloat16().view(rows, columns)
        return work

    def peers_of(operation):
        size = (1, 128) if "1x128" in operation else (128, 128)
        if operation.startswith("quantize-fp8"):
            yield "torch", lambda: fp8(*size)(values)
            compiled = torch.compile(fp8(*size), dynamic=False)
            yield "torch.compile", lambda: compiled(values)
        elif operation.startswith("dequantize-fp8"):
            codes, scales = fp8(*size)(values)
            compiled = torch.compile(unfp8(*size), dynamic=False)
            yield "torch.compile", lambda: compiled(codes, scales)
        else:
            try:
                from torchao.prototype.mx_formats.nvfp4_tensor import (
                    NVFP4Tensor, per_tensor_amax_to_scale)
            except ImportError:
                print("torchao is not installed: skipped for NVFP4", file=sys.stderr)
            else:
                def quantized():
                    return NVFP4Tensor.to_nvfp4(
                        values, 16, per_tensor_amax_to_scale(values.abs().max()))
                if operation.startswith("quantize"):
                    yield "torchao", quantized
                else:
                    tensor = quantized()
                    yield "torchao", lambda: tensor.dequantize(torch.bfloat16)
            try:
                import mlx.core as mx
            except ImportError:
                print("mlx is not installed: skipped for NVFP4", file=sys.stderr)
            else:
                array = mx.array(values.float().numpy()).astype(mx.bfloat16)
                mx.eval(array)
                if operation.startswith("quantize"):
                    yield "mlx", lambda: mx.eval(*mx.quantize(array, mode="nvfp4"))
                else:
                    parts = mx.quantize(array, mode="nvfp4")
                    mx.eval(*parts)
                    yield "mlx", lambda: mx.eval(mx.dequantize(*parts, mode="nvfp4"))

    size = rows * columns * 2
    print(f"{rows}x{columns} BF16, GB/s of BF16; ours over the peer by round")
    print("operation                peer            peer GB/s  ours GB/s      ratio")
    for operation in ("quantize-fp8-1x128", "quantize-fp8-128x128", "quantize-nvfp4",
                      "dequantize-fp8-1x128", "dequantize-fp8-128x128", "dequantize-nvfp4"):
        ours.prepare(operation, rows, 1, columns)
        for name, peer in peers_of(operation):
            peers, own = by_turns(arguments.rounds, peer, ours, [operation], 3)
            print(f"{operation:24s} {name:14s} {size / statistics.median(peers) * 1e-9:10.2f} "
                  f"{size / statistics.median(own[operation]) * 1e-9:10.2f} "
                  f"{ratio_text(zip(peers, own[operation]))}", flush=True)


class GGML:
    """ggml's products, from the library inside the wheel of pywhispercpp."""

    class Parameters(ctypes.Structure):
        _fields_ = [("size", ctypes.c_size_t), ("buffer", ctypes.c_void_p),
                    ("no_alloc", ctypes.c_bool)]

    F32, NVFP4 = 0, 40

    def __init__(self):
        import importlib.util
        place = importlib.util.find_spec("pywhispercpp")
        if place is None:
            raise ImportError("pywhispercpp is not installed")
        folder = os.path.dirname(os.path.dirname(place.origin))
        def library(name):
            found = glob.glob(os.path.join(folder, "pywhispercpp.libs", name + "-*.so*"))
            return ctypes.CDLL(found[0], mode=ctypes.RTLD_GLOBAL)
        library("libgomp")
        self.base, self.cpu = library("libggml-base"), library("libggml-cpu")
        pointer = ctypes.c_void_p
        for name, result, arguments in (
                ("ggml_init", pointer, [self.Parameters]),
                ("ggml_new_tensor_2d",
                 pointer, [pointer, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]),
                ("ggml_mul_mat", pointer, [pointer, pointer, pointer]),
                ("ggml_new_graph", pointer, [pointer]),
                ("ggml_build_forward_expand", None, [pointer, pointer]),
                ("ggml_get_data", pointer, [pointer]),
                ("ggml_quantize_chunk", ctypes.c_size_t,
                 [ctypes.c_int, pointer, pointer, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64,
                  pointer])):
            function = getattr(self.base, name)
            function.restype, function.argtypes = result, arguments
        self.cpu.ggml_graph_compute_with_ctx.argtypes = [pointer, pointer, ctypes.c_int]
        self.cpu.ggml_cpu_init()

    def product(self, m, n, k, threads):
        import torch
        context = self.base.ggml_init(self.Parameters(2_000_000_000, None, False))
        w = self.base.ggml_new_tensor_2d(context, self.NVFP4, k, n)
        x = self.base.ggml_new_tensor_2d(context, self.F32, k, m)
        values, rows = torch.randn(n, k) * 0.02, torch.randn(m, k)
        self.base.ggml_quantize_chunk(
            self.NVFP4, values.data_ptr(), self.base.ggml_get_data(w), 0, n, k, None)
        ctypes.memmove(self.base.ggml_get_data(x), rows.data_ptr(), 4 * m * k)
        y = self.base.ggml_mul_mat(context, w, x)
        graph = self.base.ggml_new_graph(context)
        self.base.ggml_build_forward_expand(graph, y)
        # Its work buffer comes from the context at each call, which has room for these.
        return lambda: self.cpu.ggml_graph_compute_with_ctx(context, graph, threads)


def fp4(arguments):
    import torch

    torch.set_num_threads(arguments.threads)
    ours = BlockScale()
    n, k = 4096, arguments.k

    def contestants(m):
        try:
            import mlx.core as mx
        except ImportError:
            print("mlx is not installed: skipped", file=sys.stderr)
        else:
            w = mx.quantize(mx.random.normal((n, k)).astype(mx.bfloat16), mode="nvfp4")
            x = mx.random.normal((m, k)).astype(mx.bfloat16)
            mx.eval(x, *w)
            yield "mlx", lambda: mx.eval(
                mx.quantized_matmul(x, *w, transpose=True, mode="nvfp4"))
        try:
            from torchao.prototype.mx_formats.nvfp4_tensor import (
                NVFP4Tensor, per_tensor_amax_to_scale)
        except ImportError:
            print("torchao is not installed: skipped", file=sys.stderr)
        else:
            weight = (torch.randn(n, k) * 0.02).bfloat16()
            tensor = NVFP4Tensor.to_nvfp4(
                weight, 16, per_tensor_amax_to_scale(weight.abs().max()))
            x2 = torch.randn(m, k).bfloat16()
            yield "torchao", lambda: torch.nn.functional.linear(
                x2, tensor.dequantize(torch.bfloat16))
        try:
            ggml = GGML()
        except (ImportError, OSError, IndexError) as error:
            print(f"ggml: skipped, {error}", file=sys.stderr)
        else:
            yield "ggml", ggml.product(m, n, k, arguments.threads)

    print("NVFP4 weights, GFLOP/s; ours over the peer by round")
    print("peer          M      N       peer      ours          ratio")
    for m in (1, 64):
        ours.prepare("nvfp4", m, n, k)
        for name, peer in contestants(m):
            peers, own = by_turns(3, peer, ours, ["nvfp4"], 1)
            work = 2 * m * n * k * 1e-9
            print(f"{name:10s} {m:4d}  {n:5d} {work / statistics.median(peers):10.2f} "
                  f"{work / statistics.median(own['nvfp4']):9.1f} "
                  f"{ratio_text(zip(peers, own['nvfp4']))}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for name, function, help_text in (
            ("products", products, "products beside torch"),
            ("layers", layers, "steps of linear layers beside torch"),
            ("quantize", quantize, "quantizing beside torch, torchao and MLX"),
            ("fp4", fp4, "products with NVFP4 weights beside MLX, torchao and ggml"),
            ("train", train, "training steps of a Llama beside torch and transformers")):
        command = commands.add_parser(name, help=help_text)
        command.add_argument("--k", type=int, default=4096)
        command.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
        command.add_argument("--rounds", type=int, default=41 if function is products else 9)
        command.set_defaults(run=function)
        if function is train:
            command.add_argument("--hidden", type=int, nargs="+", default=[512, 1024])
            command.add_argument("--recipe", nargs="+", default=["bf16", "fp8"])
        if function is products:
            command.add_argument("--m", type=int, nargs="+", default=[8, 64, 512, 2048])
            command.add_argument("--n", type=int, nargs="+", default=[4096, 14336])
            command.add_argument("--operation", nargs="+", default=["nvfp4", "fp8-block"])
            command.add_argument("--tier", default="", help="avx2 limits torch as well")
    arguments = parser.parse_args()
    if getattr(arguments, "tier", "") == "avx2":
        # Read when torch is imported.
        os.environ.update(ATEN_CPU_CAPABILITY="avx2", MKL_ENABLE_INSTRUCTIONS="AVX2",
                          ONEDNN_MAX_CPU_ISA="AVX2")
    arguments.run(arguments)


if __name__ == "__main__":
    main()

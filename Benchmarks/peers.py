#!/usr/bin/env python3
"""Times BlockScale's products beside torch's on the same cores, by turns in one run.

    pip install torch==2.13.0+cpu
    swift build -c release --package-path Benchmarks
    python3 Benchmarks/peers.py products

Every round runs each contestant once, in a fresh order of nothing: the same order, with a pause
before each, because torch's idle threads spin for some milliseconds and would take a core from
whoever comes next. Ratios are medians of the rounds' own ratios.
"""

import argparse
import os
import statistics
import subprocess
import time


class BlockScale:
    """The benchmark program, which waits for requests."""

    def __init__(self):
        here = os.path.dirname(os.path.abspath(__file__))
        self.process = subprocess.Popen(
            [os.path.join(here, ".build/release/benchmark"), "serve"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words):
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise SystemExit(f"the benchmark program stopped at: {' '.join(map(str, words))}")
        return answer


def median_seconds(work, count):
    work()
    times = []
    for _ in range(count):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def products(arguments):
    import torch

    torch.set_num_threads(arguments.threads)
    ours = BlockScale()
    k = arguments.k
    dtype = torch.float32 if arguments.tier == "avx2" else torch.bfloat16
    print(f"torch {torch.__version__}, {dtype}, {arguments.threads} threads, K = {k}, "
          f"{arguments.rounds} rounds")
    print("operation        M      N   torch GF    ours GF   ratio (least, most)   "
          "ceiling GF  of ceiling")
    for n in arguments.n:
        for m in arguments.m:
            x = torch.randn(m, k).to(dtype)
            w = (torch.randn(n, k) * 0.02).to(dtype)
            weights = [w]
            if m <= 8:
                # More weights than the caches hold, as in a model.
                copies = max(1, 300_000_000 // (n * k * 2))
                weights += [w.clone() for _ in range(copies)]
            turn = [0]

            def peer():
                turn[0] = (turn[0] + 1) % len(weights)
                torch.nn.functional.linear(x, weights[turn[0]])

            tier = ""
            for operation in arguments.operation:
                answer = ours.ask("prepare", operation, operation, m, n, k, *(
                    [arguments.tier] if arguments.tier else []))
                tier = answer.split()[1]
            count = max(3, min(30, 4_000_000_000 // (m * n * k)))
            rates = {operation: [] for operation in arguments.operation}
            ratios = {operation: [] for operation in arguments.operation}
            peers, ceilings = [], []
            work = 2 * m * n * k
            for _ in range(arguments.rounds):
                time.sleep(0.03)
                peer_seconds = median_seconds(peer, count)
                peers.append(work / peer_seconds * 1e-9)
                time.sleep(0.03)
                for operation in arguments.operation:
                    seconds = float(ours.ask("run", operation, count))
                    rates[operation].append(work / seconds * 1e-9)
                    ratios[operation].append(peer_seconds / seconds)
                ceilings.append(float(ours.ask("ceiling", tier)) * 1e-9)
            ceiling = statistics.median(ceilings)
            for operation in arguments.operation:
                rate = statistics.median(rates[operation])
                ratio = ratios[operation]
                print(f"{operation:12s} {m:5d}  {n:5d} {statistics.median(peers):10.0f} "
                      f"{rate:10.0f}   {statistics.median(ratio):5.2f} "
                      f"({min(ratio):.2f}, {max(ratio):.2f})     {ceiling:10.0f}  "
                      f"{rate / ceiling:8.2f}  {tier}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("products", help="forward and backward products against torch")
    command.add_argument("--m", type=int, nargs="+", default=[8, 64, 512, 2048])
    command.add_argument("--n", type=int, nargs="+", default=[4096, 14336])
    command.add_argument("--k", type=int, default=4096)
    command.add_argument("--operation", nargs="+", default=["nvfp4", "fp8-block"])
    command.add_argument("--tier", default="", help="avx2 compares with torch's FP32")
    command.add_argument("--threads", type=int, default=os.cpu_count())
    command.add_argument("--rounds", type=int, default=9)
    command.set_defaults(run=products)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cuts checkpoints that other tools wrote down to Tests/Vectors/checkpoints.

Usage: checkpoint_vectors.py FOLDER

FOLDER holds a tiny Llama and gpt-oss (`source_*`) and what llm-compressor 0.14
(compressed-tensors 0.19), ModelOpt 0.47 and mlx-lm 0.32 made of them. Kept are the first layer's
q, k, v, gate, up and down projections, the head and the first norm; of gpt-oss, the experts'
down projection. Bytes, types and shapes stay as the producer wrote them.
"""
import json
import pathlib
import re
import struct
import sys

LLAMA = re.compile(r"layers\.0\.(input_layernorm|.*\.[qkv]_proj|.*\.(gate|up|down)_proj)|lm_head")
GPT_OSS = re.compile(r"layers\.0\.mlp\.experts\.down_proj|layers\.0\.self_attn\.sinks")
NAMES = {
    "source_bf16": "source",
    "NVFP4A16_bf16": "llm-compressor-nvfp4a16",
    "MXFP4A16_bf16": "llm-compressor-mxfp4a16",
    "FP8_BLOCK_bf16": "llm-compressor-fp8-block",
    "modelopt_W4A16_NVFP4_CFG_bf16": "modelopt-w4a16-nvfp4",
    "modelopt_MXFP8_DEFAULT_CFG_bf16": "modelopt-mxfp8",
    "mlx_nvfp4_bf16": "mlx-nvfp4",
    "source_gptoss_bf16": "gpt-oss-source",
    "modelopt_NVFP4_DEFAULT_CFG_gptoss": "gpt-oss-modelopt-nvfp4",
}


def main():
    source = pathlib.Path(sys.argv[1])
    target = pathlib.Path(__file__).parent.parent / "Tests" / "Vectors" / "checkpoints"
    for folder, name in NAMES.items():
        kept = GPT_OSS if "gptoss" in folder else LLAMA
        data = (source / folder / "model.safetensors").read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8 : 8 + size])
        new, body = {}, b""
        if "__metadata__" in header:
            new["__metadata__"] = header.pop("__metadata__")
        for tensor, info in header.items():
            if not kept.search(tensor):
                continue
            begin, end = info["data_offsets"]
            info["data_offsets"] = [len(body), len(body) + end - begin]
            body += data[8 + size + begin : 8 + size + end]
            new[tensor] = info
        text = json.dumps(new, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        folder_out = target / name
        folder_out.mkdir(parents=True, exist_ok=True)
        (folder_out / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
        config = (source / folder / "config.json").read_text()
        (folder_out / "config.json").write_text(config)


main()

"""Splits a file of quant_golden_more.py into one of each source type, so that vectors stay small files.

usage: quant_golden_split.py IN.safetensors OUT_PREFIX [bf16] [f16] [f32]
Writes OUT_PREFIX_bf16.safetensors and so on, byte for byte, with the metadata of IN.
"""
import json, struct, sys

path, prefix, kinds = sys.argv[1], sys.argv[2], sys.argv[3:] or ["bf16", "f16", "f32"]
with open(path, "rb") as file:
    header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    data = file.read()
metadata = header.pop("__metadata__")
for kind in kinds:
    entries, body = {"__metadata__": dict(sorted(metadata.items()))}, b""
    # Wide elements first, so that every tensor is aligned.
    names = sorted((n for n in header if n.startswith(kind + ".")),
                   key=lambda n: ({"F32": 0, "BF16": 1, "F16": 1}.get(header[n]["dtype"], 2), n))
    for name in names:
        start, end = header[name]["data_offsets"]
        entries[name] = header[name] | {"data_offsets": [len(body), len(body) + end - start]}
        body += data[start:end]
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(f"{prefix}_{kind}.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + body)

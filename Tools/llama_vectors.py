#!/usr/bin/env python3
"""Writes a small random Llama by transformers with its logits, loss and gradients.

    pip install torch==2.13.0+cpu transformers==5.17.0
    python3 Tools/llama_vectors.py Tests/Vectors/llama
"""

import sys

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(4)
folder = sys.argv[1]
configuration = LlamaConfig(
    vocab_size=96, hidden_size=64, intermediate_size=112, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, head_dim=18, max_position_embeddings=256,
    rms_norm_eps=1e-5, tie_word_embeddings=False, initializer_range=0.15,
    rope_parameters={"rope_type": "llama3", "rope_theta": 5000.0, "factor": 8.0,
                     "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                     "original_max_position_embeddings": 32})
model = LlamaForCausalLM(configuration)
with torch.no_grad():
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.add_(torch.randn_like(parameter) * 0.2)
model = model.bfloat16()
model.save_pretrained(folder)

tokens = torch.randint(0, 96, (2, 48))
# The same weights, all else in FP32.
wide = LlamaForCausalLM(configuration).float()
wide.load_state_dict({name: value.float() for name, value in model.state_dict().items()})
logits = wide(tokens[:, :-1]).logits
loss = torch.nn.functional.cross_entropy(logits.reshape(-1, 96), tokens[:, 1:].reshape(-1))
loss.backward()
narrow = model(tokens[:, :-1]).logits
tensors = {"tokens": tokens.int(), "logits": logits.detach().contiguous(),
           "logits_bfloat16": narrow.detach().contiguous(), "loss": loss.detach()}
for name, parameter in wide.named_parameters():
    tensors[f"gradient.{name}"] = parameter.grad.bfloat16()
save_file(tensors, f"{folder}_expected.safetensors")
error = (narrow.float() - logits).norm() / logits.norm()
print(f"loss {loss.item():.5f}, relative error of BF16 logits {error.item():.5f}")

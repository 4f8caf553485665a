"""GGUF models for the command line."""

import math
from collections import Counter
from itertools import groupby
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest

import pyqbits
from pyqbits import gguf

METADATA = gguf.Metadata({"general.architecture": "llama", "llama.block_count": 1, "general.file_type": 0})


def tensors():
    rng = np.random.default_rng(4)

    def normal(*shape):
        return rng.standard_normal(shape, np.float32)

    raw = rng.integers(0, 256, (6, 2 * 18), np.uint8)
    raw.reshape(-1, 18)[:, 1] = 0x2C  # scales that are ordinary numbers
    return {
        "token_embd.weight": normal(20, 256),
        "blk.0.attn_norm.weight": normal(256),
        "blk.0.attn_q.weight": normal(9, 512).astype(np.float16),
        "blk.0.attn_v.weight": normal(3, 256).astype(ml_dtypes.bfloat16),
        "blk.0.ffn_up.weight": pyqbits.QArray.from_bytes(raw, "q4_0", (6, 64)),
        "blk.0.ffn_down_exps.weight": normal(2, 3, 96),
        "blk.0.ffn_gate_inp.weight": normal(4, 256),
        "blk.0.odd.weight": normal(5, 33),
        "blk.0.double.weight": normal(2, 256).astype(np.float64),
        "blk.0.attn_q.bias": normal(512),
        "ids.weight": np.arange(6, dtype=np.int32).reshape(2, 3),
        "none.weight": normal(0, 256),
    }


QUANTIZED = {
    "token_embd.weight", "blk.0.attn_q.weight", "blk.0.attn_v.weight", "blk.0.ffn_up.weight",
    "blk.0.ffn_down_exps.weight", "blk.0.odd.weight", "blk.0.double.weight",
}  # fmt: skip


@pytest.fixture
def gguf_model(tmp_path):
    gguf.save(tmp_path / "model.gguf", tensors(), METADATA)
    return tmp_path / "model.gguf"


def llama_model(layers, width, ff, heads, kv, tied, experts, arch="llama", parts=()):
    """A header of a model as those of `data/llama_mixes.json`; `parts` are what it has unlike most."""
    shapes = {"token_embd.weight": (32, width), "output_norm.weight": (width,)}
    if "per_layer" in parts:
        shapes["per_layer_token_embd.weight"] = (32, width)
    if not tied:
        shapes["output.weight"] = (32, width)
    ffn = {"ffn_gate": (ff, width), "ffn_up": (ff, width), "ffn_down": (width, ff)}
    narrow = (width // heads * kv, width)
    for i in range(layers):
        layer = {"attn_norm": (width,), "ffn_norm": (width,), "attn_output": (width, width)}
        if "fused" in parts:
            layer["attn_qkv"] = (width + 2 * narrow[0], width)
        else:
            layer |= {"attn_q": (width, width), "attn_k": narrow}
            layer["attn_kv_b" if "compressed" in parts and i % 2 else "attn_v"] = narrow
        if not experts or ("dense" in parts and i < 2):
            layer |= ffn
        elif "split" in parts:
            layer |= {f"{name}.{e}": shape for name, shape in ffn.items() for e in range(experts)}
        else:
            layer |= {f"{name}_exps": (experts, *shape) for name, shape in ffn.items()}
            layer |= {f"{name}_shexp": shape for name, shape in ffn.items()} if "shared" in parts else {}
            layer["ffn_gate_inp"] = (experts, width)
        shapes |= {f"blk.{i}.{name}.weight": shape for name, shape in layer.items()}
    metadata = {
        "block_count": layers, "attention.head_count": heads, "attention.head_count_kv": kv,
        "expert_count": experts, "expert_used_count": min(experts, 2), "context_length": 512,
        "embedding_length": width, "feed_forward_length": ff, "vocab_size": 32,
        "attention.layer_norm_rms_epsilon": 1e-5, "attention.layer_norm_epsilon": 1e-5,
    }  # fmt: skip
    if "by_layer" in parts:
        metadata |= {"attention.head_count": [heads] * layers, "attention.head_count_kv": [kv] * layers}
    metadata = {"general.architecture": arch, **{f"{arch}.{key}": value for key, value in metadata.items()}}
    infos = {n: gguf.TensorInfo(n, "f32", shape, 0, 4 * math.prod(shape)) for n, shape in shapes.items()}
    return SimpleNamespace(tensors=infos, metadata=gguf.Metadata(metadata))


def by_part(types):
    """Types of tensors as `data/llama_mixes.json` has them: by what a tensor is, with runs of layers."""
    found = {}
    for name in sorted(types, key=lambda name: (int(name.split(".")[1]) if "blk." in name else -1, name)):
        if types[name] != "f32":
            part = name.removesuffix(".weight").split(".")
            found.setdefault(part[2 if part[0] == "blk" else 0], []).append(types[name])
    texts = {}
    for part, all_types in found.items():
        runs = [(type, len(list(run))) for type, run in groupby(all_types)]
        counts = [f"{type}*{count}" if count > 1 else type for type, count in runs]
        texts[part] = " ".join(counts) if len(runs) > 1 else all_types[0]
    usual = Counter(texts.values()).most_common(1)[0][0]
    return {"*": usual, **{part: text for part, text in texts.items() if text != usual}}

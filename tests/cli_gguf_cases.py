"""GGUF models for the command line."""

import math
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


def llama_model(layers, width, ff, heads, kv, tied, experts):
    """A header of a model as the files of `llama_mixes.json` were made from."""
    shapes = {"token_embd.weight": (32, width), "output_norm.weight": (width,)}
    if not tied:
        shapes["output.weight"] = (32, width)
    ffn = {"ffn_gate": (ff, width), "ffn_up": (ff, width), "ffn_down": (width, ff)}
    for i in range(layers):
        layer = {"attn_norm": (width,), "ffn_norm": (width,), "attn_q": (width, width)}
        layer |= {"attn_k": (width // heads * kv, width), "attn_v": (width // heads * kv, width)}
        layer |= {"attn_output": (width, width), **({} if experts else ffn)}
        if experts:
            layer |= {f"{name}_exps": (experts, *shape) for name, shape in ffn.items()}
            layer["ffn_gate_inp"] = (experts, width)
        shapes |= {f"blk.{i}.{name}.weight": shape for name, shape in layer.items()}
    metadata = {
        "general.architecture": "llama", "llama.block_count": layers, "llama.attention.head_count": heads,
        "llama.attention.head_count_kv": kv, "llama.expert_count": experts,
    }  # fmt: skip
    infos = {n: gguf.TensorInfo(n, "f32", shape, 0, 4 * math.prod(shape)) for n, shape in shapes.items()}
    return SimpleNamespace(tensors=infos, metadata=metadata)

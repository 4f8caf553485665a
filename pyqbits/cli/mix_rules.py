"""What llama.cpp's mixes give to each weight of a model."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from pyqbits import gguf

from ..gguf.types import TYPES


class Mix(NamedTuple):
    """A mix: what most weights get, and its number in "general.file_type"."""

    base: str
    file_type: int


MIXES = {
    "f32": Mix("f32", 0), "f16": Mix("f16", 1), "bf16": Mix("bf16", 32),
    "q4_0": Mix("q4_0", 2), "q4_1": Mix("q4_1", 3), "q5_0": Mix("q5_0", 8), "q5_1": Mix("q5_1", 9),
    "q8_0": Mix("q8_0", 7), "q2_K": Mix("q2_K", 10), "q2_K_S": Mix("q2_K", 21), "q3_K_S": Mix("q3_K", 11),
    "q3_K_M": Mix("q3_K", 12), "q3_K_L": Mix("q3_K", 13), "q4_K_S": Mix("q4_K", 14),
    "q4_K_M": Mix("q4_K", 15), "q5_K_S": Mix("q5_K", 16), "q5_K_M": Mix("q5_K", 17), "q6_K": Mix("q6_K", 18),
    "iq1_s": Mix("iq1_s", 24), "iq1_m": Mix("iq1_m", 31), "iq2_xxs": Mix("iq2_xxs", 19),
    "iq2_xs": Mix("iq2_xs", 20), "iq2_s": Mix("iq2_xs", 28), "iq2_m": Mix("iq2_s", 29),
    "iq3_xxs": Mix("iq3_xxs", 23), "iq3_xs": Mix("iq3_s", 22), "iq3_s": Mix("iq3_s", 26),
    "iq3_m": Mix("iq3_s", 27), "iq4_nl": Mix("iq4_nl", 25), "iq4_xs": Mix("iq4_xs", 30),
    "q1_0": Mix("q1_0", 40), "q2_0": Mix("q2_0", 41), "tq1_0": Mix("tq1_0", 36), "tq2_0": Mix("tq2_0", 37),
    "mxfp4_moe": Mix("mxfp4", 38),
}  # fmt: skip

# The smallest mixes have rules of their own, and one better type each for what matters most.
SMALLEST = {
    "iq1_s": "q2_K", "iq1_m": "q2_K", "iq2_xxs": "q2_K", "iq2_xs": "q2_K", "iq2_s": "iq3_s", "iq2_m": "iq3_s",
}  # fmt: skip

# What embeddings get in other mixes, where they are not their main type.
EMBEDDED = {"iq3_xxs": "iq3_s", "q2_0": "q4_K", "tq1_0": "q4_K", "tq2_0": "q4_K"}

# What a weight is, by the first of these that its name has.
KINDS = {
    "attn_qkv.weight": "value", "attn_kv_b.weight": "value", "attn_v.weight": "value", "attn_k.weight": "key",
    "attn_q.weight": "query", "attn_output.weight": "result",
    "ffn_up": "up", "ffn_gate": "gate", "ffn_down": "down",
}  # fmt: skip
EMBEDDINGS = ("token_embd.weight", "per_layer_token_embd.weight")
LAYER = re.compile(r"blk\.([0-9]{1,9})\.")

# The models that count as of 70 billion weights: how many layers they have, by architecture.
LARGE = {"llama": 80, "llama-embed": 80, "deci": 80, "olmo": 80, "qwen2": 80, "jais2": 68}


class Model:
    """What the mixes ask of a model.

    `weights` are the names of what is quantized, as long as nothing else is asked for. `weighted` says that
    quantizers know the importance of columns: some mixes then differ.
    """

    def __init__(self, file: gguf.File, weights: Iterable[str], weighted: bool) -> None:
        self.weighted = weighted
        arch = file.metadata.get("general.architecture", "")

        def number(key: str, otherwise: int) -> int:
            value = file.metadata.get(f"{arch}.{key}", otherwise)
            if isinstance(value, gguf.Array) and value:
                value = value[0]  # of the first layer
            return value if isinstance(value, int) else otherwise

        self.tied = "output.weight" not in file.tensors
        self.falcon = arch == "falcon"
        self.layers = number("block_count", 0)
        heads = number("attention.head_count", 0)
        key_heads = number("attention.head_count_kv", heads)
        self.shared = key_heads > 0 and heads // key_heads >= 4  # few matrices of keys and values
        self.experts = number("expert_count", 0)
        self.large = self.layers == LARGE.get(arch) and (not arch.startswith("llama") or heads != key_heads)
        self.value_count = sum(kind(name) == "value" for name in file.tensors)
        # How many of its kind come before a weight; not quite its layer, where layers differ.
        self.places: dict[str, int] = {}
        counts = Counter[str]()
        for name in sorted(weights, key=lambda name: (layer(name, -1), name)):
            self.places[name] = counts[kind(name)]
            counts[kind(name)] += 1

    def mixed(self, info: gguf.TensorInfo, mix: str) -> str:
        """What a mix gives to a weight."""
        base, name, what = MIXES[mix].base, info.name, kind(info.name)
        if name == "output.weight" or (name in EMBEDDINGS and self.tied):
            return self.output_type(info, mix)
        if mix == "mxfp4_moe":  # experts are together in one tensor
            return base if len(info.shape) > 2 and info.shape[-3] > 1 else "q8_0"
        place = self.places.get(name, layer(name))
        if mix in SMALLEST:
            return SMALLEST[mix] if name in EMBEDDINGS else self.smallest_type(what, place, mix)
        if name in EMBEDDINGS:
            return EMBEDDED.get(mix, base)
        if what == "value":
            return "q8_0" if self.experts == 8 else self.value_type(place, mix)
        if what == "key" and self.experts == 8:
            return "q8_0"
        if what in ("key", "query"):
            return {"iq3_xs": "iq3_xxs", "iq3_xxs": "iq2_s"}.get(mix, base)
        if what == "result":
            return self.result_type(mix)
        if self.experts > 1:
            place = layer(name)
        if what == "down":
            return self.down_type(place, mix)
        if what in ("up", "gate") and mix == "iq3_xs":
            return "iq3_xxs" if self.layers // 8 <= place < 7 * self.layers // 8 else base
        return base

    def output_type(self, info: gguf.TensorInfo, mix: str) -> str:
        """Of the matrix that makes a word of what the last layer says."""
        base = MIXES[mix].base
        if self.falcon or mix in ("q8_0", "mxfp4_moe") or info.shape[-1] % TYPES[base].block:
            return "q8_0"
        return "q5_K" if mix in SMALLEST or mix == "iq3_xxs" else "q6_K"

    def smallest_type(self, what: str, place: int, mix: str) -> str:
        """What the smallest mixes give to all but embeddings and output."""
        base, better = MIXES[mix].base, SMALLEST[mix]
        if what == "value":
            return "q4_K" if self.shared or self.experts >= 4 else better
        if what == "key" and self.experts == 8:
            return "q4_K"
        if what == "down" and place < self.layers // 8:
            return better
        if what == "result":
            if self.experts == 8:
                return "q5_K"
            return {"iq1_s": "iq2_xxs", "iq1_m": "iq2_xxs", "iq2_s": better, "iq2_m": better}.get(mix, base)
        return base

    def value_type(self, place: int, mix: str) -> str:
        """Of the matrix that makes values: small, and everything passes through it."""
        found = MIXES[mix].base
        if mix == "q2_K":
            found = "q4_K" if self.shared else "q3_K"
        elif mix == "iq3_xxs" and not self.shared:
            found = "iq3_xxs" if self.weighted else "iq3_s"
        elif mix == "iq3_m" or (mix in ("q2_K_S", "iq3_xxs", "iq3_xs", "iq3_s") and self.shared):
            found = "q4_K"
        elif mix == "q3_K_M":
            found = "q5_K" if place < 2 else "q4_K"
        elif mix == "q3_K_L" or (mix in ("iq4_nl", "iq4_xs") and self.shared):
            found = "q5_K"
        elif mix in ("q4_K_M", "q5_K_M") and more_bits(place, self.value_count):
            found = "q6_K"
        elif mix == "q4_K_S" and place < 4:
            found = "q5_K"
        return "q5_K" if self.large and found in ("q3_K", "q4_K") else found

    def result_type(self, mix: str) -> str:
        """Of the matrix that leads out of an attention layer."""
        base = MIXES[mix].base
        if self.falcon:
            return "q4_K" if mix == "q3_K_L" else base
        if self.experts == 8:
            lighter = base in ("q3_K", "q4_K", "iq3_s", "iq3_xxs", "iq4_nl", "iq4_xs") and mix != "q3_K_L"
            return "q5_K" if lighter or mix == "q2_K" else base
        mixes = {"q2_K": "q3_K", "iq3_xxs": "iq3_s", "iq3_m": "q4_K", "q3_K_M": "q4_K", "q3_K_L": "q5_K"}
        return mixes.get(mix, base)

    def down_type(self, place: int, mix: str) -> str:
        """Of the matrix that leads out of a feed-forward layer."""
        base = MIXES[mix].base
        first = place < self.layers // 16
        early = place < self.layers // 8
        more = more_bits(place, self.layers)
        if mix in ("q2_K_S", "iq3_m"):
            return "q4_K" if early or (mix == "iq3_m" and self.experts == 8 and more) else base
        if mix == "iq3_xxs" and not self.weighted:
            return "q4_K" if early else "q3_K"
        if mix == "q3_K_M":
            return "q5_K" if first else "q4_K" if more or not self.falcon else base
        if mix == "q3_K_L":
            return "q4_K" if self.falcon else "q5_K"
        if mix == "q4_K_M" and self.falcon:
            return "q6_K" if first else "q5_K" if more else base
        if mix in ("q4_K_M", "q5_K_M"):
            return "q6_K" if more else base
        if (mix == "q4_K_S" and not self.falcon) or (mix in ("iq4_nl", "iq4_xs") and not self.weighted):
            return "q5_K" if early else base
        if mix in ("q4_0", "q5_0") and self.weighted and early:
            return {"q4_0": "q4_1", "q5_0": "q5_1"}[mix]
        return "q3_K" if mix == "q2_K" else base


def kind(name: str) -> str:
    return next((kind for part, kind in KINDS.items() if part in name), "")


def layer(name: str, otherwise: int = 0) -> int:
    """The number of the layer that a tensor belongs to."""
    found = LAYER.match(name)
    return int(found[1]) if found else otherwise


def more_bits(place: int, count: int) -> bool:
    """Whether a layer is of those that get more bits: first and last eighth, and every third between."""
    eighth = count // 8
    return place < eighth or place >= 7 * count // 8 or (place - eighth) % 3 == 2

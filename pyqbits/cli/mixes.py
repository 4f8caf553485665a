"""Which type every tensor of a GGUF file gets.

The names of llama.cpp's mixes mean the types that llama.cpp gives to the weights of a model of the Llama
family; any other name is a type for all weights.
"""

import re
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from pyqbits import gguf

from ..gguf.types import TYPES

FLOATS = ("f32", "f16", "bf16")


class Mix(NamedTuple):
    """A mix: what most weights get, and its number in "general.file_type"."""

    base: str
    file_type: int


MIXES = {
    "f32": Mix("f32", 0), "f16": Mix("f16", 1), "bf16": Mix("bf16", 32),
    "q4_0": Mix("q4_0", 2), "q4_1": Mix("q4_1", 3), "q5_0": Mix("q5_0", 8), "q5_1": Mix("q5_1", 9),
    "q8_0": Mix("q8_0", 7), "q2_K": Mix("q2_K", 10), "q3_K_S": Mix("q3_K", 11), "q3_K_M": Mix("q3_K", 12),
    "q3_K_L": Mix("q3_K", 13), "q4_K_S": Mix("q4_K", 14), "q4_K_M": Mix("q4_K", 15),
    "q5_K_S": Mix("q5_K", 16), "q5_K_M": Mix("q5_K", 17), "q6_K": Mix("q6_K", 18),
    "iq4_nl": Mix("iq4_nl", 25), "iq4_xs": Mix("iq4_xs", 30),
}  # fmt: skip

# Types that stand for a whole file of them.
FILE_TYPES = {
    "iq2_xxs": 19, "iq2_xs": 20, "iq3_xxs": 23, "iq1_s": 24, "iq3_s": 26, "iq2_s": 28, "iq1_m": 31,
    "q3_K": 11, "q4_K": 14, "q5_K": 16, "tq1_0": 36, "tq2_0": 37, "mxfp4": 38, "nvfp4": 39, "q1_0": 40,
    "q2_0": 41,
}  # fmt: skip

# What takes the place of a type whose blocks do not divide a row; where that does not fit either, f16.
FALLBACKS = {
    "iq1_s": "iq4_nl", "iq1_m": "iq4_nl", "iq2_xxs": "iq4_nl", "iq2_xs": "iq4_nl", "iq2_s": "iq4_nl",
    "iq3_xxs": "iq4_nl", "iq3_s": "iq4_nl", "iq4_xs": "iq4_nl", "q2_0": "q4_0", "q2_K": "q4_0",
    "q3_K": "q4_0", "tq1_0": "q4_0", "tq2_0": "q4_0", "q4_K": "q5_0", "q5_K": "q5_1", "q6_K": "q8_0",
}  # fmt: skip

# Parts of the names of matrices that llama.cpp takes as floats: routers, convolutions, and other small ones.
KEPT = re.compile(
    r"_norm\.weight|ffn_gate_inp\.weight|altup|laurel|per_layer_model_proj|(^|\.)position_embd"
    r"|^token_types\.weight$|ssm_conv1d|shortconv\.conv\.weight|indexer\.[kq]_proj\.weight|attn_rel_b\.weight"
    r"|time_mix_(first|w[012]|v[012]|a[012]|g[12]|decay_w[12]|lerp_fused)\.weight"
    r"|sam\.(pos_embd|neck\.|net_)|\.(rel_pos|patch_embd|patch_merger)|a\.rvq\.codebook|mm\.a\.code_embd"
)
LAYER = re.compile(r"blk\.([0-9]{1,9})\.")


class Choice(NamedTuple):
    """What to make of a file: a mix, or with `pure` its main type alone, or a type; other types by glob.

    `weighted` says that quantizers know the importance of columns: some mixes then differ.
    """

    name: str
    pure: bool = False
    exceptions: tuple[tuple[str, str], ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    weighted: bool = False

    @property
    def base(self) -> str:
        return MIXES[self.name].base if self.name in MIXES else self.name

    @property
    def file_type(self) -> int | None:
        return MIXES[self.name].file_type if self.name in MIXES else FILE_TYPES.get(self.name)

    def check(self, names: Sequence[str]) -> None:
        """Refuse types that there are not, and patterns that match nothing."""
        known = {mix.base: None for mix in MIXES.values()} | dict.fromkeys(FILE_TYPES)
        for type in (self.base, *(type for _, type in self.exceptions)):
            if type not in known:
                names = ", ".join({**dict.fromkeys(MIXES), **known})
                raise ValueError(f"unknown format {type!r} for a GGUF file; known are {names}")
        for glob in (*self.include, *self.exclude, *(glob for glob, _ in self.exceptions)):
            if not any(fnmatchcase(name, glob) for name in names):
                raise ValueError(f"no tensor name matches {glob!r}")


class Plan(NamedTuple):
    """Types by tensor, and how often rows asked for another than they should have got: (asked, got)."""

    types: dict[str, str]
    fallbacks: Counter[tuple[str, str]]


def plan(file: gguf.File, choice: Choice) -> Plan:
    """Types for all tensors of a file."""
    choice.check(list(file.tensors))
    model = Model(file, choice.weighted)
    types, fallbacks = {}, Counter[tuple[str, str]]()
    for info in file.tensors.values():
        wanted = _wanted(info, choice, model)
        if wanted is None:
            types[info.name] = info.type
            continue
        types[info.name] = fitting(wanted, info.shape[-1])
        if types[info.name] != wanted:
            fallbacks[wanted, types[info.name]] += 1
    return Plan(types, fallbacks)


def fitting(type: str, columns: int) -> str:
    """A type, or what takes its place in rows that its blocks do not divide."""
    while columns % TYPES[type].block:
        type = FALLBACKS.get(type, "f16")
    return type


def _wanted(info: gguf.TensorInfo, choice: Choice, model: "Model") -> str | None:
    """The type of a tensor, whether it fits or not; None where it stays as it is."""

    def matches(globs: Sequence[str]) -> bool:
        return any(fnmatchcase(info.name, glob) for glob in globs)

    dims = len(info.shape) - next((i for i, n in enumerate(info.shape) if n != 1), len(info.shape))
    if dims < 2 or not info.nbytes or (TYPES[info.type].block == 1 and info.type not in (*FLOATS, "f64")):
        return None
    for glob, type in reversed(choice.exceptions):
        if fnmatchcase(info.name, glob):
            return type
    usual = info.name.endswith("weight") and not KEPT.search(info.name)
    if not (matches(choice.include) if choice.include else usual) or matches(choice.exclude):
        return None
    mixed = choice.name in MIXES and choice.base not in FLOATS and not choice.pure
    return model.mixed(info, choice.name) if mixed else choice.base


class Model:
    """What the mixes ask of a model."""

    def __init__(self, file: gguf.File, weighted: bool) -> None:
        self.weighted = weighted
        arch = file.metadata.get("general.architecture", "")

        def number(key: str, otherwise: int) -> int:
            value = file.metadata.get(f"{arch}.{key}", otherwise)
            return value if isinstance(value, int) else otherwise

        self.tied = "output.weight" not in file.tensors
        self.layers = number("block_count", 0)
        heads = number("attention.head_count", 0)
        key_heads = number("attention.head_count_kv", heads)
        self.sharing = heads // key_heads if key_heads else 1
        self.experts = number("expert_count", 0)
        self.values = sorted(layer(name) for name in file.tensors if "attn_v.weight" in name)
        self.value_count = sum(bool(re.search(r"attn_(v|qkv|kv_b)\.weight", name)) for name in file.tensors)
        self.is_70b = arch == "llama" and self.layers == 80 and heads != key_heads

    def mixed(self, info: gguf.TensorInfo, mix: str) -> str:
        """What a mix gives to a weight."""
        base, name = MIXES[mix].base, info.name
        if name == "output.weight" or (name == "token_embd.weight" and self.tied):
            fits = info.shape[-1] % TYPES[base].block == 0
            return "q6_K" if fits and base != "q8_0" else "q8_0"
        if "attn_v.weight" in name:
            return self.value_type(layer(name), mix, base)
        if "attn_k.weight" in name:
            return "q8_0" if self.experts == 8 else base
        if "ffn_down" in name:
            return self.down_type(layer(name), mix, base)
        if "attn_output.weight" in name:
            if self.experts == 8:
                heavier = ("q2_K", "q3_K_S", "q3_K_M", "iq4_nl", "q4_K_S", "q4_K_M", "iq4_xs")
                return "q5_K" if mix in heavier else base
            return {"q2_K": "q3_K", "q3_K_M": "q4_K", "q3_K_L": "q5_K"}.get(mix, base)
        if "attn_qkv.weight" in name:
            mixes = {"q3_K_M": "q4_K", "q3_K_L": "q4_K", "q4_K_M": "q5_K", "q5_K_M": "q6_K"}
            return mixes.get(mix, base)
        return base

    def value_type(self, layer: int, mix: str, base: str) -> str:
        """Of the matrix that makes values: small, and everything passes through it."""
        place = self.values.index(layer)
        if mix == "q2_K":
            found = "q4_K" if self.sharing >= 4 else "q3_K"
        elif mix == "q3_K_M":
            found = "q5_K" if place < 2 else "q4_K"
        elif mix == "q3_K_L" or (mix in ("iq4_nl", "iq4_xs") and self.sharing >= 4):
            found = "q5_K"
        elif mix in ("q4_K_M", "q5_K_M") and more_bits(place, self.value_count):
            found = "q6_K"
        elif mix == "q4_K_S" and place < 4:
            found = "q5_K"
        else:
            found = base
        if self.is_70b and found in ("q3_K", "q4_K"):
            found = "q5_K"
        return "q8_0" if self.experts == 8 else found

    def down_type(self, layer: int, mix: str, base: str) -> str:
        """Of the matrix that leads out of a feed-forward layer."""
        first_eighth = layer < self.layers // 8
        if mix == "q3_K_M":
            return "q5_K" if layer < self.layers // 16 else "q4_K"
        if mix in ("q4_K_M", "q5_K_M"):
            return "q6_K" if more_bits(layer, self.layers) else base
        if mix == "q4_K_S" or (mix in ("iq4_nl", "iq4_xs") and not self.weighted):
            return "q5_K" if first_eighth else base
        if mix in ("q4_0", "q5_0") and self.weighted and first_eighth:
            return {"q4_0": "q4_1", "q5_0": "q5_1"}[mix]
        return {"q2_K": "q3_K", "q3_K_L": "q5_K"}.get(mix, base)


def layer(name: str) -> int:
    """The number of the layer that a tensor belongs to, 0 where it is in none."""
    found = LAYER.search(name)
    return int(found[1]) if found else 0


def more_bits(place: int, count: int) -> bool:
    """Whether a layer is of those that get more bits: first and last eighth, and every third between."""
    eighth = count // 8
    return place < eighth or place >= 7 * count // 8 or (place - eighth) % 3 == 2

"""Which type every tensor of a GGUF file gets.

The names of llama.cpp's mixes mean the types that llama.cpp gives to the weights of a model; any other name
is a type for all weights.
"""

import re
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from pyqbits import gguf

from ..gguf.types import TYPES
from .mix_rules import EMBEDDINGS, MIXES, Model

FLOATS = ("f32", "f16", "bf16")

# Types that stand for a whole file of them and are no mixes.
FILE_TYPES = {"q3_K": 11, "q4_K": 14, "q5_K": 16, "mxfp4": 38, "nvfp4": 39}

# What takes the place of a type whose blocks do not divide a row; where that does not fit either, f16.
FALLBACKS = {
    "iq1_s": "iq4_nl", "iq1_m": "iq4_nl", "iq2_xxs": "iq4_nl", "iq2_xs": "iq4_nl", "iq2_s": "iq4_nl",
    "iq3_xxs": "iq4_nl", "iq3_s": "iq4_nl", "iq4_xs": "iq4_nl", "q2_0": "q4_0", "q2_K": "q4_0",
    "q3_K": "q4_0", "tq1_0": "q4_0", "tq2_0": "q4_0", "q4_K": "q5_0", "q5_K": "q5_1", "q6_K": "q8_0",
}  # fmt: skip

# Types that llama.cpp writes only with the importance of columns, but for embeddings and output.
FROM_IMPORTANCE = ("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs")

# Parts of the names of matrices that llama.cpp takes as floats: routers, convolutions, and other small ones.
KEPT = re.compile(
    r"_norm\.weight|ffn_gate_inp\.weight|altup|laurel|per_layer_model_proj|(^|\.)position_embd"
    r"|^token_types\.weight$|ssm_conv1d|shortconv\.conv\.weight|indexer\.[kq]_proj\.weight|attn_rel_b\.weight"
    r"|time_mix_(first|w[012]|v[012]|a[012]|g[12]|decay_w[12]|lerp_fused)\.weight"
    r"|sam\.(pos_embd|neck\.|net_)|\.(rel_pos|patch_embd|patch_merger)|a\.rvq\.codebook|mm\.a\.code_embd"
)


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
        """The main type. The mix iq2_s has another than the type of that name, which `pure` means."""
        is_type = self.pure and self.name in TYPES
        return MIXES[self.name].base if self.name in MIXES and not is_type else self.name

    @property
    def file_type(self) -> int | None:
        return MIXES[self.name].file_type if self.name in MIXES else FILE_TYPES.get(self.name)

    def wants_importance(self, name: str, type: str) -> bool:
        """Whether llama.cpp refuses to make a tensor of a type without the importance of its columns."""
        if name == "output.weight" or name in EMBEDDINGS:
            return False
        return type in FROM_IMPORTANCE or (self.name == "q2_K_S" and type == "q2_K")

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
    model = Model(file, (name for name, info in file.tensors.items() if _usual(info)), choice.weighted)
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


def _dims(info: gguf.TensorInfo) -> int:
    """How many dimensions there are, without leading ones of length 1."""
    return len(info.shape) - next((i for i, n in enumerate(info.shape) if n != 1), len(info.shape))


def _usual(info: gguf.TensorInfo) -> bool:
    """Whether llama.cpp quantizes a tensor."""
    return _dims(info) > 1 and info.name.endswith("weight") and not KEPT.search(info.name)


def _wanted(info: gguf.TensorInfo, choice: Choice, model: Model) -> str | None:
    """The type of a tensor, whether it fits or not; None where it stays as it is."""

    def matches(globs: Sequence[str]) -> bool:
        return any(fnmatchcase(info.name, glob) for glob in globs)

    numbers = TYPES[info.type].block > 1 or info.type in (*FLOATS, "f64")
    if _dims(info) < 2 or not info.nbytes or not numbers:
        return None
    for glob, type in reversed(choice.exceptions):
        if fnmatchcase(info.name, glob):
            return type
    if not (matches(choice.include) if choice.include else _usual(info)) or matches(choice.exclude):
        return None
    mixed = choice.name in MIXES and choice.base not in FLOATS and not choice.pure
    return model.mixed(info, choice.name) if mixed else choice.base

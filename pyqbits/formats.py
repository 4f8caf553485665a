"""Formats: how wide codes are, what they share, and what every byte of a quantized array is for."""

import functools
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from . import _arrays
from ._native import lib

_SCALES = {"float16": "", "bfloat16": "_bf16", "float32": "_f32"}  # scale type -> suffix of the name
_ZEROS = (None, "min", "point")
_PART_NAMES = {
    None: ("codes", "scales"), "min": ("codes", "scales", "mins"), "point": ("codes", "scales", "zeros"),
}  # fmt: skip
_MAX_GROUP = 2**63 - 1

# In memory a bfloat16 is its 16 bits, since NumPy alone has no such type.
_MEMORY: dict[str, np.dtype] = {
    "uint8": np.dtype(np.uint8), "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(np.uint16), "float32": np.dtype(np.float32),
}  # fmt: skip


class Part(NamedTuple):
    """One of the arrays a quantized array is stored in."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def memory_dtype(self) -> np.dtype:
        return _MEMORY[self.dtype]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.memory_dtype.itemsize


@dataclass(frozen=True)
class Format:
    """An affine format; `affine` makes one.

    Attributes
    ----------
    bits : int
        Width of a code.
    group : int or str
        Consecutive elements that share a scale, or "row", or "tensor".
    zero : str or None
        None: symmetric, x = d*q. "min": x = d*q + m. "point": x = d*(q - z) with an integer z.
    scale : str
        Type of the scales (and minima): "float16", "bfloat16" or "float32".
    """

    bits: int
    group: int | str = 32
    zero: str | None = None
    scale: str = "float16"

    #: What ``quantize(search=...)`` takes, the format's own default first.
    searches = ("rtn", "mse", "best")

    def __post_init__(self) -> None:
        set_field = object.__setattr__  # frozen for everybody else
        set_field(self, "bits", _arrays.check_bits(self.bits))
        if self.group not in ("row", "tensor"):
            try:
                set_field(self, "group", operator.index(self.group))  # type: ignore[arg-type]
            except TypeError:
                raise TypeError(
                    f"group must be a positive integer, 'row' or 'tensor', not {self.group!r}"
                ) from None
            if not 1 <= int(self.group) <= _MAX_GROUP:
                raise ValueError(f"group must be a positive integer, 'row' or 'tensor', not {self.group}")
        if self.zero not in _ZEROS:
            raise ValueError(f"zero must be None, 'min' or 'point', not {self.zero!r}")
        if not isinstance(self.scale, str):
            set_field(self, "scale", np.dtype(self.scale).name)
        _arrays.check_choice(self.scale, _SCALES, "scale")

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """The string that names this format wherever one is asked for."""
        kind = "int" if self.zero is None else "uint"
        group = self.group if isinstance(self.group, str) else f"g{self.group}"
        point = "_z" if self.zero == "point" else ""
        return f"{kind}{self.bits}_{group}{point}{_SCALES[self.scale]}"

    @property
    def signed(self) -> bool:
        """Whether codes are two's complement (one-bit codes are 0 and 1 in every format)."""
        return self.zero is None and self.bits > 1

    @property
    def per_tensor(self) -> bool:
        return self.group == "tensor"

    @property
    def part_names(self) -> tuple[str, ...]:
        """The names of `parts`."""
        return _PART_NAMES[self.zero]

    @property
    def fields(self) -> tuple[str, ...]:
        """The members of qb_matrix that point to the parts."""
        return self.part_names

    def step(self, n: int) -> int:
        """Elements that share a scale in a row of n."""
        return max(1, n) if isinstance(self.group, str) else self.group

    def groups(self, n: int) -> int:
        """Groups in a row of n; the last one may be short."""
        return -(-n // self.step(n))

    def parts(self, lead: tuple[int, ...], n: int) -> tuple[Part, ...]:
        """The arrays that hold rows of n elements, the rows arranged in the shape `lead`."""
        per_row = self.groups(n)
        shape = (1,) if self.per_tensor else (*lead, per_row)
        zeros = shape if self.per_tensor else (*lead, self._packed(per_row))
        known = {
            "codes": ("uint8", (*lead, self._packed(n))), "scales": (self.scale, shape),
            "mins": (self.scale, shape), "zeros": ("uint8", zeros),
        }  # fmt: skip
        return tuple(Part(name, *known[name]) for name in self.part_names)

    def _packed(self, count: int) -> int:
        return (count * self.bits + 7) // 8

    def bpw(self, n: int) -> float:
        """Bits per weight of a row of n elements, with everything that is stored for them.

        Examples
        --------
        >>> import pyqbits as qb
        >>> qb.affine(4, 32).bpw(4096)
        4.5
        """
        n = operator.index(n)
        if n < 1:
            raise ValueError(f"n must be positive, not {n}")
        return 8 * sum(part.nbytes for part in self.parts((), n)) / n

    def native(self, n: int) -> tuple[int, ...]:
        """The fields of qb_format, for rows of n elements."""
        zero = (lib.QB_ZERO_NONE, lib.QB_ZERO_MIN, lib.QB_ZERO_POINT)[_ZEROS.index(self.zero)]
        scale = {"float16": lib.QB_F16, "bfloat16": lib.QB_BF16, "float32": lib.QB_F32}[self.scale]
        return (self.bits, zero, scale, self.per_tensor, self.step(n))


_AFFINE_NAME = re.compile(r"(u?)int([1-8])_(?:g([1-9][0-9]{0,18})|(row|tensor))(_z)?(_bf16|_f32)?", re.ASCII)


def _affine_named(name: str) -> Format | None:
    match = _AFFINE_NAME.fullmatch(name)
    if not match:
        return None
    unsigned, bits, group, whole, point, suffix = match.groups()
    if (point and not unsigned) or (group and int(group) > _MAX_GROUP):
        return None
    scale = next(s for s, end in _SCALES.items() if end == (suffix or ""))
    zero = None if not unsigned else "point" if point else "min"
    return Format(int(bits), whole or int(group), zero, scale)


def _block_named(name: str) -> Format | None:
    from ._blocks import block_named  # it is made of what is here

    return block_named(name)


# The registry: each family turns a name of its own into a Format, and any other into None.
FAMILIES: list[Callable[[str], Format | None]] = [_affine_named, _block_named]


def as_format(format: Any) -> Format:
    """The format that a Format or its name stands for."""
    if isinstance(format, Format):
        return format
    if not isinstance(format, str):
        raise TypeError(f"format must be a Format or its name, not {type(format).__name__}")
    return _named(format)


@functools.lru_cache(maxsize=512)
def _named(format: str) -> Format:
    for family in FAMILIES:
        found = family(format)
        if found is not None:
            return found
    raise ValueError(
        f"unknown format {format!r}: names are like int4_g32 (symmetric), uint4_g32 (with a minimum) or"
        " uint4_g32_z (with a zero point), for 1 to 8 bits, groups g1, g2, ..., row or tensor, and scales of"
        " type float16 or, with the ending _bf16 or _f32, of that; or those of GGUF block types, like q4_K"
    )


def affine(bits: int, group: int | str = 32, *, zero: str | None = None, scale: Any = "float16") -> Format:
    """A format of `bits`-bit codes in groups that share a scale.

    Parameters
    ----------
    bits : int
        Width of a code, 1 to 8.
    group : int or str
        Elements that share a scale: a positive integer (a row that it does not divide ends in a short
        group), "row", or "tensor".
    zero : str or None
        None: symmetric, x = d*q with two's complement codes (one bit: -d or +d). "min": x = d*q + m, a
        minimum of the scale's type. "point": x = d*(q - z), an integer zero point of `bits` bits.
    scale : str or dtype
        "float16", "bfloat16" or "float32".

    Returns
    -------
    Format
        Its ``name`` stands for it in every call that takes a format.

    Examples
    --------
    >>> import pyqbits as qb
    >>> qb.affine(3, 64, zero="min").name
    'uint3_g64'
    >>> qb.affine(8, "row", scale="float32").name
    'int8_row_f32'
    """
    return Format(bits, group, zero, scale)

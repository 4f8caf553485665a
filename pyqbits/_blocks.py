"""Block types: the formats of GGUF files, whose rows are blocks that hold codes and parameters together.

What a block type is, the C library knows (csrc/formats/blocks.c); here each becomes a `Format`.
"""

import functools
from dataclasses import dataclass
from math import prod

import numpy as np

from . import _arrays
from ._native import ffi, lib
from .errors import check
from .formats import Format, Part

_ZEROS = {lib.QB_ZERO_NONE: None, lib.QB_ZERO_MIN: "min", lib.QB_ZERO_POINT: "point"}
_SCALES = {lib.QB_F16: "float16", lib.QB_F32: "float32"}


@dataclass(frozen=True)
class BlockFormat(Format):
    """A block type, by its name in GGUF files; the name alone makes one wherever a format is asked for.

    The attributes of `Format` are those of the decoded numbers: the width of the codes, the elements that
    share a scale, the kind of zero, and the type that holds the scales exactly.

    Attributes
    ----------
    block : str
        Its name.
    elements, block_bytes : int
        Elements of a block, and the bytes that hold them.
    """

    block: str = ""
    elements: int = 0
    block_bytes: int = 0
    number: int = 0  # in enum qb_block
    searches: tuple[str, ...] = ()  # type: ignore[misc, assignment]  # of each type its own

    def __post_init__(self) -> None:  # the C library's table needs no check
        pass

    def __repr__(self) -> str:
        return f"<block type {self.block}>"

    @property
    def name(self) -> str:
        return self.block

    @property
    def signed(self) -> bool:
        return self.zero is None

    @property
    def part_names(self) -> tuple[str, ...]:
        return ("blocks",)

    @property
    def fields(self) -> tuple[str, ...]:
        return ("codes",)

    def parts(self, lead: tuple[int, ...], n: int) -> tuple[Part, ...]:
        if n % self.elements:
            raise ValueError(
                f"{self.block} has blocks of {self.elements} elements, which do not divide rows of {n}:"
                f" {_fitting(n)} would fit"
            )
        return (Part("blocks", "uint8", (*lead, n // self.elements * self.block_bytes)),)

    def native(self, n: int) -> tuple[int, ...]:
        return (*super().native(n), self.number)


@functools.cache
def _table() -> dict[str, BlockFormat]:
    found = {}
    for number in range(1, lib.QB_BLOCK_COUNT):
        type = lib.qb_block_type_of(number)
        name, native = ffi.string(type.name).decode(), type.format
        found[name] = BlockFormat(
            native.bits, native.group, _ZEROS[native.zero], _SCALES[native.scale], name, type.elements,
            type.bytes, number, tuple(s for i, s in enumerate(Format.searches) if type.searches >> i & 1),
        )  # fmt: skip
    return found


def block_named(name: str) -> BlockFormat | None:
    """The block type of a name, None if there is none."""
    return _table().get(name)


def block_names() -> tuple[str, ...]:
    """The names of all block types."""
    return tuple(_table())


def _fitting(n: int) -> str:
    names = [type.name for type in _table().values() if n % type.elements == 0]
    affine = "affine formats such as int4_g32"
    return f"{', '.join(names)}, or {affine}" if names else affine


def codes(format: BlockFormat, matrix, lead: tuple[int, ...], n: int) -> np.ndarray:
    """The codes of all rows: less the zero point where that is the same for all, as int8; else uint8."""
    rows = np.empty((*lead, n), np.uint8)
    if rows.size:
        check(lib.qb_codes(matrix.struct, 0, prod(lead), _arrays.pointer(rows)), "codes")
    if not format.signed:
        return rows
    rows -= np.uint8(1 << (format.bits - 1))  # modulo 256
    return rows.view(np.int8)

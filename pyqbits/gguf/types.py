"""Types of tensors and of metadata values: numbers, names and sizes, as the container writes them."""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import numpy as np


class Type(NamedTuple):
    """A type of tensors: rows are blocks of `block` values in `nbytes` bytes."""

    name: str
    id: int
    block: int
    nbytes: int

    @property
    def bpw(self) -> float:
        """Bits per weight."""
        return 8 * self.nbytes / self.block

    def row_nbytes(self, n: int) -> int:
        """Bytes of a row of n values, a multiple of the block."""
        return n // self.block * self.nbytes

    def array_nbytes(self, shape: Sequence[int]) -> int:
        """Bytes of an array; one of no dimensions is a single value."""
        rows, n = (prod(shape[:-1]), shape[-1]) if shape else (1, 1)
        return rows * self.row_nbytes(n)


# Numbers that are missing stood for types that are no longer, or are taken by forks for types of their own.
_TENSOR_TYPES = (
    Type("f32", 0, 1, 4), Type("f16", 1, 1, 2), Type("bf16", 30, 1, 2), Type("f64", 28, 1, 8),
    Type("i8", 24, 1, 1), Type("i16", 25, 1, 2), Type("i32", 26, 1, 4), Type("i64", 27, 1, 8),
    Type("q4_0", 2, 32, 18), Type("q4_1", 3, 32, 20), Type("q5_0", 6, 32, 22), Type("q5_1", 7, 32, 24),
    Type("q8_0", 8, 32, 34), Type("q8_1", 9, 32, 36), Type("q2_K", 10, 256, 84), Type("q3_K", 11, 256, 110),
    Type("q4_K", 12, 256, 144), Type("q5_K", 13, 256, 176), Type("q6_K", 14, 256, 210),
    Type("q8_K", 15, 256, 292), Type("iq2_xxs", 16, 256, 66), Type("iq2_xs", 17, 256, 74),
    Type("iq3_xxs", 18, 256, 98), Type("iq1_s", 19, 256, 50), Type("iq4_nl", 20, 32, 18),
    Type("iq3_s", 21, 256, 110), Type("iq2_s", 22, 256, 82), Type("iq4_xs", 23, 256, 136),
    Type("iq1_m", 29, 256, 56), Type("tq1_0", 34, 256, 54), Type("tq2_0", 35, 256, 66),
    Type("mxfp4", 39, 32, 17), Type("nvfp4", 40, 64, 36), Type("q1_0", 41, 128, 18), Type("q2_0", 42, 64, 18),
)  # fmt: skip
TYPES = {type.name: type for type in _TENSOR_TYPES}
TYPE_OF_ID = {type.id: type for type in _TENSOR_TYPES}

# Types of tensors that NumPy has by itself, little-endian.
DTYPES: dict[str, np.dtype] = {
    "f32": np.dtype("<f4"), "f16": np.dtype("<f2"), "f64": np.dtype("<f8"), "i8": np.dtype("i1"),
    "i16": np.dtype("<i2"), "i32": np.dtype("<i4"), "i64": np.dtype("<i8"),
}  # fmt: skip


def named(name: str) -> Type:
    """The type of tensors of this name."""
    try:
        return TYPES[name]
    except (KeyError, TypeError):
        raise ValueError(f"unknown type {name!r} of tensors; known are {', '.join(TYPES)}") from None


# ---- metadata -------------------------------------------------------------------------------------

VALUE_IDS = {
    "uint8": 0, "int8": 1, "uint16": 2, "int16": 3, "uint32": 4, "int32": 5, "float32": 6, "bool": 7,
    "string": 8, "array": 9, "uint64": 10, "int64": 11, "float64": 12,
}  # fmt: skip
VALUE_NAMES = {number: name for name, number in VALUE_IDS.items()}
NUMBERS = {name: np.dtype(name).newbyteorder("<") for name in VALUE_IDS if name not in ("string", "array")}

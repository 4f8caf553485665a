"""Dot products of quantized rows with each other."""

from math import prod
from typing import Any

import numpy as np

from . import _arrays
from ._arrays import FLOAT32, INT64
from ._native import ffi, lib
from .errors import check
from .linalg import Operand, broadcast, check_groups

_CHUNK = 1 << 20  # row pairs whose numbers are in memory at a time


def vecdot(a: Operand, b: Operand) -> Any:
    """Dot products of the rows (last axis) of two quantized arrays.

    Parameters
    ----------
    a, b : QArray
        Grouped along their last axes, which must have the same length and the same group boundaries; widths
        and kinds may differ. Leading axes broadcast.

    Returns
    -------
    ndarray of float32
        The broadcast leading shape; sums inside groups are exact.

    Examples
    --------
    >>> import numpy as np, pyqbits as qb
    >>> a = qb.quantize(np.ones((2, 64), np.float32), "int8_g32")
    >>> b = qb.quantize(np.full(64, 0.5, np.float32), "uint4_g32")
    >>> qb.vecdot(a, b)
    array([32., 32.], dtype=float32)
    """
    for name, q in (("a", a), ("b", b)):
        if not isinstance(q, Operand) or not q.packed:
            raise TypeError(f"{name} must be a QArray, not {type(q).__name__}")
        if q.axis != q.ndim - 1:
            raise ValueError(f"{name} is grouped along axis {q.axis}; vecdot sums along the last")
    n = a.shape[-1]
    check_groups(a, b, n, b.shape[-1])
    lead = broadcast(a.shape[:-1], b.shape[:-1])
    result = np.zeros(lead, FLOAT32)
    if result.size and n:
        _dot_rows(a, b, lead, result.reshape(-1))
    return result if lead else result[()]


def _dot_rows(a: Operand, b: Operand, lead: tuple[int, ...], result: np.ndarray) -> None:
    left, right = a.native_rows(0, prod(a.shape[:-1])), b.native_rows(0, prod(b.shape[:-1]))
    for start in range(0, result.size, _CHUNK):
        place = np.unravel_index(np.arange(start, min(start + _CHUNK, result.size)), lead) if lead else ()
        a_rows, b_rows = _row_numbers(a.shape[:-1], place), _row_numbers(b.shape[:-1], place)
        part = result[start : start + _CHUNK]
        status = lib.qb_vecdot(
            left.struct, _arrays.pointer(a_rows, ffi.typeof("int64_t[]")),
            right.struct, _arrays.pointer(b_rows, ffi.typeof("int64_t[]")),
            part.size, _arrays.pointer(part, ffi.typeof("float[]")),
        )  # fmt: skip
        check(status, "vecdot")


def _row_numbers(shape: tuple[int, ...], place: Any) -> np.ndarray:
    """The numbers of rows arranged in `shape`, at places of a shape that it broadcasts to."""
    count = len(place[0]) if place else 1
    numbers = np.zeros(count, INT64)
    for axis, size in enumerate(shape):
        numbers *= size
        if size > 1:
            numbers += place[len(place) - len(shape) + axis]
    return numbers

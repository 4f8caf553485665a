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


def vecdot(a: Operand, b: Operand, *, out: np.ndarray | None = None) -> Any:
    """Dot products of the rows (last axis) of two quantized arrays.

    Parameters
    ----------
    a, b : QArray
        Grouped along their last axes, which must have the same length and the same group boundaries; widths
        and kinds may differ. Leading axes broadcast.
    out : ndarray of float32, optional
        Where to write: C-contiguous, of the result's shape, sharing no memory with the operands.

    Returns
    -------
    ndarray of float32
        The broadcast leading shape; sums inside groups are exact. The same bits on every instruction set, for
        any number of threads and of rows.

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
    if out is None:
        result = np.empty(lead, FLOAT32)
    else:
        result = _arrays.check_out(out, lead, FLOAT32, (*a.part_arrays(), *b.part_arrays()))
    if result.size and n:
        _dot_rows(a, b, lead, result.reshape(-1))
    else:
        result[...] = 0
    return result[()] if out is None and not lead else result


def _dot_rows(a: Operand, b: Operand, lead: tuple[int, ...], result: np.ndarray) -> None:
    left, right = (q.native_rows(0, prod(q.shape[:-1])).struct for q in (a, b))
    for one, many in ((left, right), (right, left)):
        if one.rows == 1:  # unpacked once
            target = _arrays.pointer(result, ffi.typeof("float[]"))
            check(lib.qb_products(one, many, target, 1, 1), "vecdot")
            return
    for start in range(0, result.size, _CHUNK):
        part = result[start : start + _CHUNK]
        places = np.arange(start, start + part.size, dtype=INT64)
        a_rows, b_rows = (_row_numbers(q.shape[:-1], lead, places) for q in (a, b))
        status = lib.qb_vecdot(
            left, _arrays.pointer(a_rows, ffi.typeof("int64_t[]")),
            right, _arrays.pointer(b_rows, ffi.typeof("int64_t[]")),
            part.size, _arrays.pointer(part, ffi.typeof("float[]")),
        )  # fmt: skip
        check(status, "vecdot")


def _row_numbers(shape: tuple[int, ...], lead: tuple[int, ...], places: np.ndarray) -> np.ndarray:
    """The numbers of rows arranged in `shape`, at flat places of `lead`, which it broadcasts to."""
    if shape == lead:
        return places
    numbers = np.zeros(len(places), INT64)
    index = np.unravel_index(places, lead)[len(lead) - len(shape) :]
    for size, along in zip(shape, index, strict=True):
        numbers *= size
        if size > 1:
            numbers += along
    return numbers

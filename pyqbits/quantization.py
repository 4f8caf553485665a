"""Quantizing, and what it cost."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from . import _arrays
from ._arrays import FLOAT32
from ._blocks import BlockFormat
from ._native import ffi, lib
from .errors import check
from .formats import Format, as_format
from .qarray import QArray

_SEARCHES = {"rtn": lib.QB_SEARCH_RTN, "mse": lib.QB_SEARCH_MSE, "best": lib.QB_SEARCH_BEST}
_BLOCK = 1 << 16  # elements copied at a time where the input cannot be read in place


def quantize(
    x: Any,
    format: Format | str,
    *,
    axis: int = -1,
    search: str | None = None,
    importance: Any = None,
    nonfinite: str = "raise",
    out: QArray | None = None,
) -> QArray:
    """Quantize an array: the nearest one that a format can hold.

    Parameters
    ----------
    x : array_like
        float32, float16, bfloat16 (of ml_dtypes) or float64, with any strides and byte order; integers are
        converted. It is read in place, or, where its byte order, alignment or axes do not allow that,
        copied block by block (with one scale per tensor: as a whole, in its own dtype).
    format : Format or str
        See `affine`; for example ``"int4_g32"``.
    axis : int
        The axis along which elements share scales: the one a multiply sums over.
    search : str, optional
        "rtn": the scale that the range of a group gives, and rounding to nearest. "mse": also a search for a
        scale of lower squared error. "best": a longer one. By default the format's own: "rtn", or "mse"
        for the block types that are searched for.
    importance : array_like, optional
        Weights of the squared error of a search, not negative, broadcast against `x`. A group whose weights
        are all zero counts as ones.
    nonfinite : str
        "raise", or "zero" to take NaN and infinity as 0.
    out : QArray, optional
        Where to write: of this format, shape and axis, sharing no memory with `x`.

    Returns
    -------
    QArray
        The same bytes on every machine.

    Raises
    ------
    ValueError
        Something in `x` is not finite, or a scale overflows its type; the message says where. `out` then
        holds anything. Every other error leaves `out` untouched.

    Examples
    --------
    >>> import numpy as np, pyqbits as qb
    >>> q = qb.quantize(np.array([[-1.0, 0.25, 0.5, 1.75]]), "int4_g4")
    >>> q.dequantize()
    array([[-1.09375,  0.21875,  0.4375 ,  1.75   ]], dtype=float32)
    """
    format = as_format(format)
    search = format.searches[0] if search is None else search
    _arrays.check_choice(search, format.searches, "search")
    _arrays.check_choice(nonfinite, ("raise", "zero"), "nonfinite")
    x = _arrays.as_floats(x, "x")
    axis = _arrays.check_axis(axis, x.ndim)
    weights = None if importance is None else _check_importance(importance, x.shape, axis)
    if out is None:
        q = QArray._zeros(format, x.shape, axis)
    else:
        q = _check_out(out, format, x, axis)
    if not x.size:
        for array in q.part_arrays():
            array[...] = 0
        return q
    rows = _arrays.axis_last(x, axis)
    for first, floats, weight in _blocks(rows, weights, format.per_tensor):
        _quantize_rows(q, first, floats, weight, search, nonfinite, x)
    return q


def _check_importance(importance: Any, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """The importance as float32, broadcast, with rows last; its own axes stay of length 1 where they were."""
    own = _arrays.as_floats(importance, "importance")
    with np.errstate(over="ignore"):
        values = own.astype(FLOAT32, copy=False)
    index = _arrays.first_index(values, lambda w: ~((w >= 0) & np.isfinite(w)))
    if index is not None:
        raise ValueError(f"importance at index {index} is {own[index]}; it must be finite and not negative")
    try:
        return np.moveaxis(np.broadcast_to(values, shape), axis, -1)
    except ValueError:
        raise ValueError(f"importance of shape {own.shape} does not broadcast to {shape}") from None


def _check_out(out: Any, format: Format, x: np.ndarray, axis: int) -> QArray:
    if not isinstance(out, QArray):
        raise TypeError(f"out must be a QArray, not {type(out).__name__}")
    if (out.format, out.shape, out.axis) != (format, x.shape, axis):
        raise ValueError(
            f"out is {out.format} of shape {out.shape} along axis {out.axis};"
            f" this call writes {format} of shape {x.shape} along axis {axis}"
        )
    for array in out.part_arrays():
        if not array.flags.writeable:
            raise ValueError("out is read-only")
        if _arrays.overlap(array, x):
            raise ValueError("out overlaps the input in memory")
    return out


def _blocks(
    x: np.ndarray, weights: np.ndarray | None, whole: bool
) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
    """Cut rows into runs that C can read: (number of the first row, floats, weights)."""
    count, n = prod(x.shape[:-1]), x.shape[-1]
    one_row = weights is not None and not any(
        stride for size, stride in zip(x.shape, weights.strides[:-1], strict=False) if size > 1
    )
    if weights is not None and one_row:
        weights = _arrays.contiguous(weights[(0,) * (weights.ndim - 1)]).reshape(1, n)
    in_place = _arrays.readable_rows(x) and (weights is None or one_row or weights.flags.c_contiguous)
    if in_place or whole:
        floats = x if _arrays.readable_rows(x) else _arrays.contiguous(x)
        yield 0, floats, None if weights is None else _arrays.contiguous(weights)
        return
    step = max(1, _BLOCK // n)
    for first in range(0, count, step):
        size = min(step, count - first)
        weight = weights if weights is None or one_row else _arrays.take_rows(weights, first, size)
        yield first, _arrays.take_rows(x, first, size), weight


def _quantize_rows(
    q: QArray, first: int, floats: np.ndarray, weight: np.ndarray | None, search: str, nonfinite: str,
    x: np.ndarray,
) -> None:  # fmt: skip
    rows = _arrays.float_rows(floats)
    n = floats.shape[-1]
    matrix = q.native_rows(first, rows.struct.rows)
    fault = ffi.new("qb_fault *")
    status = lib.qb_quantize(
        rows.struct, _SEARCHES[search],
        ffi.NULL if weight is None else _arrays.pointer(weight, ffi.typeof("float[]")),
        0 if weight is None or weight.size == n else n,
        nonfinite == "zero", matrix.struct, fault,
    )  # fmt: skip
    if status == lib.QB_ERR_NOT_FINITE:
        index = _arrays.first_index(x, _arrays.not_finite)
        if index is not None:
            what = "not finite" if not np.isfinite(x[index]) else "infinite as float32"
            raise ValueError(f"x at index {index} is {x[index]}, {what}; nonfinite='zero' takes it as 0")
    if status == lib.QB_ERR_SCALE_RANGE:
        _refuse_scale(q, first + fault.index // n, fault.index % n)
    check(status, "quantize")


def _refuse_scale(q: QArray, row: int, column: int) -> None:
    lead = q.shape[: q.axis] + q.shape[q.axis + 1 :]
    place = [int(i) for i in np.unravel_index(row, lead)] if lead else []
    group = tuple([*place[: q.axis], column // q.format.step(q.shape[q.axis]), *place[q.axis :]])
    where = "" if q.format.per_tensor else f" of group {group}"
    if isinstance(q.format, BlockFormat):
        raise ValueError(f"the scale or minimum{where} overflows what {q.format} stores it as: scale x down")
    fits = " or ".join(t for t in ("bfloat16", "float32") if t != q.format.scale)
    advice = f"use scale={fits}, or scale x down" if q.format.scale == "float16" else "scale x down"
    raise ValueError(f"the scale or minimum{where} overflows {q.format.scale}: {advice}")


@dataclass(frozen=True)
class ErrorReport:
    """What a quantized array differs from the original by.

    Attributes
    ----------
    size : int
        Number of elements.
    sum_xx, sum_ee : float
        Sums of squares of the original, and of the differences.
    max_abs : float
        The largest difference.
    max_index : tuple of int, or None
        Where it is (the first in order of rows along the grouped axis); None without elements.
    bpw : float
        Bits per weight of the quantized array.
    """

    size: int
    sum_xx: float
    sum_ee: float
    max_abs: float
    max_index: tuple[int, ...] | None
    bpw: float

    @property
    def rmse(self) -> float:
        """Root of the mean squared difference."""
        return math.sqrt(self.sum_ee / self.size) if self.size else 0.0

    @property
    def relative_rmse(self) -> float:
        """`rmse` over the root mean square of the original."""
        if not self.sum_ee:
            return 0.0
        return math.sqrt(self.sum_ee / self.sum_xx) if self.sum_xx else math.inf

    @property
    def snr_db(self) -> float:
        """Signal to noise ratio, 10 log10(sum_xx / sum_ee), in decibels."""
        if not self.sum_ee:
            return math.inf
        return 10 * math.log10(self.sum_xx / self.sum_ee) if self.sum_xx else -math.inf

    def __str__(self) -> str:
        return (
            f"snr {self.snr_db:.2f} dB, rmse {self.rmse:.4g} (relative {self.relative_rmse:.4g}),"
            f" max {self.max_abs:.4g} at {self.max_index}, {self.bpw:.4g} bpw"
        )


def compare(x: Any, q: QArray) -> ErrorReport:
    """Error of a quantized array against the numbers it stands for, in one pass.

    Parameters
    ----------
    x : array_like
        The original, of q's shape; dtypes as in `quantize`.
    q : QArray
        The quantized array.

    Examples
    --------
    >>> import numpy as np, pyqbits as qb
    >>> x = np.linspace(-1, 1, 1024, dtype=np.float32).reshape(8, 128)
    >>> report = qb.compare(x, qb.quantize(x, "int8_g32"))
    >>> print(f"{report.snr_db:.1f} dB at {report.bpw} bpw")
    52.6 dB at 8.5 bpw
    """
    if not isinstance(q, QArray):
        raise TypeError(f"q must be a QArray, not {type(q).__name__}")
    x = _arrays.as_floats(x, "x")
    if x.shape != q.shape:
        raise ValueError(f"x has shape {x.shape}, q {q.shape}")
    if not x.size:
        return ErrorReport(0, 0.0, 0.0, 0.0, None, q.bpw)
    moved = _arrays.axis_last(x, q.axis)
    rows = _arrays.float_rows(moved if _arrays.readable_rows(moved) else _arrays.contiguous(moved))
    report = ffi.new("qb_error_report *")
    check(lib.qb_compare(rows.struct, q.native_rows(0, rows.struct.rows).struct, report), "compare")
    place = [int(i) for i in np.unravel_index(report.max_index, moved.shape)]
    place.insert(q.axis, place.pop())
    return ErrorReport(x.size, report.sum_xx, report.sum_ee, report.max_abs, tuple(place), q.bpw)

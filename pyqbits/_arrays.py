"""All validation of arrays, and every pointer into one.

The C library believes what it is told about dtype, byte order, alignment and size, and so does
``ffi.from_buffer``. Whatever reaches it passes through here first.
"""

import operator
from collections.abc import Callable, Iterable
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ._native import ffi, lib

UINT8 = np.dtype(np.uint8)
INT8 = np.dtype(np.int8)
FLOAT32 = np.dtype(np.float32)
INT64 = np.dtype(np.int64)
BYTES = ffi.typeof("uint8_t[]")

_CODES = {
    ("u", 1): lib.QB_U8, ("i", 1): lib.QB_I8, ("u", 2): lib.QB_U16, ("i", 2): lib.QB_I16,
    ("u", 4): lib.QB_U32, ("i", 4): lib.QB_I32, ("u", 8): lib.QB_U64, ("i", 8): lib.QB_I64,
}  # fmt: skip
_FLOATS = {("f", 4): lib.QB_F32, ("f", 2): lib.QB_F16, ("f", 8): lib.QB_F64}
_FLOAT_NAMES = "float32, float16, bfloat16, float64"

# The sub-byte integers of ml_dtypes, one to a byte: name -> (bits, signed).
SMALL_INTEGERS = {"int2": (2, True), "uint2": (2, False), "int4": (4, True), "uint4": (4, False)}

SCAN = 1 << 16  # elements looked at together where an error is being located
BLOCK = 1 << 16  # elements written together where rows do not lie along the last axis


# ---- what comes in --------------------------------------------------------------------------------


def as_array(x: Any) -> np.ndarray:
    """An ndarray of x: arrays, lists, numbers, bytes, and objects with a buffer, __array__ or DLPack."""
    if type(x) is np.ndarray:
        return x
    if isinstance(x, bytes):
        return np.frombuffer(x, UINT8)
    if hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
        return np.from_dlpack(x)
    array = np.asarray(x)
    # An empty list has no numbers that could tell their type; it fits wherever integers do.
    return array.astype(UINT8) if array.size == 0 and isinstance(x, list | tuple) else array


def as_codes(x: Any, name: str) -> np.ndarray:
    """x as integers of one of the eight NumPy dtypes, at least one-dimensional."""
    array = as_array(x)
    dtype = array.dtype
    if (dtype.kind, dtype.itemsize) in _CODES:
        pass
    elif dtype.kind == "b":
        array = array.view(UINT8)
    elif dtype.kind == "V" and dtype.name in SMALL_INTEGERS:
        array = array.astype(INT8 if SMALL_INTEGERS[dtype.name][1] else UINT8)
    else:
        raise TypeError(f"{name} has dtype {dtype}; it must be integers")
    return array if array.ndim else array.reshape(1)


def as_bytes(x: Any, name: str) -> np.ndarray:
    """x as uint8, at least one-dimensional."""
    array = as_array(x)
    if array.dtype != UINT8:
        raise TypeError(f"{name} has dtype {array.dtype}; it must be uint8")
    return array if array.ndim else array.reshape(1)


def as_floats(x: Any, name: str) -> np.ndarray:
    """x as float32, float16, bfloat16 or float64; integers become the float that holds them best."""
    array = as_array(x)
    dtype = array.dtype
    if _is_float(dtype):
        return array
    if dtype.kind in "biu":
        return array.astype(np.float32 if dtype.itemsize <= 2 else np.float64)
    raise TypeError(f"{name} has dtype {dtype}; it must be one of {_FLOAT_NAMES}")


def _is_float(dtype: np.dtype) -> bool:
    # Asking a dtype for its name costs more than the rest of a small call.
    return (dtype.kind, dtype.itemsize) in _FLOATS or (dtype.kind == "V" and dtype.name == "bfloat16")


def float_dtype(dtype: Any) -> np.dtype:
    """A dtype that floats can be written as."""
    found = np.dtype(dtype)
    if not _is_float(found) or not found.isnative:
        raise TypeError(f"dtype {found} is not supported; it must be one of {_FLOAT_NAMES}")
    return found


def contiguous(x: np.ndarray) -> np.ndarray:
    """x itself if C can read it as it lies (C order, native byte order, aligned), otherwise a copy."""
    flags = x.flags
    if flags.c_contiguous and flags.aligned and x.dtype.isnative:
        return x
    return np.array(x, dtype=x.dtype.newbyteorder("="), order="C", copy=True, subok=False)


def check_bits(bits: Any) -> int:
    try:
        found = operator.index(bits)
    except TypeError:
        raise TypeError(f"bits must be an integer from 1 to 8, not {bits!r}") from None
    if not 1 <= found <= 8:
        raise ValueError(f"bits must be from 1 to 8, not {found}")
    return found


def check_axis(axis: Any, ndim: int) -> int:
    """The axis counted from the front."""
    found = operator.index(axis)
    if not -ndim <= found < ndim:
        raise np.exceptions.AxisError(found, ndim)
    return found % ndim


def axis_last(x: np.ndarray, axis: int) -> np.ndarray:
    """np.moveaxis(x, axis, -1), whose 7 us are worth saving where the axis is last already."""
    return x if axis == x.ndim - 1 else np.moveaxis(x, axis, -1)


def check_choice(value: Any, choices: Iterable[str], name: str) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")


def code_range(bits: int, signed: bool) -> tuple[int, int]:
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


# ---- what goes out --------------------------------------------------------------------------------


def check_out(out: Any, shape: tuple[int, ...], dtype: np.dtype, inputs: Iterable[np.ndarray]) -> np.ndarray:
    """out, if the result can be written straight into it."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a NumPy array, not {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"out has dtype {out.dtype}; this call writes {dtype}")
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}; this call writes {shape}")
    flags = out.flags
    if not flags.writeable:
        raise ValueError("out is read-only")
    if not flags.c_contiguous:
        raise ValueError("out is not C-contiguous")
    if not flags.aligned:
        raise ValueError("out is not aligned to its dtype")
    if any(overlap(out, x) for x in inputs):
        raise ValueError("out overlaps the input in memory")
    return out


def overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays share a byte; in doubt (a question too hard to settle quickly) yes."""
    if not np.may_share_memory(a, b):
        return False
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


# ---- pointers -------------------------------------------------------------------------------------


def code_type(dtype: np.dtype) -> int:
    return _CODES[dtype.kind, dtype.itemsize]


def float_type(dtype: np.dtype) -> int:
    return _FLOATS.get((dtype.kind, dtype.itemsize), lib.QB_BF16)


def pointer(x: np.ndarray, ctype: Any = BYTES) -> Any:
    """The memory of a C-contiguous array; the array lives as long as the pointer does."""
    return ffi.from_buffer(ctype, x)


class Floats(NamedTuple):
    """Rows of floats for the C library, and the array they lie in."""

    struct: Any
    owner: np.ndarray


def row_stride(shape: tuple[int, ...], strides: tuple[int, ...]) -> int | None:
    """Bytes from row to row when all these axes are walked as one; None if that is not one number."""
    found, reach = 0, None
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size == 1:
            continue
        if reach is None:
            found = stride
        elif stride != reach:
            return None
        reach = size * stride
    return found


def readable_rows(x: np.ndarray) -> bool:
    """Whether C can read the rows (last axis) of x where they lie."""
    plain = x.flags.aligned and x.dtype.isnative
    return plain and row_stride(x.shape[:-1], x.strides[:-1]) is not None


def float_rows(x: np.ndarray) -> Floats:
    """The rows (last axis) of x, which readable_rows() has approved."""
    if x.flags.c_contiguous:
        data: Any = pointer(x)
        stride = x.shape[-1] * x.itemsize
    else:
        data = ffi.cast("void *", x.__array_interface__["data"][0])
        stride = row_stride(x.shape[:-1], x.strides[:-1]) or 0
    struct = ffi.new(
        "qb_floats *",
        (data, float_type(x.dtype), prod(x.shape[:-1]), x.shape[-1], stride, x.strides[-1]),
    )
    return Floats(struct, data if x.flags.c_contiguous else x)


def take_rows(x: np.ndarray, first: int, count: int) -> np.ndarray:
    """Rows (last axis) [first, first + count) of x in C order, copied into a readable matrix."""
    lead = x.shape[:-1]
    rows = x[np.unravel_index(np.arange(first, first + count), lead)] if lead else x[np.newaxis]
    return contiguous(rows)


def fill_rows(result: np.ndarray, axis: int, fill: Callable[[int, int, np.ndarray], None]) -> None:
    """Have fill(first, count, target) write rows [first, first + count) of a C-contiguous result.

    Rows lie along `axis`, numbered in C order of the other axes. Where that is the last axis, everything
    is one target; otherwise blocks are filled and transposed into their places.
    """
    if not result.size:
        return
    outer, n, inner = prod(result.shape[:axis]), result.shape[axis], prod(result.shape[axis + 1 :])
    if inner == 1:
        fill(0, outer, result)
        return
    planes = result.reshape(outer, n, inner)
    wide, tall = min(inner, max(1, BLOCK // n)), min(outer, max(1, BLOCK // (n * inner)))
    block = np.empty((tall, wide, n), result.dtype)
    for plane in range(0, outer, tall):
        for start in range(0, inner, wide):
            target = planes[plane : plane + tall, :, start : start + wide]
            rows = block[: target.shape[0], : target.shape[2]]
            fill(plane * inner + start, rows.shape[0] * rows.shape[1], rows)
            target[...] = rows.swapaxes(1, 2)


def read_only(x: np.ndarray) -> np.ndarray:
    """A view that cannot be written through."""
    view = x.view()
    view.flags.writeable = False
    return view


# ---- where an error is ----------------------------------------------------------------------------


def first_index(x: np.ndarray, bad: Callable[[np.ndarray], np.ndarray]) -> tuple[int, ...] | None:
    """The index of the first bad element in C order, or None."""
    for start in range(0, x.size, SCAN):
        hits = bad(x.flat[start : start + SCAN])
        if hits.any():
            return tuple(int(i) for i in np.unravel_index(start + int(hits.argmax()), x.shape))
    return None


def not_finite(x: np.ndarray) -> np.ndarray:
    """Which elements are NaN or infinite as float32."""
    with np.errstate(over="ignore"):
        return ~np.isfinite(x.astype(FLOAT32))

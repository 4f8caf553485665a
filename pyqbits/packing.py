"""Packing: integer codes of 1 to 8 bits to and from dense bytes."""

import operator
from typing import Any

import numpy as np

from . import _arrays
from ._arrays import BYTES, INT8, UINT8
from ._native import ffi, lib
from .errors import check

_from_buffer = ffi.from_buffer
_pack_bytes, _unpack_bytes = lib.qb_pack_bytes, lib.qb_unpack_bytes


def packed_size(count: int, bits: int) -> int:
    """Bytes that `count` packed codes of `bits` bits take.

    Examples
    --------
    >>> import pyqbits as qb
    >>> qb.packed_size(10, bits=3)
    4
    """
    count = operator.index(count)
    if count < 0:
        raise ValueError(f"count must not be negative, not {count}")
    return (count * _arrays.check_bits(bits) + 7) // 8


def pack(
    codes: Any, bits: int, *, signed: bool = False, axis: int = -1, out: np.ndarray | None = None
) -> np.ndarray:
    """Pack integer codes into a dense stream of bits along an axis.

    Code k of a row occupies bits [k*bits, (k+1)*bits) of it, bit n being bit n % 8 of byte n // 8 (least
    significant first). Each row starts on a byte; unused bits of its last byte are zero. With one bit this
    is ``numpy.packbits(..., bitorder="little")``.

    Parameters
    ----------
    codes : array_like of integers
        Any integer dtype (bool and the sub-byte integers of ml_dtypes included), strides and byte order.
        Anything but a C-contiguous array with `axis` last is copied first.
    bits : int
        Width of a code, 1 to 8.
    signed : bool
        Codes are in [-2**(bits-1), 2**(bits-1)) and stored in two's complement, instead of in [0, 2**bits).
    axis : int
        The axis to pack along.
    out : ndarray of uint8, optional
        Where to write: C-contiguous, of the result's shape, sharing no memory with `codes`.

    Returns
    -------
    ndarray of uint8
        The shape of `codes` with ``packed_size(n, bits)`` in place of the axis' length n.

    Raises
    ------
    ValueError
        A code does not fit; the message names the first one (in C order) and its index. `out` then holds
        anything. Every other error leaves `out` untouched.

    Examples
    --------
    >>> import numpy as np, pyqbits as qb
    >>> qb.pack([1, 2, 3, 4, 5, 6, 7, 0], bits=3)
    array([209,  88,  31], dtype=uint8)
    >>> qb.pack(np.array([[-8, 7], [0, -1]]), bits=4, signed=True)
    array([[120],
           [240]], dtype=uint8)
    """
    # Small calls: two one-dimensional byte arrays need no more questions than the C library asks. What
    # is wrong in any way goes on to the long way, which says so.
    if out is not None and axis == -1:
        try:
            one = INT8 if signed else UINT8
            if codes.ndim == 1 and out.ndim == 1 and codes.dtype is one and out.dtype is UINT8:
                source, target = _from_buffer(BYTES, codes), _from_buffer(BYTES, out, True)
                if not _pack_bytes(source, len(codes), bits, signed, target, len(out)):
                    return out
        except (AttributeError, ArithmeticError, TypeError, ValueError):
            pass
    return _pack_any(codes, bits, bool(signed), axis, out)


def _pack_any(codes: Any, bits: int, signed: bool, axis: int, out: np.ndarray | None) -> np.ndarray:
    bits = _arrays.check_bits(bits)
    codes = _arrays.as_codes(codes, "codes")
    axis = _arrays.check_axis(axis, codes.ndim)
    shape = codes.shape
    size = (shape[axis] * bits + 7) // 8
    packed_shape = (*shape[:axis], size, *shape[axis + 1 :])
    if out is not None:
        _arrays.check_out(out, packed_shape, UINT8, (codes,))
    rows = _arrays.contiguous(_arrays.axis_last(codes, axis))
    result = np.empty(packed_shape, UINT8) if out is None else out
    last = axis == codes.ndim - 1
    packed = result if last else np.empty((*rows.shape[:-1], size), UINT8)
    row_count = rows.size // rows.shape[-1] if rows.size else 0
    status = lib.qb_pack(
        _arrays.pointer(rows), _arrays.code_type(rows.dtype), row_count, rows.shape[-1], bits, signed,
        _arrays.pointer(packed), ffi.NULL,
    )  # fmt: skip
    if status == lib.QB_ERR_CODE_RANGE:
        _refuse_code(codes, bits, signed)
    check(status, "pack")
    if not last:
        result[...] = np.moveaxis(packed, -1, axis)
    return result


def _refuse_code(codes: np.ndarray, bits: int, signed: bool) -> None:
    lo, hi = _arrays.code_range(bits, signed)
    index = _arrays.first_index(codes, lambda x: (x < lo) | (x > hi))
    if index is not None:
        kind = "signed" if signed else "unsigned"
        raise ValueError(f"codes at index {index} is {codes[index]}: {bits} {kind} bits hold [{lo}, {hi}]")


def unpack(
    buf: Any,
    bits: int,
    count: int | None = None,
    *,
    signed: bool = False,
    axis: int = -1,
    dtype: Any = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Unpack a dense stream of bits along an axis; the inverse of `pack`.

    Parameters
    ----------
    buf : array_like of uint8
        Packed bytes (also a bytes-like object). Anything but a C-contiguous array with `axis` last is
        copied first.
    bits : int
        Width of a code, 1 to 8.
    count : int, optional
        Codes to read along the axis; by default all that the bytes hold, ``8 * n // bits``.
    signed : bool
        Codes are two's complement.
    axis : int
        The axis to unpack along.
    dtype : dtype, optional
        Any integer dtype that holds every code, or a sub-byte integer of ml_dtypes; bool for unsigned
        1-bit codes. By default that of `out`, or else int8 for signed and uint8 for unsigned codes.
    out : ndarray, optional
        Where to write: C-contiguous, of the result's shape, sharing no memory with `buf`.

    Returns
    -------
    ndarray of `dtype`
        The shape of `buf` with `count` in place of the axis' length.

    Examples
    --------
    >>> import numpy as np, pyqbits as qb
    >>> qb.unpack(np.array([209, 88, 31], np.uint8), bits=3)
    array([1, 2, 3, 4, 5, 6, 7, 0], dtype=uint8)
    >>> qb.unpack(b"\\x78", bits=4, signed=True, dtype=np.int32)
    array([-8,  7], dtype=int32)
    """
    if out is not None and dtype is None and axis == -1:  # small calls, as in pack()
        try:
            one = INT8 if signed else UINT8
            if buf.ndim == 1 and out.ndim == 1 and buf.dtype is UINT8 and out.dtype is one:
                have, size = len(buf), len(out)
                if size == (have * 8 // bits if count is None else count):
                    source, target = _from_buffer(BYTES, buf), _from_buffer(BYTES, out, True)
                    if not _unpack_bytes(source, have, bits, signed, target, size):
                        return out
        except (AttributeError, ArithmeticError, TypeError, ValueError):
            pass
    return _unpack_any(buf, bits, count, bool(signed), axis, dtype, out)


def _unpack_any(
    buf: Any, bits: int, count: int | None, signed: bool, axis: int, dtype: Any, out: np.ndarray | None
) -> np.ndarray:
    bits = _arrays.check_bits(bits)
    buf = _arrays.as_bytes(buf, "buf")
    axis = _arrays.check_axis(axis, buf.ndim)
    length = buf.shape[axis]
    most = length * 8 // bits
    count = most if count is None else operator.index(count)
    if not 0 <= count <= most:
        raise ValueError(f"count is {count}; {length} bytes hold 0 to {most} codes of {bits} bits")
    if dtype is None:
        dtype = out.dtype if isinstance(out, np.ndarray) else INT8 if signed else UINT8
    dtype = np.dtype(dtype)
    work = _work_dtype(dtype, bits, signed)
    shape = (*buf.shape[:axis], count, *buf.shape[axis + 1 :])
    if out is not None:
        _arrays.check_out(out, shape, dtype, (buf,))
    rows = _arrays.contiguous(_arrays.axis_last(buf, axis))
    result = np.empty(shape, dtype) if out is None else out
    codes = result.view(work)
    last = axis == buf.ndim - 1
    unpacked = codes if last else np.empty((*rows.shape[:-1], count), work)
    row_count = unpacked.size // count if unpacked.size else 0
    status = lib.qb_unpack(
        _arrays.pointer(rows), length, row_count, count, bits, signed, _arrays.code_type(work),
        _arrays.pointer(unpacked),
    )  # fmt: skip
    check(status, "unpack")
    if not last:
        codes[...] = np.moveaxis(unpacked, -1, axis)
    if signed and dtype.kind == "V":
        codes &= (1 << _arrays.SMALL_INTEGERS[dtype.name][0]) - 1  # as ml_dtypes keeps them
    return result


def _work_dtype(dtype: np.dtype, bits: int, signed: bool) -> np.dtype:
    """The plain integer dtype to unpack into, the same bytes as dtype; refuses what cannot hold the codes."""
    work: np.dtype
    if dtype.kind in "iu" and dtype.isnative:
        width, with_sign, work = 8 * dtype.itemsize, dtype.kind == "i", dtype
    elif dtype.kind == "b":
        width, with_sign, work = 1, False, UINT8
    elif dtype.kind == "V" and dtype.name in _arrays.SMALL_INTEGERS:
        width, with_sign = _arrays.SMALL_INTEGERS[dtype.name]
        work = INT8 if with_sign else UINT8
    else:
        raise TypeError(f"dtype {dtype} is not an integer dtype in native byte order")
    fits = with_sign and bits <= width if signed else bits <= width - with_sign
    if not fits:
        raise TypeError(f"dtype {dtype} does not hold {'signed' if signed else 'unsigned'} {bits}-bit codes")
    return work

"""A quantized array as one string of bytes, and the description of one that files carry.

Layout, version 1: the 8 bytes ``QBARRAY1``; the length of the description as 4 little-endian bytes; the
description, JSON ``{"format": NAME, "shape": [...], "axis": n}``; then each buffer of the format in its
order (codes, scales, mins or zeros), little-endian, each at the next multiple of 64 bytes, with zeros
between.
"""

import json
import operator
from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np

from . import _arrays
from .errors import FormatError
from .formats import Format, Part, as_format

MAGIC = b"QBARRAY1"
ALIGNMENT = 64
_MAX_DIMS = 32  # of every NumPy
_MAX_SIZE = 2**60

Description = tuple[Format, tuple[int, ...], int]


def parts_of(format: Format, shape: tuple[int, ...], axis: int) -> tuple[Part, ...]:
    """The buffers of an array of this shape, grouped along `axis`."""
    return format.parts(shape[:axis] + shape[axis + 1 :], shape[axis])


def described(format: Format | str, shape: Any, axis: int) -> Description:
    """The description of an array that arguments speak of."""
    format = as_format(format)
    shape = tuple(operator.index(n) for n in shape)
    if min(shape, default=0) < 0:
        raise ValueError(f"shape {shape} has a negative length")
    return format, shape, _arrays.check_axis(axis, len(shape))


def description(format: Format, shape: tuple[int, ...], axis: int) -> dict[str, Any]:
    """What a file says of a quantized array."""
    return {"format": format.name, "shape": list(shape), "axis": axis}


def read_description(fields: Any, what: str, offset: int | None) -> Description:
    """The inverse of description(), of fields that may be anything."""
    if not isinstance(fields, dict):
        raise FormatError(f"{what}: the description is not an object", offset)
    try:
        format = as_format(fields.get("format"))
    except (TypeError, ValueError) as error:
        raise FormatError(f"{what}: {error}", offset) from None
    shape, axis = fields.get("shape"), fields.get("axis")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise FormatError(f"{what}: bad shape", offset)
    if not 1 <= len(shape) <= _MAX_DIMS or prod(n for n in shape if n) > _MAX_SIZE:
        raise FormatError(f"{what}: shape of {len(shape)} dimensions is out of range", offset)
    if type(axis) is not int or not 0 <= axis < len(shape):
        raise FormatError(f"{what}: bad axis {str(axis)[:40]}", offset)
    found = format, tuple(shape), axis
    try:
        parts_of(*found)
    except ValueError as error:
        raise FormatError(f"{what}: {error}", offset) from None
    return found


def little(array: np.ndarray) -> np.ndarray:
    """The array as files keep it."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def encode(described: Description, arrays: Iterable[np.ndarray]) -> bytes:
    text = json.dumps(description(*described), separators=(",", ":")).encode()
    pieces: list[Any] = [MAGIC, len(text).to_bytes(4, "little"), text]
    size = len(MAGIC) + 4 + len(text)
    for array in arrays:
        pieces += [bytes(-size % ALIGNMENT), little(array)]
        size += -size % ALIGNMENT + array.nbytes
    return b"".join(pieces)


def decode(data: Any) -> tuple[Description, tuple[np.ndarray, ...]]:
    """The description and buffers in a string of bytes, which the buffers share where they can."""
    data = _arrays.contiguous(_arrays.as_bytes(data, "data")).reshape(-1)
    start = len(MAGIC) + 4
    if data.size < start or data[: len(MAGIC)].tobytes() != MAGIC:
        raise FormatError("not the bytes of a QArray (or of a version that is not known)", 0)
    length = int.from_bytes(data[len(MAGIC) : start].tobytes(), "little")
    if length > data.size - start:
        raise FormatError(f"the description of {length} bytes is cut short", len(MAGIC))
    try:
        fields = json.loads(data[start : start + length].tobytes().decode())
    except (ValueError, RecursionError):
        raise FormatError("the description is not JSON", start) from None
    described = read_description(fields, "QArray", start)
    position, arrays = start + length, []
    for part in parts_of(*described):
        position += -position % ALIGNMENT
        stop = position + part.nbytes
        if stop > data.size:
            raise FormatError(f"{part.name} of {part.nbytes} bytes are cut short at {data.size}", position)
        arrays.append(view_part(data[position:stop], part))
        position = stop
    if position != data.size:
        raise FormatError(f"{data.size - position} bytes too many", position)
    return described, tuple(arrays)


def decode_blocks(
    data: Any, format: Any, shape: Any, axis: int
) -> tuple[Description, tuple[np.ndarray, ...]]:
    """Rows of published blocks, which `data` shares where it can, as the buffer of a block type."""
    if format is None or shape is None:
        raise TypeError("the bytes of blocks need both a format and a shape")
    found = described(format, shape, axis)
    if found[0].part_names != ("blocks",):
        raise ValueError(f"{found[0]} is no block type: from_bytes(data) reads what tobytes() gave")
    (part,) = parts_of(*found)
    data = _arrays.contiguous(_arrays.as_bytes(data, "data")).reshape(-1)
    if data.size != part.nbytes:
        raise ValueError(f"data has {data.size} bytes; {found[0]} of shape {found[1]} takes {part.nbytes}")
    return found, (view_part(data, part),)


def view_part(data: np.ndarray, part: Part) -> np.ndarray:
    """Little-endian bytes as a buffer of a QArray, read-only; a copy only where C could not read them."""
    array = data.view(part.memory_dtype.newbyteorder("<")).reshape(part.shape)
    array = _arrays.contiguous(array)
    array.flags.writeable = False
    return array

"""Headers of files: every count, length and offset is held against the bytes that are there, then used.

Arrays in metadata are walked over, and decoded when somebody asks for their elements.
"""

import struct
from collections.abc import Iterable, Iterator
from math import prod
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from ..errors import FormatError
from .metadata import Metadata
from .types import NUMBERS, TYPE_OF_ID, VALUE_NAMES
from .values import Array, decode_text

MAGIC = b"GGUF"
VERSIONS = (2, 3)  # the same layout
ALIGNMENT, ALIGNMENT_KEY = 32, "general.alignment"
MAX_DIMS = 4
MAX_DEPTH = 8  # of arrays in arrays
_HEAD = 24
_LEAST_PAIR = 8 + 1 + 4 + 1  # bytes: a key of one letter and a value of one byte
_LEAST_TENSOR = 8 + 4 + 4 + 8  # bytes: no name, no dimensions
_MAX_BYTES = 2**63 - 1

Order: TypeAlias = Literal["<", ">"]


class TensorInfo(NamedTuple):
    """A tensor in a file.

    Attributes
    ----------
    name : str
    type : str
        "f32", "q4_K", ...
    shape : tuple of int
        As NumPy counts: the last axis is contiguous and the one that blocks run along.
    offset : int
        Of its first byte, from the beginning of the file.
    nbytes : int
    """

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


class Header(NamedTuple):
    version: int
    byteorder: str
    alignment: int
    metadata: Metadata
    tensors: dict[str, TensorInfo]


class Cursor:
    """A place in a buffer that moves on as values are taken."""

    def __init__(self, data: memoryview, order: Order, at: int) -> None:
        self.data, self.order, self.at = data, order, at
        self.u32, self.u64 = struct.Struct(order + "I"), struct.Struct(order + "Q")
        self.array_head = struct.Struct(order + "IQ")

    def need(self, size: int, what: str) -> int:
        """Move on by `size` bytes, which must be there; returns where they begin."""
        start, left = self.at, len(self.data) - self.at
        if size > left:
            raise FormatError(f"{what} takes {size} bytes where {left} are left", start)
        self.at = start + size
        return start

    def number(self, layout: struct.Struct, what: str) -> int:
        return layout.unpack_from(self.data, self.need(layout.size, what))[0]

    def string(self, what: str) -> bytes:
        start = self.need(self.number(self.u64, f"the length of {what}"), what)
        return bytes(self.data[start : self.at])

    def name(self, what: str) -> str:
        start = self.at
        try:
            return self.string(what).decode()
        except UnicodeDecodeError:
            raise FormatError(f"{what} is not UTF-8", start + 8) from None

    def dtype(self, type: str) -> np.dtype:
        return NUMBERS[type].newbyteorder(self.order)

    # ---- values of metadata -----------------------------------------------------------------------

    def value_type(self, what: str) -> str:
        start, number = self.at, self.number(self.u32, f"the type of {what}")
        if number not in VALUE_NAMES:
            raise FormatError(f"{what} has type {number}, which no value has", start)
        return VALUE_NAMES[number]

    def value(self, type: str, what: str) -> Any:
        if type == "array":
            return self.array(what)
        if type == "string":
            return decode_text(self.string(what))
        dtype = self.dtype(type)
        return np.frombuffer(self.data, dtype, 1, self.need(dtype.itemsize, what))[0].item()

    def array(self, what: str) -> Array:
        type, count, first = self._pass_array(what, 1)
        return Array._later(type, count, lambda: self._decoded(type, count, first))

    def _pass_array(self, what: str, depth: int) -> tuple[str, int, int]:
        """Walk over an array; returns its type, its length, and where its elements begin."""
        if depth > MAX_DEPTH:
            raise FormatError(f"{what} has arrays in arrays, more than {MAX_DEPTH} deep", self.at)
        start = self.need(12, what)
        number, count = self.array_head.unpack_from(self.data, start)
        type, first = VALUE_NAMES.get(number), self.at
        if type is None:
            raise FormatError(f"{what} has elements of type {number}, which no value has", start)
        if type in NUMBERS:
            self.need(count * NUMBERS[type].itemsize, what)
        elif type == "string":
            self._pass_strings(count, what)
        else:
            self._check_count(count, 12, what)
            for _ in range(count):
                self._pass_array(what, depth + 1)
        return type, count, first

    def _check_count(self, count: int, least: int, what: str) -> None:
        """Refuse a count of elements, of at least so many bytes each, that the rest cannot hold."""
        left = len(self.data) - self.at
        if count > left // least:
            raise FormatError(f"{what} has {count} elements where {left} bytes are left", self.at)

    def _pass_strings(self, count: int, what: str) -> None:
        self._check_count(count, 8, what)
        data, end, at, length = self.data, len(self.data), self.at, self.u64.unpack_from
        for _ in range(count):
            if at + 8 > end:
                raise FormatError(f"{what} is cut short", at)
            (size,) = length(data, at)
            if size > end - at - 8:
                raise FormatError(f"{what} has a string of {size} bytes where {end - at - 8} are left", at)
            at += 8 + size
        self.at = at

    def _decoded(self, type: str, count: int, first: int) -> np.ndarray | list:
        """The elements of an array that was walked over; they begin at `first`."""
        if type == "bool":
            return np.frombuffer(self.data, np.uint8, count, first) != 0
        if type in NUMBERS:
            return np.frombuffer(self.data, self.dtype(type), count, first)
        if type == "string":
            return list(self._strings(count, first))
        cursor = Cursor(self.data, self.order, first)
        return [cursor.array("an element") for _ in range(count)]

    def _strings(self, count: int, at: int) -> Iterator[str]:
        data, length = self.data, self.u64.unpack_from
        for _ in range(count):
            start = at + 8
            at = start + length(data, at)[0]
            yield decode_text(data[start:at])


def read_header(data: memoryview) -> Header:
    """What a file, given as all its bytes, says of itself."""
    version, order = _version(data)
    cursor = Cursor(data, order, 8)
    tensors = cursor.number(cursor.u64, "the number of tensors")
    pairs = cursor.number(cursor.u64, "the number of keys")
    for count, least, what, at in ((tensors, _LEAST_TENSOR, "tensors", 8), (pairs, _LEAST_PAIR, "keys", 16)):
        if count > (len(data) - _HEAD) // least:
            raise FormatError(f"{count} {what} cannot be in a file of {len(data)} bytes", at)
    metadata, alignment = _metadata(cursor, pairs)
    found = [_tensor(cursor, alignment) for _ in range(tensors)]
    infos = _placed(found, cursor.at, alignment, len(data))
    return Header(version, "little" if order == "<" else "big", alignment, metadata, infos)


def _version(data: memoryview) -> tuple[int, Order]:
    if data[:4] != MAGIC:
        raise FormatError("not a GGUF file", 0)
    if len(data) < _HEAD:
        raise FormatError(f"{len(data)} bytes, where the header alone takes {_HEAD}", len(data))
    order: Order = "<"
    version = int.from_bytes(data[4:8], "little")
    if version and not version & 0xFFFF:
        version, order = int.from_bytes(data[4:8], "big"), ">"
    if version == 1:
        raise FormatError("version 1, whose lengths have 32 bits, is not read; versions 2 and 3 are", 4)
    if version not in VERSIONS:
        raise FormatError(f"version {version} is not known; versions 2 and 3 are", 4)
    return version, order


def _metadata(cursor: Cursor, count: int) -> tuple[Metadata, int]:
    metadata, alignment = Metadata(), ALIGNMENT
    for _ in range(count):
        start = cursor.at
        key = cursor.name("a key")
        if not key:
            raise FormatError("a key is empty", start)
        if key in metadata:
            raise FormatError(f"the key {key!r:.80} is there twice", start)
        type = cursor.value_type(f"{key!r:.80}")
        place = cursor.at
        value = cursor.value(type, f"{key!r:.80}")
        if key == ALIGNMENT_KEY:
            alignment = value
            if type != "uint32" or not is_power_of_two(alignment):
                raise FormatError(f"{key} is {value!r:.80} of type {type}, not a uint32 power of two", place)
        metadata._put(key, type, value)
    return metadata, alignment


def is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


class _Found(NamedTuple):
    """A tensor as the header has it: its offset counts from the data, and stands at `place`."""

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    start: int
    place: int


def _tensor(cursor: Cursor, alignment: int) -> _Found:
    start = cursor.at
    name = cursor.name("the name of a tensor")
    what, place = f"tensor {name!r:.80}", cursor.at
    dims = cursor.number(cursor.u32, f"the number of dimensions of {what}")
    if dims > MAX_DIMS:
        raise FormatError(f"{what} has {dims} dimensions; {MAX_DIMS} are the most", place)
    place = cursor.need(8 * dims, f"the shape of {what}")
    sizes = struct.unpack_from(f"{cursor.order}{dims}Q", cursor.data, place)
    shape = sizes[::-1]
    number = cursor.number(cursor.u32, f"the type of {what}")
    type = TYPE_OF_ID.get(number)
    if type is None:
        message = f"{what} has type {number}, which is not known or no longer in use"
        raise FormatError(message, place + 8 * dims)
    columns = sizes[0] if sizes else 1
    if columns % type.block:
        raise FormatError(f"{what} has rows of {columns} values, not of blocks of {type.block}", place)
    if prod(n for n in sizes if n) > _MAX_BYTES // 8:
        raise FormatError(f"{what} has the shape {shape}, which is out of range", place)
    place = cursor.at
    offset = cursor.number(cursor.u64, f"the offset of {what}")
    if offset % alignment:
        raise FormatError(f"{what} has the offset {offset}, no multiple of the alignment {alignment}", place)
    return _Found(name, type.name, shape, offset, type.array_nbytes(shape), start, place)


def _placed(found: Iterable[_Found], header: int, alignment: int, total: int) -> dict[str, TensorInfo]:
    """Tensors by name, each inside the file and none in another."""
    data = header + -header % alignment  # where offsets count from
    infos: dict[str, TensorInfo] = {}
    for name, type, shape, offset, nbytes, start, place in found:
        if name in infos:
            raise FormatError(f"two tensors are named {name!r:.80}", start)
        # What pads the file's end may be missing, so that an empty tensor can lie behind it.
        if data + offset + nbytes > total + (0 if nbytes else alignment):
            where = f"at {data + offset}, beyond the end of the file of {total} bytes"
            raise FormatError(f"tensor {name!r:.80} has {nbytes} bytes {where}", place)
        infos[name] = TensorInfo(name, type, shape, data + offset, nbytes)
    end, last = 0, ""
    for info in sorted(infos.values(), key=lambda info: info.offset):
        if info.nbytes:
            if info.offset < end:
                raise FormatError(f"tensors {last!r:.80} and {info.name!r:.80} overlap", info.offset)
            end, last = info.offset + info.nbytes, info.name
    return infos

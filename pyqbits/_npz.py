"""The .npz container, for mapping: a zip of .npy members, stored as they are, their data aligned.

`numpy.load` reads what is written here, and what `numpy.savez` wrote can be mapped. Like `_safetensors`
this module knows bytes and shapes only. Text goes into a member of bytes without dimensions.
"""

import io
import os
import struct
import zipfile
from collections.abc import Iterable
from math import prod
from typing import NamedTuple

import numpy as np

from ._files import replacing
from .errors import FormatError

ALIGNMENT = 64  # of data in the file; NumPy makes .npy headers multiples of it
_LOCAL = struct.Struct("<4s5H3L2H")  # the header before each member
_ZIP64_EXTRA = 20  # bytes that zipfile adds to it for large members
_PADDING_ID = 0xD935  # the extra field that other zip aligners use


class Entry(NamedTuple):
    """A member: bytes [start, stop) of the file."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    start: int
    stop: int
    fortran: bool


def read_header(buffer) -> dict[str, Entry]:
    """The members of a file given as bytes or a memory map that holds all of it."""
    try:
        with zipfile.ZipFile(_File(buffer)) as archive:
            members = archive.infolist()
    except Exception as error:  # zipfile lets through whatever a broken directory runs it into
        raise FormatError(f"not a zip file that can be read: {error}", 0) from None
    entries: dict[str, Entry] = {}
    for member in members:
        entry = _entry(buffer, member)
        if entry.name in entries:
            raise FormatError(f"two members are named {entry.name!r}", entry.start)
        entries[entry.name] = entry
    return entries


class _File(io.RawIOBase):
    """A buffer as a file to read, without a copy of it."""

    def __init__(self, buffer) -> None:
        self._buffer, self._at = buffer, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        at = (0, self._at, len(self._buffer))[whence] + offset
        if at < 0:
            raise OSError(f"seek to {at}")
        self._at = at
        return at

    def tell(self) -> int:
        return self._at

    def readinto(self, target) -> int:
        data = self._buffer[self._at : self._at + len(target)]
        target[: len(data)] = data
        self._at += len(data)
        return len(data)


def _entry(buffer, member: zipfile.ZipInfo) -> Entry:
    name, at = member.filename.removesuffix(".npy"), member.header_offset
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        raise FormatError(f"{name!r} is compressed or encrypted; only stored members can be mapped", at)
    header = bytes(buffer[at : at + _LOCAL.size]) if at >= 0 else b""
    if len(header) < _LOCAL.size or header[:4] != b"PK\3\4":
        raise FormatError(f"{name!r} has no header in its place", at)
    start = at + _LOCAL.size + sum(_LOCAL.unpack(header)[-2:])
    stop = start + member.file_size
    if member.file_size != member.compress_size or stop > len(buffer):
        raise FormatError(f"{name!r} of {member.file_size} bytes does not fit the file", at)
    dtype, shape, fortran, length = _npy_header(buffer, name, start, stop)
    size = prod(shape) * dtype.itemsize
    if start + length + size != stop:
        message = f"{name!r}: {dtype} of shape {shape} does not take {stop - start - length} bytes"
        raise FormatError(message, start)
    return Entry(name, dtype, shape, start + length, stop, fortran)


def _npy_header(buffer, name: str, start: int, stop: int) -> tuple[np.dtype, tuple[int, ...], bool, int]:
    text = io.BytesIO(bytes(buffer[start : min(stop, start + 12_000)]))
    formats = np.lib.format
    try:
        version = formats.read_magic(text)
        read = {(1, 0): formats.read_array_header_1_0, (2, 0): formats.read_array_header_2_0}[version]
        shape, fortran, dtype = read(text)
    except Exception as error:  # a header is parsed as a Python literal; anything can come of a bad one
        raise FormatError(f"{name!r} is not an array that can be mapped: {error}", start) from None
    plain = not dtype.hasobject and dtype.subdtype is None and dtype.itemsize
    if not plain or min(shape, default=0) < 0 or len(shape) > 32 or prod(n for n in shape if n) > 2**60:
        raise FormatError(f"{name!r} has a dtype or shape that cannot be mapped", start)
    return dtype, shape, fortran, text.tell()


def write(path: str | os.PathLike, members: Iterable[tuple[str, np.ndarray]]) -> None:
    """Write a file; it appears under its name when it is complete."""
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in members:
            _write_member(archive, file.tell(), name, array)


def _write_member(archive: zipfile.ZipFile, position: int, name: str, array: np.ndarray) -> None:
    info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
    info.file_size = array.nbytes
    large = array.nbytes + 16_384 >= zipfile.ZIP64_LIMIT
    before = position + _LOCAL.size + len(info.filename.encode()) + (_ZIP64_EXTRA if large else 0) + 4
    padding = -before % ALIGNMENT
    info.extra = struct.pack("<2H", _PADDING_ID, padding) + bytes(padding)
    info.file_size = 0  # unknown to zipfile, which would judge the need of zip64 by its own rule
    with archive.open(info, "w", force_zip64=large) as member:
        np.lib.format.write_array(member, array, allow_pickle=False)

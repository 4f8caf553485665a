"""The safetensors container: headers read with every length checked, files written as a stream.

A file is an 8-byte little-endian header length, a JSON header, and the tensors' bytes without holes. This
module knows bytes and shapes only; what quantized tensors look like inside is the business of `storage`.
Written files start every tensor at a multiple of 64 bytes: tensors whose sizes are multiples of 64 come
first, and behind any other size stands a small U8 tensor ``pyqbits.pad.N``, which readers here leave out.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from ._files import StreamWriter
from .errors import FormatError

ALIGNMENT = 64
MAX_HEADER = 100_000_000  # what the safetensors package accepts
PAD_PREFIX = "pyqbits.pad."

# Bits per element of every dtype the container knows.
DTYPE_BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "BOOL": 8, "U8": 8, "I8": 8,
    "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip

# Those NumPy has a type for by itself.
NUMPY_DTYPES = {
    "BOOL": np.dtype("?"), "U8": np.dtype("u1"), "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"), "I16": np.dtype("<i2"), "F16": np.dtype("<f2"),
    "U32": np.dtype("<u4"), "I32": np.dtype("<i4"), "F32": np.dtype("<f4"),
    "U64": np.dtype("<u8"), "I64": np.dtype("<i8"), "F64": np.dtype("<f8"), "C64": np.dtype("<c8"),
}  # fmt: skip


class Spec(NamedTuple):
    """A tensor to be written."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        bits = math.prod(self.shape) * DTYPE_BITS[self.dtype]
        if bits % 8:
            raise ValueError(f"tensor {self.name!r}: {self.dtype} {self.shape} does not fill whole bytes")
        return bits // 8


class Entry(NamedTuple):
    """A tensor in a file: bytes [start, stop) from the file's beginning."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def nbytes(self) -> int:
        return self.stop - self.start


class Header(NamedTuple):
    entries: dict[str, Entry]
    metadata: dict[str, str]


def read_header(buffer) -> Header:
    """Parse the header of a file given as bytes or a memory map that holds all of it."""
    total = len(buffer)
    if total < 8:
        raise FormatError(f"not a safetensors file: {total} bytes, where the header length alone takes 8", 0)
    length = int.from_bytes(buffer[:8], "little")
    if length > min(MAX_HEADER, total - 8):
        raise FormatError(f"header length {length} exceeds what the file of {total} bytes can hold", 0)
    fields = _parse_json(bytes(buffer[8 : 8 + length]))
    metadata = fields.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError("__metadata__ must map strings to strings", 8)
    entries = [_entry(name, field, 8 + length, total) for name, field in fields.items()]
    _check_coverage(entries, 8 + length, total)
    return Header({e.name: e for e in entries if not e.name.startswith(PAD_PREFIX)}, metadata)


def _parse_json(text: bytes) -> dict:
    def unique(pairs):
        found = dict(pairs)
        if len(found) != len(pairs):
            raise FormatError("the header names something twice", 8)
        return found

    def refuse(constant):
        raise FormatError(f"the header holds {constant}", 8)

    try:
        fields = json.loads(text.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    except (UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"the header is not JSON text ({type(error).__name__})", 8) from None
    except json.JSONDecodeError as error:
        raise FormatError(f"the header is not JSON: {error.msg}", 8 + error.pos) from None
    except FormatError:
        raise
    except ValueError as error:  # an integer of too many digits
        raise FormatError(f"the header is not usable: {error}", 8) from None
    if not isinstance(fields, dict):
        raise FormatError("the header is not a JSON object", 8)
    return fields


def _naturals(value) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)


def _entry(name: str, field, data: int, total: int) -> Entry:
    if not isinstance(field, dict) or not {"dtype", "shape", "data_offsets"} <= field.keys():
        raise FormatError(f"tensor {name!r} lacks dtype, shape or data_offsets", 8)
    dtype, shape, offsets = field["dtype"], field["shape"], field["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise FormatError(f"tensor {name!r} has the unknown dtype {dtype!r}", 8)
    if not _naturals(shape) or len(shape) > 32:
        raise FormatError(f"tensor {name!r} has a bad shape", 8)
    if not _naturals(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= total - data:
        raise FormatError(f"tensor {name!r} has data_offsets outside the file of {total} bytes", 8)
    start, stop = offsets
    if math.prod(shape) * DTYPE_BITS[dtype] != (stop - start) * 8:
        message = f"tensor {name!r}: {dtype} of shape {tuple(shape)} does not take {stop - start} bytes"
        raise FormatError(message, data + start)
    return Entry(name, dtype, tuple(shape), data + start, data + stop)


def _check_coverage(entries: list[Entry], start: int, total: int) -> None:
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.stop)):
        if entry.start != start:
            raise FormatError(f"tensor {entry.name!r} begins at {entry.start}: overlap or hole", start)
        start = entry.stop
    if start != total:
        raise FormatError(f"{total - start} bytes behind the last tensor", start)


def _layout(specs: Iterable[Spec], metadata: Mapping[str, str]) -> tuple[bytes, dict[str, Entry], int]:
    """Header bytes, place of each tensor, and size of the file."""
    fields: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    places, position, pads = [], 0, 0

    def add(spec: Spec) -> None:
        nonlocal position
        if spec.name in fields or spec.name == "__metadata__":
            raise ValueError(f"two tensors would be stored under the name {spec.name!r}")
        stop = position + spec.nbytes
        fields[spec.name] = {"dtype": spec.dtype, "shape": list(spec.shape), "data_offsets": [position, stop]}
        places.append(Entry(*spec, position, stop))
        position = stop

    for spec in sorted(specs, key=lambda spec: spec.nbytes % ALIGNMENT != 0):
        if spec.name.startswith(PAD_PREFIX):
            raise ValueError(f"tensor names must not start with {PAD_PREFIX!r}")
        if position % ALIGNMENT:
            add(Spec(f"{PAD_PREFIX}{pads}", "U8", (-position % ALIGNMENT,)))
            pads += 1
        add(spec)
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    data = 8 + len(text)
    moved = {e.name: e._replace(start=data + e.start, stop=data + e.stop) for e in places}
    return len(text).to_bytes(8, "little") + text, moved, data + position


class Writer(StreamWriter):
    """Writes a file whose tensors are known by shape before their bytes are."""

    def __init__(self, path: str | os.PathLike, specs: Iterable[Spec], metadata: Mapping[str, str]) -> None:
        header, entries, size = _layout(specs, metadata)
        places = {n: (e.start, e.nbytes) for n, e in entries.items() if not n.startswith(PAD_PREFIX)}
        super().__init__(path, header, places, size)

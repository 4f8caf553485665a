"""`pyqbits inspect`: what a file holds."""

import math
import mmap
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyqbits
from pyqbits import gguf

from .. import _npz
from .._safetensors import DTYPE_BITS, read_header
from ..gguf.types import TYPES
from ..storage import METADATA_KEY
from . import models, tables

SHOWN, ELEMENTS = 100, 6  # characters of a metadata value, elements of an array; --json has all of them


class Row(NamedTuple):
    """A tensor; `offset` is where the first of its bytes is in the file."""

    name: str
    shape: tuple[int, ...]
    format: str
    bpw: float
    bytes: int
    offset: int


def inspect_file(path: Path, *, json: bool) -> None:
    """Print the tensors of each file of a model, their sum, and the file's metadata."""
    found = {file: contents(file) for file in models.find(path).files}
    if json:
        records = {}
        for file, (rows, metadata) in found.items():
            known = {key: plain(value) for key, value in metadata.items()}
            records[str(file)] = {"tensors": [row._asdict() for row in rows], "metadata": known}
        tables.show_json(records)
        return
    for file, (rows, metadata) in found.items():
        show_file(file, rows, metadata)


def plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, gguf.Array) else value


def contents(path: Path) -> tuple[list[Row], Mapping[str, Any]]:
    """The tensors of a file in the order of their bytes, and its metadata."""
    with models.naming(path):
        archive = pyqbits.open(path)
    metadata: Mapping[str, Any]
    if isinstance(archive, gguf.File):
        rows, metadata = [gguf_row(info) for info in archive.tensors.values()], archive.metadata
    else:
        entries, metadata = header(path)
        rows = [row(name, archive, entries[name]) for name in archive]
    return sorted(rows, key=lambda row: row.offset), metadata


def header(path: Path) -> tuple[dict, dict[str, str]]:
    """Entries of what is stored, and the metadata, of a file that could be opened."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        if mapped[:2] != b"PK":
            return read_header(mapped)
        entries = _npz.read_header(mapped)
        stored = entries.get(METADATA_KEY)
        return entries, {METADATA_KEY: mapped[stored.start : stored.stop].decode()} if stored else {}


def row(name: str, archive: Mapping, entry) -> Row:
    try:
        tensor = archive[name]
    except TypeError:  # a type that NumPy has not
        tensor = None
    if isinstance(tensor, pyqbits.QArray):
        return Row(name, tensor.shape, str(tensor.format), tensor.bpw, tensor.nbytes, entry.start)
    bits = DTYPE_BITS[entry.dtype] if isinstance(entry.dtype, str) else 8 * entry.dtype.itemsize
    return Row(name, entry.shape, str(entry.dtype), bits, entry.stop - entry.start, entry.start)


def gguf_row(info: gguf.TensorInfo) -> Row:
    bits = TYPES[info.type].bpw
    return Row(info.name, info.shape, info.type, bits, info.nbytes, info.offset)


def show_file(path: Path, rows: list[Row], metadata: Mapping[str, Any]) -> None:
    values = sum(math.prod(row.shape) for row in rows)
    total = sum(row.bytes for row in rows)
    lines = [
        [r.name, tables.shape(r.shape), r.format, tables.bits(r.bpw), f"{r.bytes}", f"{r.offset}"]
        for r in rows
    ]
    mean = tables.bits(total * 8 / values) if values else ""
    lines.append([f"total of {len(rows)} tensors", "", "", mean, f"{total}", ""])
    tables.show(str(path), ["tensor", "shape", "format", "bpw", "bytes", "offset"], lines, footer=1)
    counts = Counter(row.format for row in rows)
    if len(counts) > 1:
        tables.note("formats: " + ", ".join(f"{count} {format}" for format, count in counts.most_common()))
    tables.note(f"file: {path.stat().st_size} bytes")
    for key, value in metadata.items():
        kind = f" ({metadata.type(key)})" if isinstance(metadata, gguf.Metadata) else ""
        tables.note(f"metadata {key}{kind}: {shortened(value)}")
    tables.note("")


def shortened(value: Any) -> str:
    if isinstance(value, gguf.Array):
        rest = f" and {len(value) - ELEMENTS} more" if len(value) > ELEMENTS else ""
        return shortened(str([plain(element) for element in value[:ELEMENTS]])) + rest
    text = str(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."

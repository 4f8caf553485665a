"""`pyqbits inspect`: what a file holds."""

import math
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyqbits

from .. import _npz
from .._safetensors import DTYPE_BITS, read_header
from ..storage import METADATA_KEY
from . import models, tables

SHOWN = 100  # characters of a metadata value; --json has all of them


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
            records[str(file)] = {"tensors": [row._asdict() for row in rows], "metadata": metadata}
        tables.show_json(records)
        return
    for file, (rows, metadata) in found.items():
        show_file(file, rows, metadata)


def contents(path: Path) -> tuple[list[Row], dict[str, str]]:
    """The tensors of a file in the order of their bytes, and its metadata."""
    with models.naming(path):
        archive = pyqbits.open(path)
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


def show_file(path: Path, rows: list[Row], metadata: dict[str, str]) -> None:
    values = sum(math.prod(row.shape) for row in rows)
    total = sum(row.bytes for row in rows)
    lines = [
        [r.name, tables.shape(r.shape), r.format, tables.bits(r.bpw), f"{r.bytes}", f"{r.offset}"]
        for r in rows
    ]
    mean = tables.bits(total * 8 / values) if values else ""
    lines.append([f"total of {len(rows)} tensors", "", "", mean, f"{total}", ""])
    tables.show(str(path), ["tensor", "shape", "format", "bpw", "bytes", "offset"], lines, footer=1)
    tables.note(f"file: {path.stat().st_size} bytes")
    for key, value in metadata.items():
        tables.note(f"metadata {key}: {value if len(value) <= SHOWN else value[:SHOWN] + '...'}")
    tables.note("")

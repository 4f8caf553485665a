"""`pyqbits inspect`: what a file holds."""

import zipfile
from pathlib import Path
from typing import NamedTuple

import pyqbits

from .._safetensors import DTYPE_BITS
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
    with models.naming(path):
        tensors = pyqbits.open(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            places = {
                name.removesuffix(".npy"): archive.getinfo(name).header_offset for name in archive.namelist()
            }
        return [row(name, tensors[name], places[name]) for name in tensors], {}
    file = models.MappedFile(path)
    rows = []
    for name in tensors:
        entry = file.entries[name]
        rows.append(
            Row(name, entry.shape, entry.dtype, DTYPE_BITS[entry.dtype], entry.nbytes, entry.start)
            if entry.dtype != "U8"
            else row(name, tensors[name], entry.start)
        )
    return sorted(rows, key=lambda row: row.offset), file.metadata


def row(name: str, tensor, offset: int) -> Row:
    if isinstance(tensor, pyqbits.QArray):
        return Row(name, tensor.shape, str(tensor.format), tensor.bpw, tensor.nbytes, offset)
    return Row(name, tensor.shape, str(tensor.dtype), 8 * tensor.itemsize, tensor.nbytes, offset)


def show_file(path: Path, rows: list[Row], metadata: dict[str, str]) -> None:
    values = sum(row.bytes * 8 / row.bpw for row in rows)
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

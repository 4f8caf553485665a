"""How much each column of a weight matters, in the files of llama.cpp's `imatrix` tool.

These hold sums of the squares of what the columns were multiplied with, and how many there were: as tensors
of a GGUF file, or in an older layout of their own.
"""

import struct
from pathlib import Path

import numpy as np

from pyqbits import FormatError, gguf

from . import models

SUMS, COUNTS = ".in_sum2", ".counts"


def load(path: Path) -> dict[str, np.ndarray]:
    """Weights by the name of the tensor: a row of them for each of its matrices."""
    with models.naming(path):
        found = _from_gguf(gguf.open(path)) if models.is_gguf(path) else _from_bytes(path.read_bytes())
        if not found:
            raise FormatError("no importance of any tensor is in the file")
        for name, weights in found.items():
            if not (np.isfinite(weights).all() and (weights >= 0).all()):
                raise FormatError(f"the importance of {name!r} is not all finite and not negative")
    return found


def _from_gguf(file: gguf.File) -> dict[str, np.ndarray]:
    found = {}
    for key in file:
        if not key.endswith(SUMS):
            continue
        name = key.removesuffix(SUMS)
        if name + COUNTS not in file or file.tensors[key].type != "f32":
            raise FormatError(f"{key!r} has no {COUNTS!r}, or is not f32", file.tensors[key].offset)
        sums, counts = file[key], np.asarray(file[name + COUNTS]).reshape(-1, 1)
        if not counts.size or sums.size % counts.size:
            raise FormatError(f"{key!r} and its counts do not fit", file.tensors[key].offset)
        found[name] = _means(sums.reshape(counts.size, -1), counts)
    return found


def _means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sums over counts; ones for a matrix that was never used."""
    return np.where(counts > 0, sums / np.maximum(counts, 1), 1).astype(np.float32)


def _from_bytes(data: bytes) -> dict[str, np.ndarray]:
    """The older layout: little-endian counts, names and float32 sums."""
    at, found = 0, {}

    def take(size: int) -> bytes:
        nonlocal at
        if not 0 <= size <= len(data) - at:
            raise FormatError(f"an importance file that is cut short, or none: {size} bytes are missing", at)
        at += size
        return data[at - size : at]

    def number() -> int:
        return struct.unpack("<i", take(4))[0]

    for _ in range(number()):
        try:
            name = take(number()).decode()
        except UnicodeDecodeError:
            raise FormatError("a name that is not UTF-8", at) from None
        calls, start = number(), at
        sums = np.frombuffer(take(4 * number()), "<f4").reshape(1, -1)
        if not sums.size:
            raise FormatError(f"the importance of {name!r} is empty", start)
        found[name] = (sums / max(calls, 1)).astype(np.float32)
    return found

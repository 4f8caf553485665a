"""Models on disk: one safetensors file, or shards under an index; read through memory maps."""

import json
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import gguf
from .._archive import release
from .._files import replacing
from .._safetensors import NUMPY_DTYPES, Entry, read_header
from ..errors import FormatError

INDEX_NAME = "model.safetensors.index.json"
FLOATS = ("F32", "F16", "BF16", "F64")


def is_gguf(path: Path) -> bool:
    """Whether a path is that of a GGUF file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(gguf.MAGIC)) == gguf.MAGIC


@dataclass(frozen=True)
class Model:
    """The files of a model; `index` is None where it is a single file."""

    files: list[Path]
    index: Path | None


def find(path: Path) -> Model:
    """The model a path names: a file, an index, or a directory that holds one or the other."""
    if path.is_dir():
        if (path / INDEX_NAME).is_file():
            return _sharded(path / INDEX_NAME)
        found = sorted(path.glob("*.safetensors"))
        if len(found) != 1:
            raise ValueError(f"{path}: {len(found)} .safetensors files and no {INDEX_NAME}; name the file")
        return Model(found, None)
    if path.name.endswith(".index.json"):
        return _sharded(path)
    return Model([path], None)


def _sharded(index: Path) -> Model:
    with naming(index):
        names = dict.fromkeys(read_index(index)["weight_map"].values())
        for name in names:
            if name in (".", "..") or Path(name).name != name or "\\" in name:
                raise FormatError(f"shard {name!r} is not a plain file name")
    if not names:
        raise FormatError(f"{index}: the index names no shard")
    return Model([index.parent / name for name in sorted(names)], index)


def read_index(index: Path) -> dict:
    """The index as a dictionary whose `weight_map` maps strings to strings."""
    try:
        fields = json.loads(index.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not a JSON index: {error}") from None
    shards = fields.get("weight_map") if isinstance(fields, dict) else None
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise FormatError("the index has no weight_map of tensor names to file names")
    return fields


def write_index(source: Path, files: list[Path]) -> None:
    """Write the index of a model's new shards beside them: the old one's fields, the new tensors."""
    fields = read_index(source)
    entries = {name: (path, entry) for path in files for name, entry in MappedFile(path).entries.items()}
    metadata = fields.get("metadata")
    total = sum(entry.nbytes for _, entry in entries.values())
    fields["metadata"] = {**(metadata if isinstance(metadata, dict) else {}), "total_size": total}
    fields["weight_map"] = {name: path.name for name, (path, _) in sorted(entries.items())}
    with replacing(files[0].parent / source.name) as file:
        file.write(json.dumps(fields, indent=2).encode() + b"\n")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Puts the file's name in front of what is wrong with it."""
    try:
        yield
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None


class MappedFile:
    """A safetensors file under a memory map."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with naming(path), open(path, "rb") as file:
            if not file.seek(0, os.SEEK_END):
                raise FormatError("the file is empty", 0)
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self.entries, self.metadata = read_header(self._map)

    def raw(self, name: str) -> np.ndarray:
        """The bytes of a tensor."""
        entry = self.entries[name]
        return np.frombuffer(self._map, np.uint8, entry.nbytes, entry.start)

    def forget(self, start: int, stop: int) -> None:
        """Give back the memory that the bytes [start, stop) of the file take."""
        release(self._map, start, stop)


def float_dtype(entry: Entry) -> np.dtype:
    if entry.dtype != "BF16":
        return NUMPY_DTYPES[entry.dtype]
    try:
        from ml_dtypes import bfloat16
    except ModuleNotFoundError:
        message = f"tensor {entry.name!r} is bfloat16, which needs ml_dtypes: pip install 'pyqbits[cli]'"
        raise ValueError(message) from None
    return np.dtype(bfloat16)

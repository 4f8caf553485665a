"""GGUF files opened: tensors as arrays where they lie."""

import os
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from .._archive import Archive
from ..qarray import QArray
from .metadata import Metadata
from .reader import TensorInfo, read_header
from .types import DTYPES, TYPES


class File(Archive):
    """The tensors of a GGUF file by name, made when they are asked for; and what the file says of itself.

    `open` makes one. Tensors of plain types are ndarrays, those of block types QArrays: read-only views of
    the mapped file. It stays mapped until the File, every array, and every unread array of the metadata are
    gone; as a context manager (or with `close`) the File lets go of it early. It must not be truncated
    meanwhile.

    In big-endian files nothing says in which order the bytes of a block are, and writers differ: `raw` has
    them, asking for the QArray is a TypeError.

    Attributes
    ----------
    metadata : Metadata
        A copy: what is changed here does not change in the file.
    tensors : mapping of str to TensorInfo
        Types, shapes and places, in the order of the file.
    version : int
        2 or 3.
    byteorder : str
        "little" or "big".
    alignment : int
        What the places of tensors are multiples of, counted from the first.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__(path)
        assert self._mapped is not None
        header = read_header(memoryview(self._mapped))
        self.version, self.byteorder, self.alignment = header.version, header.byteorder, header.alignment
        self.metadata: Metadata = header.metadata
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(header.tensors)

    def raw(self, name: str) -> np.ndarray:
        """The bytes of a tensor as the file has them: in place of the last axis, the bytes of a row."""
        info = self.tensors[name]
        row = TYPES[info.type].array_nbytes(info.shape[-1:])
        return self._bytes(info.offset, info.offset + info.nbytes).reshape(*info.shape[:-1], row)

    def __getitem__(self, name: str) -> Any:
        info = self.tensors[name]
        stored = self.raw(name)
        if info.type == "bf16":
            stored = self._brain_floats(name, stored)
        elif info.type in DTYPES:
            dtype = DTYPES[info.type]
            stored = stored.view(dtype if self.byteorder == "little" else dtype.newbyteorder(">"))
        elif self.byteorder == "big":
            raise TypeError(f"{name!r} has type {info.type}, whose bytes big-endian files order as they like")
        else:
            return QArray.from_bytes(stored, info.type, info.shape)
        return stored.reshape(info.shape)

    def _brain_floats(self, name: str, stored: np.ndarray) -> np.ndarray:
        try:
            from ml_dtypes import bfloat16
        except ModuleNotFoundError:
            raise TypeError(f"{name!r} has type bf16: install ml_dtypes to read it") from None
        if self.byteorder == "big":  # the type knows only the machine's order
            stored = stored.view(">u2").astype("<u2")
        return stored.view(bfloat16)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __repr__(self) -> str:
        return f"<{self.path.name}: {len(self.tensors)} tensors, {len(self.metadata)} keys of metadata>"


def open(path: str | os.PathLike) -> File:
    """Map a GGUF file, version 2 or 3, of either byte order.

    Parameters
    ----------
    path : path

    Returns
    -------
    File
        A read-only mapping of names to arrays, with the metadata beside it. Nothing but the header is read
        until the numbers are used.

    Raises
    ------
    FormatError
        With the byte ``offset`` at which the file is not what it should be.

    Examples
    --------
    >>> import os, tempfile, numpy as np
    >>> from pyqbits import gguf
    >>> path = os.path.join(tempfile.mkdtemp(), "model.gguf")
    >>> gguf.save(path, {"w": np.arange(6.0, dtype=np.float32).reshape(2, 3)}, {"general.name": "Six"})
    >>> with gguf.open(path) as file:
    ...     print(file.metadata["general.name"], file.tensors["w"].type, file["w"][1])
    Six f32 [3. 4. 5.]
    """
    return File(path)

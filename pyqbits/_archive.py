"""What all files of named arrays have in common: they are mapped, read-only, and let go of."""

import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from .errors import FormatError

_Self = TypeVar("_Self", bound="Archive")

NEIGHBOURS = 4 << 20  # a page fault may bring in pages around it, some of which were given back before


def release(mapped: mmap.mmap, start: int, stop: int) -> None:
    """Give back the memory of what was read from a map; it is read anew where it is used again."""
    if hasattr(mmap, "MADV_DONTNEED"):
        start = max(0, start - NEIGHBOURS)
        start -= start % mmap.PAGESIZE
        mapped.madvise(mmap.MADV_DONTNEED, start, stop - start)


class Archive(Mapping[str, Any]):
    """Arrays of a file by name, made when they are asked for: read-only views of the mapped file.

    `open` makes one. The file stays mapped until the archive and every array out of it are gone; as a
    context manager (or with `close`) the archive lets go of it early. It must not be truncated meanwhile.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        with self.path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise FormatError(f"{self.path.name} is empty", 0)
            self._mapped: mmap.mmap | None = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def _bytes(self, start: int, stop: int) -> np.ndarray:
        """The bytes [start, stop) of the file."""
        if self._mapped is None:
            raise ValueError(f"{self.path.name} is closed")
        return np.frombuffer(self._mapped, np.uint8)[start:stop]

    def forget(self, start: int, stop: int) -> None:
        """Give back the memory that the bytes [start, stop) take; they are read anew when they are used."""
        if self._mapped is not None:
            release(self._mapped, start, stop)

    def close(self) -> None:
        """Let go of the file; arrays taken out of the archive keep it mapped."""
        self._mapped = None

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

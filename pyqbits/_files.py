"""Files that appear under their name when they are complete, and not before."""

import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeVar

import numpy as np

_Self = TypeVar("_Self", bound="StreamWriter")


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A file to write, in the folder of `path`, that takes this name when the block ends.

    A block left by an exception leaves nothing behind, and a file that was there before stays as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        file = open(temporary, "xb")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None  # the name that the caller knows
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class _Disk:
    """Has what is written taken to the disk meanwhile, so that a sync at the end finds little left to do."""

    _STEP = 32 << 20  # bytes written between two syncs
    _sync = staticmethod(getattr(os, "fdatasync", os.fsync))

    def __init__(self, file: int) -> None:
        self._file, self._new = file, 0
        self._running: Future[None] | None = None

    def __enter__(self) -> "_Disk":
        self._thread = ThreadPoolExecutor(1)
        return self

    def wrote(self, size: int) -> None:
        self._new += size
        if self._new < self._STEP or (self._running and not self._running.done()):
            return
        if self._running:
            self._running.result()  # raises its error, which no later sync would tell
        self._running, self._new = self._thread.submit(self._sync, self._file), 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        if self._running and not error:
            self._running.result()


class StreamWriter:
    """Writes a file of named places, in any order; used as a context manager.

    The file appears under `path` when the block ends and every byte was written (see `replacing`).
    """

    def __init__(
        self, path: str | os.PathLike, header: bytes, places: Mapping[str, tuple[int, int]], size: int
    ) -> None:
        """Of `size` bytes with `header` in front; `places` are beginnings and lengths by name."""
        self._path, self._header, self._places, self._size = path, header, places, size
        self._missing = {name: length for name, (_, length) in places.items()}
        self._lock = threading.Lock()

    def __enter__(self: _Self) -> _Self:
        with ExitStack() as stack:
            self._file = stack.enter_context(replacing(self._path))
            self._disk = stack.enter_context(_Disk(self._file.fileno()))
            self._file.write(self._header)
            self._file.truncate(self._size)  # what is never written, the padding, is zero
            self._stack = stack.pop_all()
        return self

    def write(self, name: str, data: Any, at: int = 0) -> int:
        """Write an array or bytes into a tensor, from its byte `at` on; returns where they end.

        Several threads may write at a time.
        """
        if isinstance(data, np.ndarray):
            data = data.reshape(-1).view(np.uint8)  # also of dtypes that have no buffers
        size, (start, length) = memoryview(data).nbytes, self._places[name]
        if not 0 <= at <= at + size <= length:
            raise ValueError(f"{size} bytes at {at} do not fit tensor {name!r} of {length} bytes")
        with self._lock:
            self._file.seek(start + at)
            self._file.write(data)
            self._missing[name] -= size
            self._disk.wrote(size)
        return at + size

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            short = [name for name, count in self._missing.items() if count]
            if short:
                raise ValueError(f"tensor {short[0]!r} was not written to its end")

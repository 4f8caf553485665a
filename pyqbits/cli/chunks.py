"""Tensors on their way from file to file, chunk by chunk, several chunks at a time."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Protocol, TypeVar

import pyqbits
from pyqbits import ErrorReport

from .reports import combined
from .results import Result

Advance = Callable[[int], None]

_Piece = TypeVar("_Piece")
_Made = TypeVar("_Made")


class Tensor(Protocol):
    """One that takes itself to another file."""

    def chunks(self) -> Iterator[slice]:
        """Its bytes in the file that is read, cut."""

    def write(self, chunk: slice) -> ErrorReport | None:
        """Take a chunk there, whichever thread this is; returns its errors, or None where it is copied."""

    def forget(self, chunk: slice) -> None:
        """Give back the memory of a chunk that was read."""

    def result(self, errors: ErrorReport | None, seconds: float) -> Result:
        """What became of it."""


def write_all(tensors: Sequence[Tensor], at_once: int, advance: Advance) -> list[Result]:
    """Write all tensors. Each takes the time from the end of the one before to its own."""
    errors: list[list[ErrorReport]] = [[] for _ in tensors]
    seconds, last = [0.0] * len(tensors), time.perf_counter()

    def write(piece: tuple[int, slice]) -> ErrorReport | None:
        return tensors[piece[0]].write(piece[1])

    pieces = ((i, chunk) for i, tensor in enumerate(tensors) for chunk in tensor.chunks())
    with closing(in_order(write, pieces, at_once)) as written:
        for (i, chunk), found in written:
            tensors[i].forget(chunk)
            if found:
                errors[i].append(found)
            advance(chunk.stop - chunk.start)
            now = time.perf_counter()
            seconds[i] += now - last
            last = now
    return [
        tensor.result(combined(found) if found else None, taken)
        for tensor, found, taken in zip(tensors, errors, seconds, strict=True)
    ]


def in_order(
    make: Callable[[_Piece], _Made], pieces: Iterable[_Piece], at_once: int
) -> Generator[tuple[_Piece, _Made], None, None]:
    """Every piece with what is made of it, in order, and so the error of the first that has one.

    `at_once` threads make them, so that one computes while another reads or writes. The threads of large
    calls are divided among them.
    """
    waiting: deque[tuple[_Piece, Future[_Made]]] = deque()
    each = max(1, pyqbits.get_num_threads() // at_once)
    with pyqbits.threads(each), ThreadPoolExecutor(at_once) as pool:
        try:
            for piece in pieces:
                waiting.append((piece, pool.submit(make, piece)))
                if len(waiting) > 2 * at_once:
                    done, made = waiting.popleft()
                    yield done, made.result()
            while waiting:
                done, made = waiting.popleft()
                yield done, made.result()
        finally:
            for _, made in waiting:
                made.cancel()

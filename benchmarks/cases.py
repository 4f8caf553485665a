"""What a benchmark case is, and the references that cases are measured against.

The suites (`bench_*.py`) list their cases; pytest-benchmark and `python -m benchmarks` both run those lists,
so the two cannot measure different things.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import pyqbits as qb
from benchmarks import timing
from pyqbits.prepared import new_memory

Function = Callable[[], object]
Prepare = Callable[[], tuple[Function, Function]]  # makes the arrays; gives the function and its reference

SMALL = 64  # values: what a call costs


@dataclasses.dataclass(frozen=True)
class Case:
    """One operation on one input, and what it is compared with."""

    operation: str
    what: str
    size: str
    reference: str
    prepare: Prepare = dataclasses.field(repr=False)
    threads: int = 1

    def __str__(self) -> str:
        return f"{self.operation} {self.what} {self.size}".replace(" ", "-")

    def compare(self, isa: str) -> timing.Comparison:
        """A comparison of the case on an instruction-set tier, without samples; see `measure`."""
        clock = time.process_time if self.threads == 1 else time.perf_counter
        with qb.use_isa(isa), timing.threads(self.threads):
            return timing.Comparison(*self.prepare(), clock)

    def measure(self, isa: str, rounds: int = timing.ROUNDS) -> timing.Result:
        comparison = self.compare(isa)
        with qb.use_isa(isa), timing.threads(self.threads):
            return comparison.rounds(rounds).result()


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How large the inputs of a run are: numbers of elements, and (rows, columns) of weight matrices."""

    elements: tuple[int, ...] = (64 << 10, 64 << 20)
    matrix: tuple[int, int] = (4096, 4096)

    @property
    def cached(self) -> int:
        return self.elements[0]


QUICK = Sizes(elements=(4 << 10,), matrix=(64, 256))


def size_name(elements: int) -> str:
    for unit, name in ((1 << 20, " Mi"), (1 << 10, " Ki")):
        if elements % unit == 0:
            return f"{elements // unit}{name}"
    return str(elements)


def on(threads: int) -> str:
    return f", {threads} threads" if threads > 1 else ""


# ---- inputs: random, since some machines write and read lines of zeros faster -------------------------


@functools.lru_cache(maxsize=1)
def codes(count: int, bits: int) -> np.ndarray:
    """Random unsigned codes."""
    out = timing.aligned(count, np.uint8)
    out[:] = np.frombuffer(np.random.default_rng(bits).bytes(count), np.uint8) >> (8 - bits)
    return out


@functools.lru_cache(maxsize=1)
def floats(rows: int, columns: int) -> np.ndarray:
    """Random normal float32."""
    out = timing.aligned((rows, columns), np.float32)
    np.random.default_rng(0).standard_normal(out=out, dtype=np.float32)
    return out


# ---- references -------------------------------------------------------------------------------------


def copying(source: np.ndarray, threads: int = 1) -> Function:
    """memcpy of an array, a part on each thread, as np.copyto does it for contiguous bytes."""
    target = timing.aligned(source.shape, source.dtype, timing.OUTPUT_LINE)
    copy = copier(threads)
    return lambda: copy(target, source)


def copying_anew(source: np.ndarray, threads: int = 1) -> Function:
    """The same of bytes to memory that nobody has touched, as `QArray.prepare` takes it from the system."""
    copy = copier(threads)
    return lambda: copy(new_memory(source.nbytes), source)


def copier(threads: int) -> Callable[[np.ndarray, np.ndarray], object]:
    if threads == 1:
        return np.copyto
    pool = ThreadPoolExecutor(threads)

    def copy(target: np.ndarray, source: np.ndarray) -> None:
        list(pool.map(np.copyto, np.array_split(target, threads), np.array_split(source, threads)))

    return copy


def reading(source: np.ndarray, threads: int = 1) -> Function:
    """Reads an array, a part on each thread, at the machine's rate: NumPy's SIMD maximum of int32 words.

    From memory it was as fast as a hand-written AVX2 loop with and without prefetching, where NumPy's other
    reductions (sum, dot, count_nonzero) were slower; in cache it is about two thirds of such a loop.
    """
    words = source.reshape(-1).view(np.int32)
    if threads == 1:
        return lambda: np.maximum.reduce(words)
    parts, pool = np.array_split(words, threads), ThreadPoolExecutor(threads)
    return lambda: list(pool.map(np.maximum.reduce, parts))


def writing(target: np.ndarray) -> Function:
    """Writes an array at the machine's rate: memset, which fills whole lines without reading them first."""
    octets = target.reshape(-1).view(np.uint8)
    return lambda: octets.fill(0x3C)

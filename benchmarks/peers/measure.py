"""Times and errors of all methods on one matrix, in rounds that take every method in turn.

A time is wall time, since methods run on several threads. The matrices of a model do not stay in cache from
one token to the next, so calls go round copies of the matrix that together exceed any cache.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import statistics
import sys
import time
from collections.abc import Iterator

import numpy as np

import pyqbits as qb
from benchmarks.peers.libraries import ROWS_CHECKED, Bind, Matrix, Method, Run, Weights
from benchmarks.report import rounded

SAMPLE_SECONDS = 0.003
MINIMUM_ROUNDS = 3
Shape = tuple[int, int]
COPIES_UP_TO = 32  # columns: larger products are not bound by reading the weights
CACHED_WEIGHTS = 1 << 21  # smaller matrices are measured where a small model keeps them, in cache


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long to measure: rounds, seconds that a method gets in one case, and bytes of copies."""

    rounds: int
    seconds: float
    memory: int


@dataclasses.dataclass
class Row:
    """A method on a matrix with a number of threads; the lists have an element for every batch in `n`.

    Attributes
    ----------
    seconds, best : list of float
        Of a call: the median over the rounds, and the least.
    ratio : list of float
        How many times as fast as NumPy in the same round, the median.
    error, own_error : list of float
        ||y - exact|| / ||exact|| with the float weights, and with the weights as the library has them.
    """

    library: str
    name: str
    bits: int
    bpw: float
    m: int
    k: int
    threads: int
    n: list[int] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    best: list[float] = dataclasses.field(default_factory=list)
    ratio: list[float] = dataclasses.field(default_factory=list)
    rounds: list[int] = dataclasses.field(default_factory=list)
    error: list[float] = dataclasses.field(default_factory=list)
    own_error: list[float] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.library} {self.name}"

    def gmacs(self, place: int) -> float:
        return self.m * self.k * self.n[place] / self.best[place] / 1e9


class Candidate:
    """A method with its copies of the matrix, and its row of results."""

    def __init__(self, method: Method, matrix: Matrix, shape: Shape, threads: int, memory: int) -> None:
        m, k = shape
        copies = 1 if m * k < CACHED_WEIGHTS else math.ceil(memory / matrix.nbytes)
        self.binds: list[Bind] = [matrix.copy(number, threads) for number in range(copies)]
        self.values = matrix.values
        self.compiles = method.compiles
        bpw = rounded(8 * matrix.nbytes / (m * k))
        self.row = Row(method.library, method.name, method.bits, bpw, m, k, threads)
        self.pause = method.settle if threads > 1 else 0.0

    def bind(self, x: np.ndarray, out: np.ndarray) -> None:
        """Readies the product of x, finds how many calls a sample needs, and keeps a result."""
        used = self.binds if len(x) <= COPIES_UP_TO else self.binds[:1]
        runs = [bind(x, out) for bind in used]
        if self.compiles:
            for run in runs:
                run()
        self.runs: Iterator[Run] = itertools.cycle(runs)
        self.calls = 1
        self.result = np.array(next(self.runs)())
        spent = self.sample()
        self.calls = max(1, round(SAMPLE_SECONDS / spent))
        self.sample_seconds = spent * self.calls

    def sample(self) -> float:
        """Seconds of a call. Unless calls are long, one goes before that wakes threads and fills caches."""
        if self.calls > 1:
            next(self.runs)()
        runs = list(itertools.islice(self.runs, self.calls))
        start = time.perf_counter()
        for run in runs:
            run()
        spent = time.perf_counter() - start
        time.sleep(self.pause)
        return spent / self.calls


def measure(
    methods: list[Method], shapes: list[Shape], batches: list[int], threads: list[int], effort: Effort
) -> Iterator[list[Row]]:
    """For each number of threads and shape, the rows of the methods that can; ratios are to the first one.

    Threads go up in the outer loop: ONNX Runtime has no way back from a pool that several sessions share.
    """
    problems: dict[Shape, tuple[Weights, dict[Method, Matrix]]] = {}
    for count, shape in itertools.product(sorted(threads), shapes):
        if shape not in problems:
            weights = Weights(gaussian(*shape, seed=0) / np.float32(math.sqrt(shape[1])))
            problems[shape] = weights, dict(prepared(methods, weights))
        weights, matrices = problems[shape]
        with limited(count):
            candidates = [
                Candidate(method, matrix, shape, count, effort.memory)
                for method, matrix in matrices.items()
                if count <= method.max_threads
            ]
            for n in batches:
                measure_batch(candidates, weights, n, effort)
        weights.prepared.cache_clear()
        yield [candidate.row for candidate in candidates]


def prepared(methods: list[Method], weights: Weights) -> Iterator[tuple[Method, Matrix]]:
    for method in methods:
        if weights.floats.shape[1] % method.divides:
            continue
        note(f"{method}: preparing")
        try:
            yield method, method.prepare(weights)
        except (RuntimeError, NotImplementedError) as error:
            note(f"{method} cannot multiply {weights.floats.shape}: {str(error).splitlines()[0]}\n")


def measure_batch(candidates: list[Candidate], weights: Weights, n: int, effort: Effort) -> None:
    m, k = weights.floats.shape
    x, out = gaussian(n, k, seed=1), np.empty((n, m), np.float32)
    exact = exact_product(x, weights.floats[:ROWS_CHECKED])
    strides = []
    for candidate in candidates:
        note(f"{candidate.row} {m}x{k} N={n} T={candidate.row.threads}")
        candidate.bind(x, out)
        errors = candidate.row.error, candidate.row.own_error
        for values, reference in zip(errors, (exact, exact_product(x, candidate.values)), strict=True):
            values.append(rounded(relative_error(candidate.result, reference)))
        affordable = effort.seconds / candidate.sample_seconds
        wanted = min(effort.rounds, max(MINIMUM_ROUNDS, affordable))
        strides.append(max(1, int(effort.rounds / wanted)))
    strides[0] = min(strides)  # the reference is timed whenever another is
    times: list[dict[int, float]] = [{} for _ in candidates]
    for turn in range(effort.rounds):
        for candidate, stride, samples in zip(candidates, strides, times, strict=True):
            if turn % stride == 0:
                samples[turn] = candidate.sample()
    for candidate, samples in zip(candidates, times, strict=True):
        ratios = [times[0][turn] / spent for turn, spent in samples.items() if turn in times[0]]
        row = candidate.row
        row.n.append(n)
        row.seconds.append(rounded(statistics.median(samples.values())))
        row.best.append(rounded(min(samples.values())))
        row.ratio.append(rounded(statistics.median(ratios)))
        row.rounds.append(len(samples))


def gaussian(rows: int, columns: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns), dtype=np.float32)


def exact_product(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return x.astype(np.float64) @ weights.astype(np.float64).T


def relative_error(y: np.ndarray, exact: np.ndarray) -> float:
    """||y - exact|| / ||exact|| over the columns that were computed exactly."""
    difference = y[:, : exact.shape[1]] - exact
    return float(np.linalg.norm(difference) / np.linalg.norm(exact))


@contextlib.contextmanager
def limited(threads: int) -> Iterator[None]:
    """Gives a number of threads to this library and to those that take it from a setting of the process."""
    import threadpoolctl

    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)
    with threadpoolctl.threadpool_limits(threads), qb.threads(threads):
        yield


def note(text: str) -> None:
    print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

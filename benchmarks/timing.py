"""Timing a function against its reference, interleaved: the one place where benchmarks measure.

A machine's speed drifts by tens of per cent from minute to minute, so a time alone says little. Here each
round times the reference and the function one right after the other, each called often enough to fill
`SAMPLE_SECONDS`, and the result is the median over rounds of the quotient of the two. Time is processor time
of the process, so that other programs count only by what they take from caches and memory; with several
threads it is time on the clock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np

import pyqbits as qb

SAMPLE_SECONDS = 0.002
ROUNDS = 15
PAGE = 4096
LINE = 64
Clock = Callable[[], float]


class Comparison:
    """Samples of a function and of its reference, taken alternately.

    Parameters
    ----------
    run, reference : callable
        What to time. Both are called once at the start, so that memory is mapped and code is warm.
    clock : callable
        Gives the time in seconds.
    """

    def __init__(
        self, run: Callable[[], object], reference: Callable[[], object], clock: Clock = time.process_time
    ) -> None:
        self.run, self.reference, self.clock = run, reference, clock
        self.run_calls, self.reference_calls = calls_to_fill(run, clock), calls_to_fill(reference, clock)
        self.run_seconds: list[float] = []
        self.reference_seconds: list[float] = []

    def sample_run(self) -> None:
        self.run_seconds.append(seconds_per_call(self.run, self.run_calls, self.clock))

    def sample_reference(self) -> None:
        self.reference_seconds.append(seconds_per_call(self.reference, self.reference_calls, self.clock))

    def rounds(self, count: int = ROUNDS) -> Comparison:
        for _ in range(count):
            self.sample_reference()
            self.sample_run()
        return self

    def result(self) -> Result:
        pairs = zip(self.reference_seconds, self.run_seconds, strict=True)
        ratios = sorted(reference / run for reference, run in pairs)
        return Result(
            ratio=statistics.median(ratios),
            low=ratios[len(ratios) // 10],
            high=ratios[-1 - len(ratios) // 10],
            seconds=statistics.median(self.run_seconds),
            reference_seconds=statistics.median(self.reference_seconds),
            rounds=len(ratios),
        )


@dataclasses.dataclass(frozen=True)
class Result:
    """What a comparison found: `ratio` is the speed in units of the reference's, larger is faster.

    `low` and `high` leave out a tenth of the rounds on either side.
    """

    ratio: float
    low: float
    high: float
    seconds: float
    reference_seconds: float
    rounds: int


def seconds_per_call(function: Callable[[], object], calls: int, clock: Clock = time.process_time) -> float:
    start = clock()
    for _ in range(calls):
        function()
    return (clock() - start) / calls


def calls_to_fill(function: Callable[[], object], clock: Clock = time.process_time) -> int:
    """How many calls take about `SAMPLE_SECONDS`."""
    function()
    calls = 1
    while (spent := seconds_per_call(function, calls, clock) * calls) < SAMPLE_SECONDS / 2:
        calls *= 2
    return max(1, round(calls * SAMPLE_SECONDS / spent))


def aligned(shape: int | tuple[int, ...], dtype: object, line: int = 0) -> np.ndarray:
    """An uninitialised array that starts `line` cache lines into a page.

    Where source and destination lie in their pages changes the speed of memcpy by a factor of ten on some
    machines; references deserve the good case, so inputs are taken at line 0 and outputs at `OUTPUT_LINE`.
    """
    dtype = np.dtype(dtype)
    nbytes = int(np.prod(shape)) * dtype.itemsize
    raw = np.empty(nbytes + PAGE + line * LINE, dtype=np.uint8)
    start = -raw.ctypes.data % PAGE + line * LINE
    return raw[start : start + nbytes].view(dtype).reshape(shape)


OUTPUT_LINE = 8


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Keeps the library and NumPy's linear algebra on so many threads."""
    import threadpoolctl

    with threadpoolctl.threadpool_limits(count), qb.threads(count):
        yield

"""What a method of multiplying is, and the list of libraries that offer some.

To add a library, write a module with a function `methods()` that imports the library and gives a `Method`
for each of its ways to multiply, and name the module in `LIBRARIES`. One that cannot be imported is skipped.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable

import numpy as np

import pyqbits as qb

LIBRARIES = (
    *("with_numpy", "with_pyqbits", "with_onnxruntime", "with_openvino", "with_torch"),
    *("with_ggml", "with_numkong"),
)

Run = Callable[[], np.ndarray]  # computes x @ w.T; gives `out`, or an array of the library's own
Bind = Callable[[np.ndarray, np.ndarray], Run]  # x (n, k) and out (n, m), both float32


class Weights:
    """A float32 matrix (m, k) whose rows are outputs, and its quantized forms, each made once.

    Libraries that take codes and scales are given those of `quantized`, so they multiply the same numbers.
    """

    def __init__(self, floats: np.ndarray) -> None:
        self.floats = floats
        self.quantized = functools.cache(self._quantized)
        self.prepared = functools.cache(self._prepared)

    def _quantized(self, format: str) -> qb.QArray:
        return qb.quantize(self.floats, format, search="mse")

    def _prepared(self, format: str, number: int) -> qb.PreparedMatrix:
        """Copies are told apart by their number."""
        return self.quantized(format).prepare()


@dataclasses.dataclass(frozen=True)
class Matrix:
    """A matrix as a library keeps it.

    Attributes
    ----------
    copy : callable
        Given 0, 1, ... and a number of threads: another copy in the layout that the library multiplies, as
        what binds it to arrays.
    values : ndarray of float32
        The first `ROWS_CHECKED` rows as the library itself dequantizes them.
    nbytes : int
        Bytes of one copy: what a product has to read.
    """

    copy: Callable[[int, int], Bind]
    values: np.ndarray
    nbytes: int


@dataclasses.dataclass(frozen=True)
class Method:
    """One library's way to multiply.

    Attributes
    ----------
    library, name : str
        How tables call it.
    bits : int
        Width of a weight's code.
    prepare : callable
        Given `Weights`: the matrix in the library's form.
    divides : int
        The number of columns has to be a multiple of this.
    max_threads : int
        How many threads it can use.
    compiles : bool
        The first product of a copy with a batch makes code, so it is not timed.
    settle : float
        Seconds for which its idle threads still keep a CPU busy after a product on several threads.
    """

    library: str
    name: str
    bits: int
    prepare: Callable[[Weights], Matrix]
    divides: int = 1
    max_threads: int = 1024
    compiles: bool = False
    settle: float = 0.004

    def __str__(self) -> str:
        return f"{self.library} {self.name}"


ROWS_CHECKED = 256  # the error is taken over the first outputs, enough of them for two digits


def find() -> tuple[list[Method], dict[str, str]]:
    """All methods, NumPy's first; and the libraries that are left out, with the reason."""
    found: list[Method] = []
    skipped: dict[str, str] = {}
    for name in LIBRARIES:
        try:
            found += importlib.import_module(f"benchmarks.peers.{name}").methods()
        except (ImportError, OSError) as error:
            skipped[name.removeprefix("with_")] = str(error).splitlines()[0]
    return found, skipped

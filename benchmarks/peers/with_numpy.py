"""NumPy's float32 product: the reference of every ratio."""

import numpy as np

from benchmarks.peers.libraries import ROWS_CHECKED, Bind, Matrix, Method, Run, Weights


def methods() -> list[Method]:
    # An idle thread of OpenBLAS gives way to others, but goes on asking for work for tens of milliseconds.
    return [Method("NumPy", "float32", 32, prepare, settle=0.03)]


def prepare(weights: Weights) -> Matrix:
    def copy(number: int, threads: int) -> Bind:
        w = weights.floats.copy()

        def bind(x: np.ndarray, out: np.ndarray) -> Run:
            return lambda: np.matmul(x, w.T, out=out)

        return bind

    return Matrix(copy, weights.floats[:ROWS_CHECKED], weights.floats.nbytes)

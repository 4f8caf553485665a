"""Prepared matrices of this library: every width with each way to round activations, and some others."""

import functools
import itertools

import numpy as np

import pyqbits as qb
from benchmarks.peers.libraries import ROWS_CHECKED, Bind, Matrix, Method, Run, Weights

FORMATS = (*(f"int{bits}_g32" for bits in range(2, 9)), "int4_g128")
ACTIVATIONS = ("int8", "int16", "int24")
# With minima; with fewer scales, as some peers; block types of ggml.
OTHERS = (
    *("uint2_g32", "uint4_g32", "uint6_g64", "uint6_g128", "int6_g64", "int7_g128", "int8_g128", "int8_row"),
    *("q4_K", "q5_K", "q6_K"),
)


def methods() -> list[Method]:
    named = [*itertools.product(FORMATS, ACTIVATIONS), *itertools.product(OTHERS, ACTIVATIONS[:1])]
    return [
        Method("pyqbits", f"{name} {kind}", bits(name), functools.partial(prepare, name, kind), divides(name))
        for name, kind in named
    ]


def bits(name: str) -> int:
    return int(next(letter for letter in name if letter.isdigit()))


def divides(name: str) -> int:
    return 256 if name.endswith("_K") else 1


def prepare(name: str, activations: str, weights: Weights) -> Matrix:
    def copy(number: int, threads: int) -> Bind:
        p = weights.prepared(name, number).T

        def bind(x: np.ndarray, out: np.ndarray) -> Run:
            return lambda: qb.matmul(x, p, activations=activations, out=out)

        return bind

    q = weights.quantized(name)
    return Matrix(copy, q[:ROWS_CHECKED].dequantize(), weights.prepared(name, 0).nbytes)

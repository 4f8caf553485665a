"""Prepared matrices of this library: every width, with each way to round activations."""

import functools

import numpy as np

import pyqbits as qb
from benchmarks.peers.libraries import ROWS_CHECKED, Bind, Matrix, Method, Run, Weights

FORMATS = (*(f"int{bits}_g32" for bits in range(2, 9)), "int4_g128")
ACTIVATIONS = ("int8", "int16", "int24")


def methods() -> list[Method]:
    return [
        Method("pyqbits", f"{name} {kind}", int(name[3]), functools.partial(prepare, name, kind))
        for name in FORMATS
        for kind in ACTIVATIONS
    ]


def prepare(name: str, activations: str, weights: Weights) -> Matrix:
    def copy(number: int, threads: int) -> Bind:
        p = weights.prepared(name, number).T

        def bind(x: np.ndarray, out: np.ndarray) -> Run:
            return lambda: qb.matmul(x, p, activations=activations, out=out)

        return bind

    q = weights.quantized(name)
    return Matrix(copy, q[:ROWS_CHECKED].dequantize(), weights.prepared(name, 0).nbytes)

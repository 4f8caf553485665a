"""NumKong's packed products of integers, with one scale a row and one a token, rounded and scaled by NumPy.

Its products run on the caller's thread. There is no grouping, so the weights are coarser than the others'.
"""

import functools

import numkong
import numpy as np

import pyqbits as qb
from benchmarks.peers.libraries import ROWS_CHECKED, Bind, Matrix, Method, Run, Weights


def methods() -> list[Method]:
    return [
        Method("NumKong", f"int{bits}_row", bits, functools.partial(prepare, bits), divides=2, max_threads=1)
        for bits in (4, 8)
    ]


def prepare(bits: int, weights: Weights) -> Matrix:
    q = weights.quantized(f"int{bits}_row")
    scales = q.scales.reshape(1, -1).copy()
    codes = np.ascontiguousarray(q.codes())

    def copy(number: int, threads: int) -> Bind:
        packed = numkong.dots_pack(integers(codes, bits))

        def bind(x: np.ndarray, out: np.ndarray) -> Run:
            def run() -> np.ndarray:
                tokens = np.abs(x).max(axis=1, keepdims=True) / np.float32((1 << bits - 1) - 1)
                rounded = np.rint(x / tokens).astype(np.int8)
                sums = numkong.dots_packed(integers(rounded, bits), packed)
                return np.multiply(sums, tokens * scales, out=out)

            return run

        return bind

    return Matrix(copy, q[:ROWS_CHECKED].dequantize(), codes.size * bits // 8 + scales.nbytes)


def integers(codes: np.ndarray, bits: int) -> object:
    """What NumKong takes: int8 arrays, or pairs of 4 bits whose shape counts bytes."""
    if bits == 8:
        return codes
    rows = qb.pack(codes, 4, signed=True)
    return numkong.from_pointer(rows.ctypes.data, rows.shape, "int4", owner=rows)

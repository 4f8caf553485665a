"""Products of quantized matrices against NumPy's float32 products of the same shape."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import pyqbits as qb
from benchmarks import timing
from benchmarks.cases import Case, Function, Prepare, Sizes, floats, on

MATMUL = "NumPy float32 matmul"
EINSUM = "NumPy float32 einsum"
BITS = (1, 2, 3, 4, 5, 6, 8)
ACTIVATIONS = ("int24", "int16", "int8")
BATCH = 32


def cases(sizes: Sizes) -> Iterator[Case]:
    rows, columns = sizes.matrix
    for batch in (1, BATCH):
        size = f"{rows}x{columns}, N={batch}"
        for bits in BITS:
            name = f"int{bits}_g32"
            for activations in ACTIVATIONS if bits == 4 else ACTIVATIONS[:1]:
                prepare = prepare_matmul(sizes.matrix, batch, name, activations)
                yield Case("matmul", f"{name} {activations}", size, MATMUL, prepare)
        for name in ("uint4_g32", "uint4_g32_z", "int4_g128"):
            prepare = prepare_matmul(sizes.matrix, batch, name, ACTIVATIONS[0])
            yield Case("matmul", f"{name} {ACTIVATIONS[0]}", size, MATMUL, prepare)
        for bits in BITS:
            name = f"int{bits}_g32"
            for activations in ACTIVATIONS if bits == 4 else ACTIVATIONS[::2]:
                prepare = prepare_matmul(sizes.matrix, batch, name, activations, prepared=True)
                yield Case("matmul", f"{name} {activations} prepared", size, MATMUL, prepare)
    for bits in BITS:
        name = f"int{bits}_g32"
        for threads in (1, 2) if bits == 4 else (1,):
            size = f"{rows} x {columns}{on(threads)}"
            yield Case("vecdot", name, size, EINSUM, prepare_vecdot(sizes.matrix, name), threads)
            yield Case("vecdot one row", name, size, EINSUM, prepare_vecdot(sizes.matrix, name, 1), threads)


def prepare_matmul(
    matrix: tuple[int, int], batch: int, name: str, activations: str, prepared: bool = False
) -> Prepare:
    def prepare() -> tuple[Function, Function]:
        weights = floats(*matrix)
        packed = qb.quantize(weights, name)
        q = packed.prepare() if prepared else packed
        x = timing.aligned((batch, matrix[1]), np.float32)
        np.random.default_rng(1).standard_normal(out=x, dtype=np.float32)
        out = timing.aligned((batch, matrix[0]), np.float32)
        reference = timing.aligned((batch, matrix[0]), np.float32)
        return (
            lambda: qb.matmul(x, q.T, activations=activations, out=out),
            lambda: np.matmul(x, weights.T, out=reference),
        )

    return prepare


def prepare_vecdot(matrix: tuple[int, int], name: str, rows: int | None = None) -> Prepare:
    """Rows with rows: as many, or with the same one each time."""

    def prepare() -> tuple[Function, Function]:
        a = floats(*matrix)
        b = np.ascontiguousarray(a[::-1][:rows])
        qa, qb_ = qb.quantize(a, name), qb.quantize(b, name)
        reference = np.empty(matrix[0], np.float32)
        return lambda: qb.vecdot(qa, qb_), lambda: np.einsum(
            "ij,ij->i", a, np.broadcast_to(b, a.shape), out=reference
        )

    return prepare


def test_linalg(check, case, isa):
    check(case, isa)

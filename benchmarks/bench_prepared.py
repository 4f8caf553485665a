"""Prepared matrices against the machine: products with weights from memory, preparing, and odd shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

import pyqbits as qb
from benchmarks import timing
from benchmarks.cases import Case, Function, Prepare, Sizes, copying, copying_anew, floats, on, reading

READ = "reading as many bytes"
COPY = "copying as many bytes"
ANEW = "copying them to new memory"
ROUND = "the round shape"
ROTATED = 64 << 20  # bytes of weights that a product of one column goes through, more than a cache holds
BITS = (2, 3, 4, 5, 6, 8)
BLOCKS = (
    "q4_0", "q5_0", "q8_0", "q2_K", "q3_K", "q4_K", "q5_K", "q6_K", "iq4_nl", "iq4_xs", "mxfp4",
)  # fmt: skip
BATCHES = ((1, 1), (8, 8), (64, 65))


def cases(sizes: Sizes) -> Iterator[Case]:
    rows, columns = sizes.matrix
    size = f"{rows}x{columns}, N=1"
    for name in (*(f"int{bits}_g32" for bits in BITS), *BLOCKS):
        for activations in ("int24", "int8"):
            for threads in (1, 2) if name == "int4_g32" else (1,):
                what, run = f"{name} {activations}", product(sizes.matrix, name, activations, threads)
                yield Case("gemv", what, size + on(threads), READ, run, threads)
    for name in (*(f"int{bits}_g32" for bits in (2, 4, 5, 6, 7, 8)), "uint3_g64", "int4_row"):
        for threads in (1, 2):
            size = f"{rows}x{columns}{on(threads)}"
            for what, reference, copy in (("prepare", COPY, copying), ("prepare anew", ANEW, copying_anew)):
                yield Case(what, name, size, reference, preparing(sizes.matrix, name, copy, threads), threads)
    odd = (rows + 1, columns + 4)
    for even_batch, batch in BATCHES:
        what = f"{odd[0]}x{odd[1]}, N={batch}"
        yield Case("odd shape", "int4_g32 int8", what, ROUND, shapes(sizes.matrix, even_batch, odd, batch))


def product(matrix: tuple[int, int], name: str, activations: str, threads: int) -> Prepare:
    def prepare() -> tuple[Function, Function]:
        p = qb.quantize(floats(*matrix), name).prepare()
        more = ROTATED // p.nbytes if p.nbytes > 1 << 20 else 0
        copies = [p] + [p.unprepare().prepare() for _ in range(more)]
        words = timing.aligned(sum(copy.nbytes for copy in copies) // 4, np.int32)
        words[:] = 1
        x, out = np.ones(matrix[1], np.float32), np.empty(matrix[0], np.float32)

        def run() -> None:
            for copy in copies:
                qb.matmul(copy, x, activations=activations, out=out)

        return run, reading(words, threads)

    return prepare


def preparing(
    matrix: tuple[int, int], name: str, copy: Callable[[np.ndarray, int], Function], threads: int
) -> Prepare:
    def prepare() -> tuple[Function, Function]:
        q = qb.quantize(floats(*matrix), name)
        return q.prepare, copy(q.prepare().part_arrays()[0], threads)

    return prepare


def shapes(matrix: tuple[int, int], batch: int, odd: tuple[int, int], odd_batch: int) -> Prepare:
    """The odd shape against the round one, which has a little less to do."""

    def one(shape: tuple[int, int], n: int) -> Function:
        p = qb.quantize(np.ones(shape, np.float32), "int4_g32").prepare()
        x, out = np.ones((n, shape[1]), np.float32), np.empty((n, shape[0]), np.float32)
        return lambda: qb.matmul(x, p.T, activations="int8", out=out)

    def prepare() -> tuple[Function, Function]:
        return one(odd, odd_batch), one(matrix, batch)

    return prepare


def test_prepared(check, case, isa):
    check(case, isa)

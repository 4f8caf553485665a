"""What small calls cost, and their parts: ``python -m benchmarks.calls``.

Here the work is next to nothing and the call is what takes the time. Each row is the least time of many short
samples, all rows taking turns, less that of an empty statement: neighbours on the machine only add.
"""

from __future__ import annotations

import argparse
import timeit

import numpy as np

import pyqbits as qb
from pyqbits._native import ffi, lib

from .timing import threads

CALLS = 50  # in a sample
SIZE = 64

ROWS = """
pack, unpack 64 codes
    np.copyto(codes, other)
    qb.pack(codes, 4, out=packed)
    qb.unpack(packed, 4, out=codes)
  parts
    lib.qb_pack_bytes(codes_at, 64, 4, False, packed_at, 32)
    lib.qb_pack_bytes(codes_at, 0, 4, False, packed_at, 0)
    ffi.from_buffer(BYTES, codes)
    ffi.from_buffer(BYTES, packed, True)
64 x 64 times a vector
    w @ x
    np.matmul(w, x, out=y)
    p @ x
    row @ pT
    qb.matmul(p, x, out=y)
    q @ x
  parts
    np.empty(64, FLOAT32)
    ffi.from_buffer(BYTES, y, True)
    x.tobytes()
    lib.qb_prepared_matmul_rows(prepared, x_at, 1, 3, y_at)
    lib.qb_prepared_matmul_rows(prepared, x_at, 0, 3, y_at)
    lib.qb_matmul_rows(matrix, x_at, 1, 3, y_at)
one row of 64
    w.take(chosen, axis=0)
    q.take(chosen)
    p.T
    q.T
"""


def names() -> dict[str, object]:
    """What the statements speak of."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 16, SIZE, dtype=np.uint8)
    w = rng.standard_normal((SIZE, SIZE), np.float32)
    x = rng.standard_normal(SIZE, np.float32)
    q = qb.quantize(w, "int4_g32")
    p = q.prepare()
    y, packed = q @ x, qb.pack(codes, 4)
    BYTES, FLOAT32 = ffi.typeof("uint8_t[]"), np.dtype(np.float32)
    codes_at, packed_at, x_at, y_at = (ffi.from_buffer(BYTES, array) for array in (codes, packed, x, y))
    prepared, matrix = p.native_rows(0, SIZE).struct, q.native_rows(0, SIZE).struct
    return {
        **locals(), "np": np, "qb": qb, "ffi": ffi, "lib": lib, "other": codes.copy(), "row": x[np.newaxis],
        "pT": p.T, "chosen": np.array([3]),
    }  # fmt: skip


def least_ns(statements: list[str], rounds: int) -> list[float]:
    """Nanoseconds of each statement."""
    given = names()
    timers = [timeit.Timer(statement, globals=given) for statement in ["pass", *statements]]
    least = [float("inf")] * len(timers)
    for _ in range(rounds):
        for i, timer in enumerate(timers):
            least[i] = min(least[i], timer.timeit(CALLS) / CALLS * 1e9)
    return [time - least[0] for time in least[1:]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calls", description=__doc__)
    parser.add_argument("--rounds", type=int, default=4000, help="samples of each row")
    arguments = parser.parse_args()
    lines = ROWS.strip().splitlines()
    statements = [line.strip() for line in lines if line.startswith("    ")]
    with threads(1):
        found = dict(zip(statements, least_ns(statements, arguments.rounds), strict=True))
    for line in lines:
        time = found.get(line.strip())
        print(line if time is None else f"{line:64}{time:8.0f} ns")


if __name__ == "__main__":
    main()

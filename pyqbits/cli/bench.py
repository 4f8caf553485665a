"""`pyqbits bench`: the kernels on this machine, against memcpy and NumPy timed in the same rounds."""

import platform
import statistics
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import NamedTuple

import numpy as np
from rich.console import Console

import pyqbits

from .. import runtime
from ..formats import as_format
from . import tables

CODES = 1 << 16  # with their packed form well inside a second-level cache
ROWS = COLUMNS = 4096  # 64 MiB of float32, more than most last-level caches
BATCH = 32
SAMPLE_SECONDS = 1e-3

Work = Callable[[], object]


class Case(NamedTuple):
    """Something to time: its traffic in bytes, its reference's name, and what makes both."""

    operation: str
    what: str
    bytes: float
    versus: str
    prepare: Callable[[], tuple[Work, Work]]


def run_bench(seconds: float, *, json: bool) -> None:
    """Print a table of all cases, which share the time."""
    cases = [*packing(), *quantizing(), *multiplying()]
    records = []
    with Console(stderr=True).status("measuring") as status:
        for case in cases:
            status.update(f"measuring {case.operation} {case.what}")
            records.append(measure(case, seconds / len(cases)))
    if json:
        machine = {"cpu": runtime.cpu_brand(), "isa": pyqbits.isa(), "numpy": np.__version__}
        tables.show_json({**machine, "pyqbits": pyqbits.__version__, "cases": records})
        return
    tables.note(f"{runtime.cpu_brand()} ({platform.machine()}), tier {pyqbits.isa()}, NumPy {np.__version__}")
    tables.note(f"{pyqbits.get_num_threads()} threads in the library; memcpy is one thread's.")
    tables.note("Medians; ratios are to a reference timed in the same rounds: above 1 is faster than it.")
    tables.note("")
    keys = ("operation", "what", "gb_per_s", "ratio", "versus")
    rows = [[tables.number(r[k]) if isinstance(r[k], float) else r[k] for k in keys] for r in records]
    tables.show("", ["operation", "what", "GB/s", "ratio", "to"], rows, text=("what", "to"))


def measure(case: Case, budget: float) -> dict:
    """Rounds of reference and work, one after the other, until the time is up; at least three."""
    end = time.perf_counter() + budget
    work, reference = case.prepare()
    reference_calls, work_calls = calls_to_fill(reference), calls_to_fill(work)
    of_reference: list[float] = []
    of_work: list[float] = []
    while len(of_work) < 3 or time.perf_counter() < end:
        of_reference.append(seconds_per_call(reference, reference_calls))
        of_work.append(seconds_per_call(work, work_calls))
    return {
        "operation": case.operation,
        "what": case.what,
        "gb_per_s": case.bytes / statistics.median(of_work) / 1e9,
        "ratio": statistics.median(slow / fast for slow, fast in zip(of_reference, of_work, strict=True)),
        "versus": case.versus,
        "rounds": len(of_work),
    }


def calls_to_fill(work: Work) -> int:
    work()
    return max(1, round(SAMPLE_SECONDS / max(seconds_per_call(work, 1), 1e-9)))


def seconds_per_call(work: Work, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start) / calls


def placed(array: np.ndarray, offset: int = 0) -> np.ndarray:
    """A copy that starts `offset` bytes into a page: memcpy is slow where both sides start alike."""
    raw = np.empty(array.nbytes + 8192, np.uint8)
    start = -raw.ctypes.data % 4096 + offset
    copy = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def copying(source: np.ndarray) -> Work:
    """memcpy of an array."""
    target = placed(source, 512)
    return lambda: np.copyto(target, source)


@cache
def weights() -> np.ndarray:
    return placed(np.random.default_rng(0).standard_normal((ROWS, COLUMNS), np.float32))


def packed_bytes(format: str) -> float:
    return ROWS * COLUMNS * as_format(format).bpw(COLUMNS) / 8


# ---- the cases --------------------------------------------------------------------------------------


def packing() -> Iterator[Case]:
    """Traffic: the codes, a byte each."""

    def prepare(bits: int, packing: bool) -> tuple[Work, Work]:
        codes = placed(np.random.default_rng(bits).integers(0, 1 << bits, CODES, dtype=np.uint8))
        packed = placed(pyqbits.pack(codes, bits), 512)
        out = placed(codes, 512)
        if packing:
            return lambda: pyqbits.pack(codes, bits, out=packed), copying(codes)
        return lambda: pyqbits.unpack(packed, bits, CODES, out=out), copying(codes)

    for operation in ("pack", "unpack"):
        for bits in range(1, 9):
            what = f"{bits} bit{'s' * (bits > 1)}, {CODES >> 10} Ki codes"
            yield Case(operation, what, CODES, "memcpy", partial(prepare, bits, operation == "pack"))


def quantizing() -> Iterator[Case]:
    """Traffic: the floats."""

    def prepare(name: str, search: str, quantizing: bool) -> tuple[Work, Work]:
        x = weights() if search == "rtn" else weights()[:64]
        q = pyqbits.quantize(x, name)
        if quantizing:
            return lambda: pyqbits.quantize(x, name, search=search, out=q), copying(x)
        out = placed(x, 512)
        return lambda: q.dequantize(out=out), copying(x)

    size = ROWS * COLUMNS * 4
    for name in ("int8_g32", "int4_g32", "int3_g32", "int2_g32", "uint4_g32", "uint4_g32_z"):
        yield Case("quantize", f"{name}, 64 MiB", size, "memcpy", partial(prepare, name, "rtn", True))
    for search in ("mse", "best"):
        what = f"int4_g32 {search}, 1 MiB"
        yield Case("quantize", what, size / 64, "memcpy", partial(prepare, "int4_g32", search, True))
    for name in ("int8_g32", "int4_g32", "int3_g32", "int2_g32", "uint4_g32", "uint4_g32_z"):
        yield Case("dequantize", f"{name}, 64 MiB", size, "memcpy", partial(prepare, name, "rtn", False))


def multiplying() -> Iterator[Case]:
    """Traffic: the quantized weights, once a call."""

    def product(name: str, batch: int, activations: str) -> tuple[Work, Work]:
        w = weights()
        q = pyqbits.quantize(w, name)
        x = np.random.default_rng(1).standard_normal((batch, COLUMNS), np.float32)
        out, other = np.empty((batch, ROWS), np.float32), np.empty((batch, ROWS), np.float32)
        return (
            lambda: pyqbits.matmul(x, q.T, activations=activations, out=out),
            lambda: np.matmul(x, w.T, out=other),
        )

    def rows_of(name: str) -> tuple[Work, Work]:
        a, b = weights()[: ROWS // 2], weights()[ROWS // 2 :]
        qa, qb = pyqbits.quantize(a, name), pyqbits.quantize(b, name)
        return lambda: pyqbits.vecdot(qa, qb), lambda: np.einsum("ij,ij->i", a, b)

    for batch in (1, BATCH):
        for bits in (8, 4, 3, 2):
            for activations in ("int24", "int8"):
                name = f"int{bits}_g32"
                what = f"{name}, {activations}, {batch} column{'s' * (batch > 1)}"
                prepare = partial(product, name, batch, activations)
                yield Case("matmul", what, packed_bytes(name), "NumPy float32 @", prepare)
    for bits in (8, 4, 2):
        name = f"int{bits}_g32"
        what = f"{name}, {ROWS // 2} rows of {COLUMNS}"
        yield Case("vecdot", what, packed_bytes(name), "NumPy float32 einsum", partial(rows_of, name))

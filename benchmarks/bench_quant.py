"""Quantizing against the rate of reading its input, dequantizing against the rate of writing its output."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import pyqbits as qb
from benchmarks import timing
from benchmarks.cases import Case, Function, Prepare, Sizes, floats, reading, size_name, writing

COLUMNS = 4096
READ = "reading the floats"
WRITE = "writing the floats"
FORMATS = (
    *(*(f"int{bits}_g32" for bits in range(1, 9)), "uint4_g32", "uint4_g32_z", "int4_g128", "int8_row"),
    *("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "mxfp4", "tq2_0"),  # block types that follow fixed rules
)


def cases(sizes: Sizes) -> Iterator[Case]:
    for count in sizes.elements:
        for name in FORMATS:
            yield Case("quantize", name, size_name(count), READ, prepare_quantize(count, name, "rtn"))
            yield Case("dequantize", name, size_name(count), WRITE, prepare_dequantize(count, name))
    count = sizes.cached
    for search in ("mse", "best"):
        name = f"int4_g32 {search}"
        yield Case("quantize", name, size_name(count), READ, prepare_quantize(count, "int4_g32", search))
    for count in sizes.elements:
        yield Case("compare", "int4_g32", size_name(count), READ, prepare_compare(count, "int4_g32"))


def prepare_quantize(count: int, name: str, search: str) -> Prepare:
    def prepare() -> tuple[Function, Function]:
        x = floats(count // COLUMNS, COLUMNS)
        out = qb.quantize(x, name)
        return lambda: qb.quantize(x, name, search=search, out=out), reading(x)

    return prepare


def prepare_dequantize(count: int, name: str) -> Prepare:
    def prepare() -> tuple[Function, Function]:
        q = qb.quantize(floats(count // COLUMNS, COLUMNS), name)
        out = timing.aligned(q.shape, np.float32, timing.OUTPUT_LINE)
        return lambda: q.dequantize(out=out), writing(out)

    return prepare


def prepare_compare(count: int, name: str) -> Prepare:
    def prepare() -> tuple[Function, Function]:
        x = floats(count // COLUMNS, COLUMNS)
        q = qb.quantize(x, name)
        return lambda: qb.compare(x, q), reading(x)

    return prepare


def test_quant(check, case, isa):
    check(case, isa)

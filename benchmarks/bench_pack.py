"""Packing and unpacking against memcpy of the codes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import pyqbits as qb
from benchmarks import timing
from benchmarks.cases import SMALL, Case, Function, Prepare, Sizes, codes, copying, size_name

MEMCPY = "memcpy of the codes"


def cases(sizes: Sizes) -> Iterator[Case]:
    for count in (SMALL, *sizes.elements):
        for bits in (4,) if count == SMALL else range(1, 9):
            for operation, prepare in (("pack", prepare_pack), ("unpack", prepare_unpack)):
                yield Case(operation, f"{bits} bits", size_name(count), MEMCPY, prepare(count, bits))


def prepare_pack(count: int, bits: int) -> Prepare:
    def prepare() -> tuple[Function, Function]:
        source = codes(count, bits)
        out = timing.aligned(qb.packed_size(count, bits), np.uint8, timing.OUTPUT_LINE)
        return lambda: qb.pack(source, bits, out=out), copying(source)

    return prepare


def prepare_unpack(count: int, bits: int) -> Prepare:
    def prepare() -> tuple[Function, Function]:
        source = codes(count, bits)
        packed = qb.pack(source, bits, out=timing.aligned(qb.packed_size(count, bits), np.uint8))
        out = timing.aligned(count, np.uint8, timing.OUTPUT_LINE)
        return lambda: qb.unpack(packed, bits, count, out=out), copying(source)

    return prepare


def test_pack(check, case, isa):
    check(case, isa)

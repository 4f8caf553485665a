"""`python -m benchmarks`: every operation as a ratio to its reference, one table.

    python -m benchmarks                          the best tier of this machine
    python -m benchmarks --isa all --json out.json
    python -m benchmarks --filter "unpack 4 bits"

A ratio of 1 is the speed of the reference, larger is faster; see benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

import pyqbits as qb
from benchmarks import bench_linalg, bench_pack, bench_prepared, bench_quant, cases, report, timing
from pyqbits import runtime

SUITES = (bench_pack, bench_quant, bench_linalg, bench_prepared)


def select(sizes: cases.Sizes, words: str) -> Iterator[cases.Case]:
    """The cases whose description contains the words."""
    for suite in SUITES:
        for case in suite.cases(sizes):
            text = f"{case.operation} {case.what} {case.size}"
            if words in text:
                yield case


def measure(selected: Iterable[cases.Case], isas: list[str], rounds: int) -> list[dict]:
    records = []
    for case in selected:
        print(f"\r\033[K{case}", end="", file=sys.stderr, flush=True)
        for isa in isas:
            records.append(report.record(case, isa, case.measure(isa, rounds)))
    print("\r\033[K", end="", file=sys.stderr, flush=True)
    return records


def machine() -> dict[str, str]:
    """What the numbers depend on, without names of hosts or paths."""
    return {
        "cpu": runtime.cpu_brand(),
        "isas": " ".join(qb.available_isas()),
        "system": f"{platform.system()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pyqbits": qb.__version__,
    }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--filter", default="", metavar="TEXT", help="only cases whose description contains TEXT")
    add("--isa", default=qb.isa(), help="a tier's name, or 'all' (default: %(default)s)")
    add("--rounds", type=int, default=timing.ROUNDS, help="rounds a case (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="writes all figures and the machine to FILE")
    add("--quick", action="store_true", help="tiny inputs: does everything run?")
    options = parser.parse_args(arguments)
    if options.isa not in ("all", *qb.available_isas()):
        parser.error(f"--isa {options.isa}: this machine runs {', '.join(qb.available_isas())}")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    isas = list(qb.available_isas()) if options.isa == "all" else [options.isa]
    selected = select(cases.QUICK if options.quick else cases.Sizes(), options.filter)
    records = measure(selected, isas, options.rounds)
    print(report.table(records, isas))
    if options.json:
        options.json.write_text(report.to_json(machine(), records))


if __name__ == "__main__":
    main()

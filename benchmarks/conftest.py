"""pytest-benchmark over the suites' cases: every round times the reference first, then the function."""

from __future__ import annotations

import dataclasses

import pytest

import pyqbits as qb
from benchmarks import cases, timing


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="tiny inputs and one round: does every case run?")


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        sizes = cases.QUICK if metafunc.config.getoption("--quick") else cases.Sizes()
        metafunc.parametrize("case", list(metafunc.module.cases(sizes)), ids=str)
        metafunc.parametrize("isa", qb.available_isas())


@pytest.fixture
def check(benchmark, request):
    """Benchmarks a case on a tier; the ratio to its reference is in the report's extra information."""
    rounds = 1 if request.config.getoption("--quick") else timing.ROUNDS

    def run(case: cases.Case, isa: str) -> None:
        comparison = case.compare(isa)
        with qb.use_isa(isa), timing.one_thread():
            benchmark.pedantic(comparison.sample_run, setup=comparison.sample_reference, rounds=rounds)
        benchmark.group = f"{case.operation} {case.size}"
        result = dataclasses.asdict(comparison.result())
        benchmark.extra_info.update(result, reference=case.reference, isa=isa)

    return run

"""pytest-benchmark over the suites' cases: every round times the reference first, then the function.

A round of pytest-benchmark is one sample, many calls long; the table of ratios printed at the end, and the
extra information that --benchmark-json saves, have the time of one call and the ratio to the reference.
"""

from __future__ import annotations

import pytest

import pyqbits as qb
from benchmarks import cases, report, timing

RECORDS = pytest.StashKey[list[dict]]()


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="tiny inputs and one round: does every case run?")


def pytest_configure(config):
    config.stash[RECORDS] = []


@pytest.hookimpl(trylast=True)  # below the tables of times
def pytest_terminal_summary(terminalreporter, config):
    if records := config.stash[RECORDS]:
        terminalreporter.section("ratios to references (larger is faster)")
        terminalreporter.write_line(report.table(records, list(qb.available_isas())))


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
        benchmark.group = f"{case.operation} {case.size}"
        with qb.use_isa(isa), timing.threads(1):
            benchmark.pedantic(comparison.sample_run, setup=comparison.sample_reference, rounds=rounds)
        benchmark.extra_info.update(report.record(case, isa, comparison.result()))
        request.config.stash[RECORDS].append(dict(benchmark.extra_info))

    return run

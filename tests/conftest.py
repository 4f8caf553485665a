"""Shared by all tests: a test that takes `isa` runs once on every tier of this machine; seeds are printed."""

import os
from pathlib import Path

import numpy as np
import pytest
from cli_cases import model, tensors  # noqa: F401 (fixtures)
from cli_gguf_cases import gguf_model  # noqa: F401 (a fixture)
from hypothesis import HealthCheck, settings

import pyqbits

# Left in the environment for the processes among which tests are shared.
SEED = int(os.environ.setdefault("PYQBITS_TEST_SEED", str(np.random.SeedSequence().entropy % 2**32)))

settings.register_profile(
    "pyqbits",
    deadline=None,
    print_blob=True,
    # `isa` sets the tier for all examples of a test, as it should.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("pyqbits")


def pytest_report_header():
    tiers = ", ".join(pyqbits.available_isas())
    return f"pyqbits {pyqbits.__version__}, tiers {tiers}; PYQBITS_TEST_SEED={SEED}"


def pytest_terminal_summary(terminalreporter):
    if terminalreporter.stats.get("failed"):
        terminalreporter.write_line(f"PYQBITS_TEST_SEED={SEED}")  # which the header says, but not with -q


def pytest_collection_modifyitems(items):
    """The longest first, so that they are not left over when tests run side by side."""
    items.sort(key=lambda item: item.path.name != "test_tools.py")


@pytest.fixture(params=pyqbits.available_isas())
def isa(request):
    """The tier the test runs on."""
    with pyqbits.use_isa(request.param):
        yield request.param


@pytest.fixture
def rng(request):
    """Random numbers that differ from run to run; the header of the report says how to repeat them."""
    return np.random.default_rng([SEED, *request.node.name.encode()])


@pytest.fixture(scope="session")
def vectors():
    """Rows, and what ggml makes of them and reads from its blocks."""
    with np.load(Path(__file__).resolve().parent / "data" / "ggml_blocks.npz") as file:
        return {key: file[key] for key in file.files}

"""Choosing a tier, the version, the header."""

import _ctypes
import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pyqbits as qb
from pyqbits import _native, runtime

ROOT = Path(qb.__file__).parent.parent


def run(arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env={**os.environ, **environment},
        cwd=ROOT,
    )  # fmt: skip


def python(code, **environment):
    return run(["-c", code], **environment)


def test_tiers_are_ordered_and_the_best_is_chosen():
    tiers = qb.available_isas()
    assert tiers[0] == "scalar" and len(set(tiers)) == len(tiers)
    result = python("import pyqbits; print(pyqbits.isa())", PYQBITS_ISA="")
    assert result.stdout.strip() == tiers[-1]


@pytest.mark.parametrize("tier", qb.available_isas())
def test_the_environment_chooses(tier):
    assert python("import pyqbits; print(pyqbits.isa())", PYQBITS_ISA=tier).stdout.strip() == tier


def test_an_unknown_tier_stops_the_import():
    result = python("import pyqbits", PYQBITS_ISA="sse9")
    last = result.stderr.strip().splitlines()[-1]
    assert result.returncode == 1
    assert last.startswith("ImportError: PYQBITS_ISA=sse9: there is no such tier; this build has scalar")


def test_the_command_line_says_so_in_one_line(tmp_path):
    script = tmp_path / "pyqbits"
    script.write_text("from pyqbits.__main__ import main\nmain()\n")
    for command in (["-m", "pyqbits", "info"], ["-B", "-m", "pyqbits"], [str(script), "info"]):
        result = run(command, PYQBITS_ISA="sse9", PYTHONPATH=str(ROOT))
        assert result.returncode == 2 and not result.stdout
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith("pyqbits: PYQBITS_ISA=sse9: there is no such tier; this build has")


@pytest.mark.skipif(set(runtime._NAMES) == set(qb.available_isas()), reason="this machine runs every tier")
def test_a_tier_of_another_machine_stops_the_import():
    missing = next(name for name in runtime._NAMES if name not in qb.available_isas())
    result = python("import pyqbits", PYQBITS_ISA=missing)
    assert f"ImportError: PYQBITS_ISA={missing}: this machine cannot run it" in result.stderr
    with pytest.raises(ValueError, match="this machine cannot run it"):
        qb.use_isa(missing)


def test_use_isa_as_a_block_and_as_a_call():
    before, tiers = qb.isa(), qb.available_isas()
    try:
        with qb.use_isa(tiers[0]):
            assert qb.isa() == tiers[0]
            with qb.use_isa(tiers[-1]):
                assert qb.isa() == tiers[-1]
            assert qb.isa() == tiers[0]
        assert qb.isa() == before
        with pytest.raises(KeyError), qb.use_isa(tiers[0]):
            raise KeyError
        assert qb.isa() == before
        qb.use_isa(tiers[0])
        assert qb.isa() == tiers[0]
    finally:
        qb.use_isa(before)


@pytest.mark.parametrize("name", ["", "AVX2", None, 1])
def test_use_isa_refuses_what_is_no_tier(name):
    before = qb.isa()
    with pytest.raises(ValueError, match="no such tier; this build has scalar"):
        qb.use_isa(name)
    assert qb.isa() == before


def test_kernels_of_every_tier_are_named():
    for tier in runtime._NAMES:
        kernels = runtime.kernel_isas(tier)
        assert {"pack", "quant", "dot", "matmul"} <= kernels.keys()
        assert set(kernels.values()) <= set(runtime._NAMES[: runtime._NAMES.index(tier) + 1])
    assert isinstance(runtime.cpu_brand(), str)


def test_version_is_that_of_the_project():
    assert re.fullmatch(r"\d+\.\d+\.\d+", qb.__version__)
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    assert f'version = "{qb.__version__}"' in project.read_text()


def test_the_header_is_found():
    header = Path(qb.get_include()) / "qbits.h"
    assert "int qb_pack(" in header.read_text()


def test_public_names_exist_and_nothing_else_leaks():
    assert all(hasattr(qb, name) for name in qb.__all__)
    assert sorted(qb.__all__) == sorted(
        "ErrorReport Format FormatError PreparedMatrix QArray __version__ affine available_isas compare"
        " get_include get_num_threads gguf grouped_matmul isa matmul open pack packed_size quantize save"
        " set_num_threads threads unpack use_isa vecdot".split()
    )


def test_import_keeps_denormals():
    code = "import numpy, pyqbits; pyqbits.quantize([1.0], 'int4_g32'); print(numpy.float32(1e-45) * 1 > 0)"
    assert python(code).stdout.strip() == "True"


def test_switching_tiers_while_another_thread_works(rng):
    """A call stays on the tier it began with; whatever it was, the bytes are the same."""
    from threading import Thread

    x = rng.standard_normal((64, 512)).astype(np.float32)
    expected = qb.quantize(x, "uint3_g32", search="mse").tobytes()
    found = []

    def work():
        found.extend(qb.quantize(x, "uint3_g32", search="mse").tobytes() == expected for _ in range(20))

    before = qb.isa()
    threads = [Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for tier in qb.available_isas():
            qb.use_isa(tier)
    qb.use_isa(before)
    assert found == [True] * 40


def test_threadpoolctl_limits_the_threads():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    with qb.threads(3):
        (found,) = [p for p in threadpoolctl.threadpool_info() if p["internal_api"] == "pyqbits"]
        assert (found["num_threads"], found["version"], found["user_api"]) == (3, qb.__version__, "pyqbits")
        with threadpoolctl.threadpool_limits(1):
            assert qb.get_num_threads() == 1
        with threadpoolctl.threadpool_limits({"pyqbits": 2}):
            assert qb.get_num_threads() == 2
        with threadpoolctl.threadpool_limits(1, user_api="blas"):
            assert qb.get_num_threads() == 3
        assert qb.get_num_threads() == 3


@pytest.mark.parametrize("order", ["pyqbits, threadpoolctl", "threadpoolctl, pyqbits"])
def test_threadpoolctl_may_come_first_or_last(order):
    pytest.importorskip("threadpoolctl")
    result = python(f"import {order}; print([p['prefix'] for p in threadpoolctl.threadpool_info()])")
    assert "'_native'" in result.stdout, result.stderr


def test_other_libraries_of_the_same_name_are_not_claimed(tmp_path):
    """Only ours has the functions, whatever else is called `_native`."""
    threadpoolctl = pytest.importorskip("threadpoolctl")
    other = tmp_path / "_native.abi3.so"
    shutil.copy(_ctypes.__file__, other)
    ctypes.CDLL(str(other))
    paths = [p["filepath"] for p in threadpoolctl.threadpool_info() if p["internal_api"] == "pyqbits"]
    assert paths == [str(Path(_native.__file__).resolve())]


def test_threadpoolctl_is_not_needed():
    result = python("import sys; sys.modules['threadpoolctl'] = None; import pyqbits; print(pyqbits.isa())")
    assert result.returncode == 0, result.stderr

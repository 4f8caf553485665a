"""The checks that are programs of their own: the linter and the C harness."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def test_ruff():
    run(sys.executable, "-m", "ruff", "check", ".")


@pytest.mark.parametrize(("target", "arguments"), [("check", ""), ("asan", "--one-in 4")])
def test_c_harness(target, arguments):
    """Every kernel of every tier this machine runs against the scalar one; a part again with sanitizers."""
    missing = [tool for tool in ("make", "cc") if not shutil.which(tool)]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"not found: {', '.join(missing)}")
    run("make", "-C", "tests/checkasm", f"-j{os.cpu_count()}", target, f"ARGS={arguments}")

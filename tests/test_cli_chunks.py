"""`pyqbits quantize`: chunks that several threads take from file to file."""

import errno
import json
import os
import threading

import numpy as np
import pytest
from cli_cases import only_file, run
from cli_gguf_cases import METADATA, tensors

import pyqbits
from pyqbits import _files, gguf
from pyqbits.cli import chunks, quantize, quantize_gguf
from pyqbits.cli.reports import RUN, float_report

SAFETENSORS = ["int3_g32", "uint4_row_z", "int8_tensor"]
GGUF = ["q4_0", "q2_K", "iq4_nl", "bf16"]


@pytest.fixture(params=[1, 3])
def threads(request):
    with pyqbits.threads(request.param):
        yield request.param


# ---- the order ------------------------------------------------------------------------------------


def test_order_does_not_depend_on_who_is_ready_first():
    second_is_ready = threading.Event()

    def make(number):
        if number == 0:
            assert second_is_ready.wait(60)
        if number == 1:
            second_is_ready.set()
        return number * number, pyqbits.get_num_threads()

    with pyqbits.threads(4):
        made = list(chunks.in_order(make, range(50), 2))
        assert pyqbits.get_num_threads() == 4
    assert made == [(number, (number * number, 2)) for number in range(50)]


def test_first_error_counts_and_stops_the_rest(threads):
    begun, asked = [], []

    def pieces():
        for number in range(1000):
            asked.append(number)
            yield number

    def make(number):
        begun.append(number)
        if number >= 5:
            raise ValueError(f"piece {number}")
        return number

    done = []
    with pytest.raises(ValueError, match="piece 5"):
        done.extend(number for number, _ in chunks.in_order(make, pieces(), threads))
    assert len(asked) <= 7 + 2 * threads and set(begun) <= set(asked)
    assert pyqbits.get_num_threads() == threads


# ---- results --------------------------------------------------------------------------------------


def results(model, out, format, number):
    """The bytes that are written, and what is said of them, but for times."""
    with pyqbits.threads(number):
        text = run("quantize", model, "-fo", out, "--format", format, "--json").stdout
    report = json.loads(text)
    for record in (*report["tensors"], report["total"]):
        del record["seconds"]
    return out.read_bytes(), report


@pytest.mark.parametrize("format", GGUF)
def test_gguf_does_not_depend_on_threads(tmp_path, gguf_model, format, monkeypatch):
    monkeypatch.setattr(quantize_gguf, "CHUNK", 3000)
    expected = results(gguf_model, tmp_path / "o.gguf", format, 1)
    for number in (2, 5):
        assert results(gguf_model, tmp_path / "o.gguf", format, number) == expected


@pytest.mark.parametrize("format", SAFETENSORS)
def test_safetensors_do_not_depend_on_threads(tmp_path, model, format, monkeypatch):
    monkeypatch.setattr(quantize, "CHUNK", 3000)
    expected = results(model, tmp_path / "o.safetensors", format, 1)
    for number in (2, 5):
        assert results(model, tmp_path / "o.safetensors", format, number) == expected


@pytest.mark.parametrize("size", [0, 1, RUN, 3 * RUN + 5])
def test_reports_of_floats(size):
    x = np.random.default_rng(8).standard_normal((1, size), np.float32)
    y = x.astype(np.float16)
    found, error = float_report(x, y), x.astype(np.float64) - y
    assert found.size == size and found.bpw == 16
    assert found.sum_xx == pytest.approx(np.square(x, dtype=np.float64).sum(), rel=1e-12)
    assert found.sum_ee == pytest.approx(np.square(error).sum(), rel=1e-12)
    if size:
        assert found.max_abs == np.abs(error).max() and found.max_index == (0, np.abs(error).argmax())
        y[0, size // 2], y[0, -1] = np.nan, np.inf
        found = float_report(x, y)
        assert found.max_index == (0, size // 2 if size > 1 else 0) and not found.max_abs < np.inf


# ---- what fails -----------------------------------------------------------------------------------


def test_first_of_several_bad_values_is_named(tmp_path, threads, monkeypatch):
    monkeypatch.setattr(quantize_gguf, "CHUNK", 1)
    x = tensors()["token_embd.weight"].copy()
    x[7:, 9] = np.nan
    gguf.save(tmp_path / "m.gguf", {"a.weight": x, "b.weight": x}, METADATA)
    for format in ("q8_0", "f16"):
        result = run("quantize", tmp_path / "m.gguf", "-o", tmp_path / "o.gguf", "--format", format, code=2)
        assert "'a.weight' holds nan at (7, 9)" in result.stderr
        only_file(tmp_path, "m.gguf")


@pytest.mark.parametrize("number", [0, 4])
def test_writes_that_fail_leave_nothing(tmp_path, gguf_model, threads, number, monkeypatch):
    monkeypatch.setattr(quantize_gguf, "CHUNK", 3000)
    whole, calls = gguf.Writer.write, []

    def write(self, *arguments):
        calls.append(arguments)
        if len(calls) > number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(self, *arguments)

    monkeypatch.setattr(gguf.Writer, "write", write)
    result = run("quantize", gguf_model, "-o", tmp_path / "o.gguf", "--format", "q8_0", code=2)
    assert os.strerror(errno.ENOSPC) in result.stderr
    only_file(tmp_path, "model.gguf")


def test_errors_of_the_disk_surface(tmp_path, gguf_model, threads, monkeypatch):
    """Of what is taken to the disk while more is made, also when only the end tells."""

    def sync(file):
        os.fstat(file)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(_files._Disk, "_sync", staticmethod(sync))
    size = sum(info.nbytes for info in gguf.open(gguf_model).tensors.values())
    for step in (1, size // 4, size // 8):
        monkeypatch.setattr(_files._Disk, "_STEP", step)
        result = run("quantize", gguf_model, "-o", tmp_path / "o.gguf", "--format", "f16", code=2)
        assert os.strerror(errno.EIO) in result.stderr
        only_file(tmp_path, "model.gguf")

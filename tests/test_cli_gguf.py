"""`pyqbits quantize` and `compare` with GGUF files."""

import json
import os
import random
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from cases import floats_equal
from cli_cases import run
from cli_gguf_cases import METADATA, QUANTIZED, tensors
from fuzz_gguf import damaged
from gguf_cases import CRAFTED, tiny, various
from typer.testing import CliRunner

import pyqbits
from pyqbits import gguf
from pyqbits._blocks import block_named, block_names
from pyqbits.cli import mixes, quantize_gguf
from pyqbits.cli.app import app

FLOATS = {"f32": np.dtype(np.float32), "f16": np.dtype(np.float16), "bf16": np.dtype(ml_dtypes.bfloat16)}
WEIGHTS = {mix.base for mix in mixes.MIXES.values()} | set(mixes.FILE_TYPES)
WRITTEN = [name for name in block_names() if name in WEIGHTS and block_named(name).searches]


def numbers(x):
    return x.dequantize() if isinstance(x, pyqbits.QArray) else x


# ---- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "int4_g32"], "unknown format 'int4_g32' for a GGUF file; known are f32, f16"),
        (["--format", "i8"], "unknown format 'i8'"),
        (["--format", "f16", "--tensor-format", "*"], "must be GLOB=TYPE, not '*'"),
        (["--format", "f16", "--tensor-format", "*=q9"], "unknown format 'q9'"),
        (["--format", "f16", "--tensor-format", "x*=q8_0"], "no tensor name matches 'x*'"),
        (["--format", "f16", "--include", "x*"], "no tensor name matches 'x*'"),
        (["--format", "f16", "--nonfinite", "ignore"], "nonfinite must be"),
        (["--format", "f16", "--search", "deep"], "search must be"),
        (["--format", "q8_K"], "unknown format 'q8_K'"),  # for activations
    ],
)
def test_bad_options(tmp_path, gguf_model, arguments, words):
    assert words in run("quantize", gguf_model, "-o", tmp_path / "o.gguf", *arguments, code=2).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


def test_output_is_protected(tmp_path, gguf_model):
    before = gguf_model.read_bytes()
    (tmp_path / "out.gguf").write_bytes(b"mine")
    assert "--force" in run("quantize", gguf_model, "-o", tmp_path / "out.gguf", code=2).stderr
    for same in (gguf_model, tmp_path):
        assert "replace the input" in run("quantize", gguf_model, "-o", same, "--force", code=2).stderr
    assert "end in .gguf" in run("quantize", gguf_model, "-o", tmp_path / "o.safetensors", code=2).stderr
    assert gguf_model.read_bytes() == before and (tmp_path / "out.gguf").read_bytes() == b"mine"


def test_other_containers_have_no_mixes(tmp_path):
    pyqbits.save(tmp_path / "m.safetensors", {"w": np.ones((2, 32), np.float32)})
    for option in (["--pure"], ["--tensor-format", "w=q8_0"], ["--imatrix", "m"]):
        arguments = ["quantize", tmp_path / "m.safetensors", "-o", tmp_path / "o.safetensors", *option]
        assert "are for .gguf files" in run(*arguments, code=2).stderr


# ---- what becomes of the numbers ------------------------------------------------------------------


@pytest.mark.parametrize("type", FLOATS)
@pytest.mark.parametrize("chunk", [1, 3000, quantize_gguf.CHUNK])
def test_to_floats(tmp_path, gguf_model, type, chunk, monkeypatch):
    monkeypatch.setattr(quantize_gguf, "CHUNK", chunk)
    out = tmp_path / "out.gguf"
    report = json.loads(run("quantize", gguf_model, "-o", out, "--format", type, "--json").stdout)
    opened, before = gguf.open(out), tensors()
    assert list(opened) == list(before)
    for name, x in before.items():
        if name in QUANTIZED:
            assert opened[name].dtype == FLOATS[type]
            expected = numbers(x).astype(FLOATS[type])
            assert opened[name].tobytes() == expected.tobytes()
        else:
            assert opened[name].dtype == x.dtype and opened[name].tobytes() == x.tobytes()
    assert opened.metadata["general.file_type"] == mixes.MIXES[type].file_type
    assert opened.metadata["general.quantization_version"] == 2
    assert {**opened.metadata, "general.file_type": 0} == {**METADATA, "general.quantization_version": 2}
    assert all(opened.metadata.type(key) == METADATA.type(key) for key in METADATA)
    records = {record["name"]: record for record in report["tensors"]}
    assert records["ids.weight"]["format"] == "i32" and records["blk.0.odd.weight"]["format"] == type
    assert report["total"]["after"] == out.stat().st_size


WEIGHED_BY_SIZE = {"iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq4_nl", "iq4_xs"}


def by_size(x):
    squares = np.square(x.astype(np.float32).reshape(*x.shape[:-1], -1, 32))
    return np.sqrt(squares.mean(axis=-1, keepdims=True) + squares).reshape(x.shape)


@pytest.mark.parametrize("type", WRITTEN)
def test_to_blocks(tmp_path, gguf_model, type, monkeypatch):
    monkeypatch.setattr(quantize_gguf, "CHUNK", 3000)
    out = tmp_path / "out.gguf"
    text = run(
        "quantize", gguf_model, "-o", out, "--format", type, "--pure", "--tensor-format", "*odd*=f32"
    ).stdout
    opened = gguf.open(out)
    for name, x in tensors().items():
        got = mixes.fitting(type, x.shape[-1])
        if isinstance(x, pyqbits.QArray) and x.format.name == type:
            assert opened[name].tobytes() == x.tobytes()
        elif name in QUANTIZED and opened.tensors[name].type == type:
            weights = by_size(numbers(x)) if type in WEIGHED_BY_SIZE else None
            expected = pyqbits.quantize(numbers(x), type, importance=weights)
            assert opened[name].tobytes() == expected.tobytes()
        if name in QUANTIZED - {"blk.0.odd.weight"}:
            assert opened.tensors[name].type == got
            assert got == type or f"{got} instead of {type}: " in text
    found = json.loads(run("compare", gguf_model, out, "--json").stdout)
    records = {record["name"]: record["snr_db"] for record in found["tensors"]}
    for name in ("token_embd.weight", "blk.0.attn_q.weight"):
        assert records[name] == pyqbits.compare(tensors()[name], opened[name]).snr_db


def test_a_search_that_is_asked_for_weighs_nothing(tmp_path, gguf_model):
    out, x = tmp_path / "out.gguf", tensors()["token_embd.weight"]
    for search in ("mse", "best"):
        run("quantize", gguf_model, "-o", out, "--format", "iq4_nl", "--pure", "--search", search, "--force")
        expected = pyqbits.quantize(x, "iq4_nl", search=search)
        assert gguf.open(out)["token_embd.weight"].tobytes() == expected.tobytes()
    assert quantize_gguf.by_size(np.full((1, 64), 3e38, np.float32)) is None


@pytest.mark.parametrize("chunk", [1, quantize_gguf.CHUNK])
def test_weights_by_size_do_not_depend_on_chunks(tmp_path, chunk, monkeypatch):
    monkeypatch.setattr(quantize_gguf, "CHUNK", chunk)
    x, model, out = tensors()["token_embd.weight"].copy(), tmp_path / "model.gguf", tmp_path / "out.gguf"
    x[3, 5], x[4, 6] = np.nan, np.inf
    gguf.save(model, {"token_embd.weight": x}, METADATA)
    run("quantize", model, "-o", out, "--format", "iq4_nl", "--pure", "--nonfinite", "zero")
    zeros = np.where(np.isfinite(x), x, 0)
    expected = pyqbits.quantize(zeros, "iq4_nl", importance=by_size(zeros))
    assert gguf.open(out)["token_embd.weight"].tobytes() == expected.tobytes()


@pytest.mark.parametrize("type", WRITTEN)
def test_the_package_gguf_finds_the_same_numbers(tmp_path, gguf_model, type):
    peer, out = pytest.importorskip("gguf"), tmp_path / "out.gguf"
    if type in ("q1_0", "q2_0"):
        pytest.skip(f"the gguf package does not read {type}")
    run("quantize", gguf_model, "-o", out, "--format", type, "--pure")
    opened, found = gguf.open(out), {tensor.name: tensor for tensor in peer.GGUFReader(out).tensors}
    assert set(found) == set(opened)
    for name in QUANTIZED:
        theirs = peer.quants.dequantize(found[name].data, found[name].tensor_type)
        assert floats_equal(numbers(opened[name]).astype(np.float32).reshape(-1), theirs.reshape(-1)), name


def test_nan_infinity_and_overflow(tmp_path):
    x = np.ones((3, 40), np.float32)
    x[2, 5], model, out = 1e6, tmp_path / "m.gguf", tmp_path / "o.gguf"
    gguf.save(model, {"a.weight": x})
    words = "'a.weight' holds 1000000.0 at (2, 5), which f16 cannot hold"
    assert words in run("quantize", model, "-o", out, "--format", "f16", code=2).stderr
    run("quantize", model, "-o", out, "--format", "bf16")
    x[1, 7] = np.nan
    gguf.save(model, {"a.weight": x})
    assert "nan at (1, 7)" in run("quantize", model, "-o", out, "--format", "bf16", "-f", code=2).stderr
    run("quantize", model, "-o", out, "--format", "bf16", "-f", "--nonfinite", "zero")
    assert gguf.open(out)["a.weight"][1, 7] == 0


def test_big_endian_files_are_refused(tmp_path):
    arguments = ["quantize", tiny("tiny_v3_be"), "-o", tmp_path / "o.gguf", "--format", "f16"]
    assert "big-endian" in run(*arguments, code=2).stderr


def test_parts_of_a_model_are_refused(tmp_path):
    gguf.save(tmp_path / "m.gguf", tensors(), {"split.count": np.uint16(3)})
    arguments = ["quantize", tmp_path / "m.gguf", "-o", tmp_path / "o.gguf", "--format", "f16"]
    assert "is one of 3 files of a model" in run(*arguments, code=2).stderr


def test_compare(tmp_path, gguf_model):
    out = tmp_path / "out.gguf"
    run("quantize", gguf_model, "-o", out, "--format", "bf16")
    found = json.loads(run("compare", gguf_model, out, "--json").stdout)
    records = {record["name"]: record for record in found["tensors"]}
    assert set(records) == QUANTIZED - {"blk.0.attn_v.weight"} and not found["different"]
    x, y = tensors()["blk.0.attn_q.weight"].astype(np.float64), gguf.open(out)["blk.0.attn_q.weight"]
    error = np.abs(x - y.astype(np.float64))
    record = records["blk.0.attn_q.weight"]
    assert record["max_abs"] == error.max() and record["format"] == "bfloat16"
    assert tuple(record["max_index"]) == np.unravel_index(error.argmax(), error.shape)
    assert record["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-9)
    assert "bfloat16" in run("compare", gguf_model, out, "--plot", tmp_path / "p.png").stdout


def test_compare_block_types(tmp_path, gguf_model):
    """Types of blocks on either side."""
    found = json.loads(run("compare", gguf_model, gguf_model, "--json").stdout)
    assert [record["name"] for record in found["tensors"]] == ["blk.0.ffn_up.weight"]
    assert found["tensors"][0]["rmse"] == 0 and len(found["identical"]) == len(tensors()) - 1
    run("quantize", gguf_model, "-o", tmp_path / "o.gguf", "--format", "f32")
    found = json.loads(run("compare", tmp_path / "o.gguf", gguf_model, "--json").stdout)
    assert all(record["rmse"] == 0 for record in found["tensors"] if record["name"] == "blk.0.ffn_up.weight")


# ---- files that are not what they should be -------------------------------------------------------


def test_damaged_files(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda file: None)
    rng, path = random.Random(5), tmp_path / "m.gguf"
    files = [various(), *(file for file, _, _ in CRAFTED.values()), *(damaged(rng) for _ in range(150))]
    for data in files:
        path.write_bytes(data)
        result = CliRunner().invoke(
            app, ["quantize", str(path), "-fo", str(tmp_path / "o.gguf"), "--format", "f32"]
        )
        assert result.exit_code in (0, 2), (result.exception, data)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="unit of ru_maxrss")
def test_memory_is_bounded(tmp_path, gguf_model):
    block = np.random.default_rng(0).standard_normal((1024, 1024), np.float32)
    spec = gguf.Spec("a.weight", "f32", (16 * 1024, 1024))
    with gguf.Writer(tmp_path / "large.gguf", [spec], {}) as file:
        end = 0
        for _ in range(16):
            end = file.write("a.weight", block, at=end)
    code = """if True:
        import resource, sys
        from pyqbits.cli.app import app
        peaks = []
        for path in sys.argv[1:3]:
            arguments = ["quantize", path, "-fo", sys.argv[3], "--format", "bf16"]
            app(arguments, standalone_mode=False)
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        print("grew by", peaks[1] - peaks[0])"""
    files = [str(path) for path in (gguf_model, tmp_path / "large.gguf", tmp_path / "o.gguf")]
    command = [sys.executable, "-c", code, *files]
    two = {**os.environ, "PYQBITS_NUM_THREADS": "2"}  # each has a chunk
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=two)
    assert int(result.stdout.split()[-1]) * 1024 < 6 * quantize_gguf.CHUNK

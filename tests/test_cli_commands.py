"""inspect, compare, info, bench and demo."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from cli_cases import array, run, write_file
from gguf_cases import TINY, tiny, various

import pyqbits
from pyqbits import gguf
from pyqbits.cli import bench, compare


def test_inspect(tmp_path, model, tensors):
    out = tmp_path / "out.safetensors"
    run("quantize", model, "-o", out, "--format", "uint4_g32")
    found = json.loads(run("inspect", out, "--json").stdout)[str(out)]
    rows = {row["name"]: row for row in found["tensors"]}
    assert set(rows) == set(tensors) and found["metadata"]["note"] == "ü [bold]"
    assert rows["embed.weight"]["format"] == "uint4_g32" and rows["embed.weight"]["shape"] == [37, 100]
    assert rows["embed.weight"]["bytes"] == 37 * (50 + 4 * 4)
    assert rows["f4"]["bpw"] == 4
    text = run("inspect", out).stdout
    assert "total of 15 tensors" in text and "ü [bold]" in text
    assert "37x100" in run("inspect", model).stdout


def test_inspect_npz(tmp_path):
    x = np.random.default_rng(0).standard_normal((8, 64), np.float32)
    pyqbits.save(tmp_path / "a.npz", {"w": pyqbits.quantize(x, "int3_g32"), "x": x})
    text = run("inspect", tmp_path / "a.npz").stdout
    assert "int3_g32" in text and "float32" in text


@pytest.mark.parametrize("name", TINY)
def test_inspect_gguf(name):
    text = run("inspect", tiny(name)).stdout
    assert "b.q4_0" in text and "3x256" in text and re.search(r"mxfp4 +4\.25 +408", text)
    assert "metadata t.u64 (uint64): 1099511627776" in text and "formats: 1 f32, 1 q4_0, " in text
    found = json.loads(run("inspect", tiny(name), "--json").stdout)[str(tiny(name))]
    assert found["metadata"]["t.arr_str"] == ["a", "bb", ""] and found["metadata"]["t.str"] == "héllo"
    assert [row["format"] for row in found["tensors"]] == ["f32", "q4_0", "q8_0", "q5_1", "mxfp4"]
    assert sum(row["bytes"] for row in found["tensors"]) == 60 + 432 + 816 + 576 + 408


def test_inspect_gguf_of_odd_things(tmp_path):
    (tmp_path / "m.gguf").write_bytes(various())
    text = run("inspect", tmp_path / "m.gguf").stdout
    assert "metadata ü (string): \\udcff\\udcfe not UTF-8" in text
    found = json.loads(run("inspect", tmp_path / "m.gguf", "--json").stdout)
    assert found[str(tmp_path / "m.gguf")]["metadata"]["nested"] == [[1, 2], ["x"], []]
    gguf.save(tmp_path / "m.gguf", {}, {"tokens": [str(i) for i in range(1000)]})
    text = run("inspect", tmp_path / "m.gguf").stdout
    assert "metadata tokens (array[string]): ['0', '1', '2', '3', '4', '5'] and 994 more\n" in text


def test_terminal_control_is_shown_not_obeyed(tmp_path):
    name = "a\x1b[2Jb\nc"
    model = write_file(tmp_path / "model.safetensors", {name: ("U8", (1,), b"1")}, {"k": "\x1b[2J"})
    text = run("inspect", model).stdout
    assert "\x1b" not in text and "a\\x1b[2Jb\\nc" in text


@pytest.mark.parametrize("width", [80, 120])
def test_tables_fit_the_terminal(tmp_path, model, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    out = tmp_path / "out.safetensors"
    for arguments in (
        ["quantize", model, "-o", out],
        ["inspect", out],
        ["compare", model, out],
        ["demo"],
        ["info"],
    ):
        lines = run(*arguments).stdout.splitlines()
        long = [line for line in lines if len(line) > width and str(tmp_path) not in line]
        assert all(line.startswith(("metadata", "headers")) for line in long), long


def test_compare(tmp_path, model, tensors, monkeypatch):
    out = tmp_path / "out.safetensors"
    done = json.loads(run("quantize", model, "-o", out, "--json").stdout)
    monkeypatch.setattr(compare, "CHUNK", 3000)
    found = json.loads(run("compare", model, out, "--json").stdout)
    assert found["total"]["snr_db"] == pytest.approx(done["total"]["snr_db"], abs=1e-9)
    assert len(found["identical"]) == 10 and not found["different"] and not found["missing"]
    x, q = array(tensors["embed.weight"]), pyqbits.open(out)["embed.weight"]
    errors = np.abs(x - q.dequantize())
    record = next(record for record in found["tensors"] if record["name"] == "embed.weight")
    assert tuple(record["max_index"]) == np.unravel_index(errors.argmax(), errors.shape)
    assert "10 other tensors are identical" in run("compare", model, out).stdout
    assert "holds no quantized or rounded tensor" in run("compare", model, model, code=2).stderr


def test_compare_different_models(tmp_path, model, tensors):
    out, other = tmp_path / "out.safetensors", tmp_path / "other.safetensors"
    run("quantize", model, "-o", out)
    changed = {**tensors, "codes": ("I8", (7, 9), bytes(63)), "new": ("I8", (1,), b"1")}
    write_file(other, changed)
    found = json.loads(run("compare", other, out, "--json").stdout)
    assert found["different"] == ["codes"] and found["missing"] == ["new"]
    write_file(other, {**tensors, "codes": ("I8", (9, 7), bytes(63))})
    assert "'codes' has shape" in run("compare", other, out, code=2).stderr


def test_compare_plot(tmp_path, model):
    out, picture = tmp_path / "out.safetensors", tmp_path / "out.png"
    run("quantize", model, "-o", out, "--format", "int2_g32")
    run("compare", model, out, "--plot", picture)
    assert picture.read_bytes()[:4] == b"\x89PNG"
    code = "import sys; sys.modules['matplotlib'] = None; from pyqbits.__main__ import main; main()"
    command = [sys.executable, "-c", code, "compare", str(model), str(out), "--plot", str(picture)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2 and "pip install 'pyqbits[plot]'" in result.stderr


def test_info():
    text = run("info").stdout
    assert pyqbits.__version__ in text and "pack_scalar.c" in text and pyqbits.get_include() in text


def test_bench(monkeypatch):
    for name, value in {"CODES": 1 << 10, "ROWS": 128, "COLUMNS": 128, "SAMPLE_SECONDS": 1e-5}.items():
        monkeypatch.setattr(bench, name, value)
    found = json.loads(run("bench", "--seconds", 1, "--json").stdout)
    assert {case["operation"] for case in found["cases"]} == {
        "pack", "unpack", "quantize", "dequantize", "matmul", "vecdot"
    }  # fmt: skip
    assert all(case["gb_per_s"] > 0 and case["rounds"] >= 3 for case in found["cases"])


def test_demo():
    lines = run("demo").stdout.splitlines()
    accuracies = {line.split()[0]: float(line.split("%")[0].split()[-1]) for line in lines if "%" in line}
    assert list(accuracies) == ["float32", *(f"int{bits}_g32" for bits in range(8, 1, -1))]
    assert accuracies["float32"] > 97 and abs(accuracies["int8_g32"] - accuracies["float32"]) < 0.5
    assert accuracies["int4_g32"] > 96 and accuracies["int2_g32"] > 80

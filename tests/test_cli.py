"""`pyqbits quantize`: results, options, shards, memory, and what an interruption leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from cli_cases import NUMPY, array, described, floats, only_file, raw_bytes, run, write_file
from safetensors import safe_open
from safetensors.numpy import load_file

import pyqbits
from pyqbits.cli import quantize

FORMATS = [
    "int4_g32",
    "uint3_g64",
    "uint4_g32_z",
    "int1_g32",
    "int5_row_bf16",
    "int8_tensor",
    "uint2_tensor_z",
]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("chunk", [1, 3000, quantize.CHUNK])
def test_quantize_equals_library(tmp_path, model, tensors, format, chunk, monkeypatch):
    monkeypatch.setattr(quantize, "CHUNK", chunk)
    out = tmp_path / "out.safetensors"
    run("quantize", model, "-o", out, "--format", format)
    opened = pyqbits.open(out)
    assert set(opened) == set(tensors)
    stored = raw_bytes(out)
    for name, tensor in tensors.items():
        if tensor[0] in NUMPY and len(tensor[1]) > 1 and tensor[2]:
            expected = pyqbits.quantize(array(tensor), format)
            assert opened[name].tobytes() == expected.tobytes()
        else:
            assert stored[name][0] == tensor[2]
    pads = [name for name in stored if name.startswith("pyqbits.pad.")]
    assert all(start % 64 == 0 for name, (_, start) in stored.items() if name not in pads)
    assert not any(b"".join(stored[name][0] for name in pads))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.safetensors", "out.safetensors"]


@pytest.mark.parametrize("format", ["q8_0", "q5_1", "tq2_0"])
def test_quantize_to_block_types(tmp_path, format):
    rng, out = np.random.default_rng(6), tmp_path / "out.safetensors"
    tensors = {str(n): floats(rng, "F32", 3, n) for n in (512, 64, 33)} | {"b": floats(rng, "F32", 64)}
    model = write_file(tmp_path / "m.safetensors", tensors)
    text = run("quantize", model, "-o", out, "--format", format).stdout
    opened = pyqbits.open(out)
    for name in ("512", "64"):
        got = "q4_0" if format == "tq2_0" and name == "64" else format
        assert opened[name].tobytes() == pyqbits.quantize(array(tensors[name]), got).tobytes()
        assert got == format or "q4_0 instead of tq2_0: 1 tensor, of rows that are no multiple of 256" in text
    assert f"nothing instead of {format}: 1 tensor" in text
    assert isinstance(opened["33"], np.ndarray) and isinstance(opened["b"], np.ndarray)


def test_result_opens_with_safetensors(tmp_path, model, tensors):
    del tensors["f4"], tensors["f8"]  # which its NumPy side cannot hold
    write_file(model, tensors, {"format": "pt", "note": "ü [bold]"})
    out = tmp_path / "out.safetensors"
    run("quantize", model, "-o", out)
    with safe_open(out, "np") as file:
        assert file.metadata().items() > {"format": "pt", "note": "ü [bold]"}.items()
        assert file.get_tensor("embed.weight").shape == (37, 50)
        assert file.get_tensor("embed.weight.scales").shape == (37, 4)
    assert described(out)["conv.weight"] == {"format": "int4_g32", "shape": [5, 3, 33], "axis": 2}
    assert load_file(out)["layers.1.bias"].tobytes() == tensors["layers.1.bias"][2]


def test_table_and_json(tmp_path, model, tensors):
    out = tmp_path / "out.safetensors"
    text = run("quantize", model, "-o", out, "--search", "mse").stdout
    assert "embed.weight" in text and "10 tensors copied" in text and "37x100" in text
    found = json.loads(run("quantize", model, "-o", out, "--force", "--json").stdout)
    records = {record["name"]: record for record in found["tensors"]}
    for name in ("embed.weight", "layers.0.weight"):
        x = array(tensors[name])
        report = pyqbits.compare(x, pyqbits.quantize(x, "int4_g32"))
        assert records[name]["snr_db"] == pytest.approx(report.snr_db, abs=1e-9)
        assert records[name]["max_abs"] == report.max_abs
    assert records["layers.1.zeroed"]["snr_db"] is None  # no signal, no noise
    assert found["total"]["after"] == out.stat().st_size
    assert records["flags"]["format"] == "BOOL"


def test_include_and_exclude(tmp_path, model):
    out = tmp_path / "out.safetensors"
    run("quantize", model, "-o", out, "--include", "layers.*", "--include", "embed*", "--exclude", "*.1.*")
    assert set(described(out)) == {"embed.weight", "layers.0.weight"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--include", "nothing*"], "no tensor name matches 'nothing*'"),
        (["--format", "q5"], "unknown format 'q5'"),
        (["--search", "deep"], "search"),
        (["--nonfinite", "ignore"], "nonfinite"),
    ],
)
def test_bad_options(tmp_path, model, arguments, words):
    assert words in run("quantize", model, "-o", tmp_path / "out.safetensors", *arguments, code=2).stderr
    only_file(tmp_path)


def test_output_is_protected(tmp_path, model):
    before = model.read_bytes()
    out = tmp_path / "out.safetensors"
    out.write_bytes(b"mine")
    os.link(model, tmp_path / "link.safetensors")
    assert "--force" in run("quantize", model, "-o", out, code=2).stderr
    for same in (model, tmp_path, tmp_path / "link.safetensors"):
        assert "replace the input" in run("quantize", model, "-o", same, "--force", code=2).stderr
    assert "end in .safetensors" in run("quantize", model, "-o", tmp_path / "new", code=2).stderr
    assert "No such file" in run("quantize", model, "-o", tmp_path / "no" / "o.safetensors", code=2).stderr
    assert model.read_bytes() == before and out.read_bytes() == b"mine"
    run("quantize", model, "-o", out, "--force")
    assert "quantized already" in run("quantize", out, "-o", tmp_path / "again.safetensors", code=2).stderr


def test_saved_plain_arrays(tmp_path):
    x = np.random.default_rng(0).standard_normal((4, 64), np.float32)
    pyqbits.save(tmp_path / "model.safetensors", {"x": x})
    run("quantize", tmp_path / "model.safetensors", "-o", tmp_path / "out.safetensors")
    assert (
        pyqbits.open(tmp_path / "out.safetensors")["x"].tobytes() == pyqbits.quantize(x, "int4_g32").tobytes()
    )


@pytest.mark.skipif(os.name == "nt", reason="ulimit")
def test_full_disk(tmp_path, model):
    command = 'ulimit -f 8; exec "$0" -m pyqbits quantize "$1" -o "$2"'
    arguments = ["sh", "-c", command, sys.executable, str(model), str(tmp_path / "out.safetensors")]
    result = subprocess.run(arguments, capture_output=True, text=True)
    assert result.returncode == 2 and result.stderr == "pyqbits: File too large\n"
    only_file(tmp_path)


def test_colliding_names(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {"w": floats(rng, "F32", 2, 64), "w.scales": floats(rng, "F32", 2)}
    model = write_file(tmp_path / "model.safetensors", tensors)
    assert "'w.scales'" in run("quantize", model, "-o", tmp_path / "o.safetensors", code=2).stderr
    only_file(tmp_path)


def test_not_finite(tmp_path, monkeypatch):
    monkeypatch.setattr(quantize, "CHUNK", 600)
    x = np.zeros((3, 50, 40), np.float32)
    x[1, 20, 7], x[2, 0, 0] = np.nan, np.inf
    model = write_file(tmp_path / "model.safetensors", {"a": ("F32", x.shape, x.tobytes())})
    out = tmp_path / "o.safetensors"
    assert "'a' holds nan at (1, 20, 7)" in run("quantize", model, "-o", out, code=2).stderr
    only_file(tmp_path)
    run("quantize", model, "-o", out, "--nonfinite", "zero")


def test_scale_overflow(tmp_path):
    x = np.full((2, 64), 1e30, np.float32)
    model = write_file(tmp_path / "model.safetensors", {"a": ("F32", x.shape, x.tobytes())})
    assert "tensor 'a'" in run("quantize", model, "-o", tmp_path / "o.safetensors", code=2).stderr
    only_file(tmp_path)
    run("quantize", model, "-o", tmp_path / "o.safetensors", "--format", "int4_g32_f32")


# ---- shards -----------------------------------------------------------------------------------------


@pytest.fixture
def sharded(tmp_path, tensors):
    folder = tmp_path / "sharded"
    folder.mkdir()
    weight_map = {}
    for number in range(2):
        name = f"model-0000{number + 1}-of-00002.safetensors"
        part = dict(list(tensors.items())[number::2])
        write_file(folder / name, part, {"format": "pt"})
        weight_map |= dict.fromkeys(part, name)
    index = {"metadata": {"total_size": 1, "more": 2}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("name", ["", "model.safetensors.index.json"])
def test_sharded(tmp_path, sharded, tensors, name):
    out = tmp_path / "out"
    run("quantize", sharded / name, "-o", out)
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in sharded.iterdir())
    index = json.loads((out / "model.safetensors.index.json").read_text())
    stored = {shard.name: raw_bytes(shard) for shard in out.glob("*.safetensors")}
    for tensor, shard in index["weight_map"].items():
        assert tensor in stored[shard]
    sizes = [len(stored[shard][tensor][0]) for tensor, shard in index["weight_map"].items()]
    assert index["metadata"] == {"total_size": sum(sizes), "more": 2}
    assert set(tensors) < set(index["weight_map"]) and "embed.weight.scales" in index["weight_map"]
    found = json.loads(run("compare", sharded, out, "--json").stdout)
    assert len(found["tensors"]) == 5 and len(found["identical"]) == 10
    assert "embed.weight" in run("inspect", out).stdout
    assert "--force" in run("quantize", sharded, "-o", out, code=2).stderr
    assert "name a directory" in run("quantize", sharded, "-o", tmp_path / "o.safetensors", code=2).stderr


@pytest.mark.parametrize("shard", ["../model.safetensors", "/etc/passwd", "..", "a\\b", "none.safetensors"])
def test_bad_shards(tmp_path, sharded, shard):
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    run("quantize", sharded, "-o", tmp_path / "out", code=2)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text", ["", "[", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "[" * 99999]
)
def test_bad_index(tmp_path, sharded, text):
    (sharded / "model.safetensors.index.json").write_text(text)
    run("quantize", sharded, "-o", tmp_path / "out", code=2)
    assert not (tmp_path / "out").exists()


def test_bad_last_shard_leaves_nothing(tmp_path, sharded):
    last = sharded / "model-00002-of-00002.safetensors"
    x = np.full((2, 64), np.nan, np.float32)
    write_file(last, {"late": ("F32", x.shape, x.tobytes())})
    run("quantize", sharded, "-o", tmp_path / "out", code=2)
    assert not (tmp_path / "out").exists()


# ---- large models -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """200 MB in two tensors."""
    path = tmp_path_factory.mktemp("large") / "large.safetensors"
    block = np.random.default_rng(0).standard_normal((1024, 1000), np.float32).tobytes()
    write_file(path, {name: ("F32", (25 * 1024, 1000), block * 25) for name in ("a", "b")})
    yield path
    path.unlink()


MEASURE = """
import resource, sys
from pyqbits.cli.app import app
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
app(["quantize", sys.argv[1], "-o", sys.argv[3]], standalone_mode=False)
before = peak()
app(["quantize", sys.argv[2], "-o", sys.argv[3], "--force"], standalone_mode=False)
print("grew by", peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="unit of ru_maxrss")
def test_memory_is_bounded(tmp_path, model, large):
    command = [sys.executable, "-c", MEASURE, str(model), str(large), str(tmp_path / "out.safetensors")]
    two = {**os.environ, "PYQBITS_NUM_THREADS": "2"}  # each has a chunk
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=two)
    assert int(result.stdout.split()[-1]) * 1024 < 4 * quantize.CHUNK


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_leaves_nothing(tmp_path, large, number):
    command = [sys.executable, "-m", "pyqbits", "quantize", str(large), "-o", str(tmp_path / "o.safetensors")]
    child = subprocess.Popen(
        [*command, "--search", "best"],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # which jobs in the background ignore
    )
    while not list(tmp_path.iterdir()):
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(number)
    _, errors = child.communicate(timeout=60)
    assert child.returncode not in (0, 2) and "Traceback" not in errors
    assert not list(tmp_path.iterdir())

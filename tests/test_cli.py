"""The command line, as its users run it: results, exit codes, messages, and what is left on the disk."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file
from typer.testing import CliRunner

import pyqbits
from pyqbits.cli import bench, compare, quantize
from pyqbits.cli.app import app

FORMATS = [
    "int4_g32",
    "uint3_g64",
    "uint4_g32_z",
    "int1_g32",
    "int5_row_bf16",
    "int8_tensor",
    "uint2_tensor_z",
]
NUMPY = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "F64": np.float64}


def run(*arguments, code=0):
    """The result of a command that must end with an exit code, and must say one line if that is not 0."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="pyqbits")
    assert result.exit_code == code, result.output
    if code:
        assert result.stderr.startswith("pyqbits: ") and result.stderr.count("\n") == 1, result.stderr
        assert not result.stdout
    return result


def process(*arguments, **options):
    """The same in a process of its own."""
    command = [sys.executable, "-m", "pyqbits", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def write_file(path, tensors, metadata=None, pad=3):
    """A safetensors file written by hand: {name: (dtype, shape, bytes)}, its data at any alignment."""
    fields, position = {"__metadata__": metadata} if metadata else {}, 0
    for name, (dtype, shape, data) in tensors.items():
        offsets = [position, position + len(data)]
        fields[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": offsets}
        position += len(data)
    header = json.dumps(fields).encode() + b" " * pad
    body = b"".join(data for _, _, data in tensors.values())
    path.write_bytes(len(header).to_bytes(8, "little") + header + body)
    return path


def floats(rng, dtype, *shape):
    return dtype, shape, rng.standard_normal(shape).astype(NUMPY[dtype]).tobytes()


@pytest.fixture
def tensors():
    """Every kind of tensor, floats of sizes that nothing divides."""
    rng = np.random.default_rng(5)
    return {
        "embed.weight": floats(rng, "F32", 37, 100),
        "conv.weight": floats(rng, "F16", 5, 3, 33),
        "layers.0.weight": floats(rng, "BF16", 64, 129),
        "layers.1.weight": floats(rng, "F64", 9, 64),
        "layers.1.zeroed": ("F32", (4, 64), bytes(1024)),
        "layers.1.bias": floats(rng, "F32", 64),
        "bf16.bias": floats(rng, "BF16", 33),
        "flags": ("BOOL", (3, 5), bytes(15)),
        "codes": ("I8", (7, 9), rng.bytes(63)),
        "f8": ("F8_E4M3", (4, 6), rng.bytes(24)),
        "f4": ("F4", (4, 6), rng.bytes(12)),
        "complex": ("C64", (2, 2), rng.bytes(32)),
        "position": ("I64", (1, 12), rng.bytes(96)),
        "scalar": ("F32", (), rng.bytes(4)),
        "empty": ("F32", (0, 64), b""),
    }


@pytest.fixture
def model(tmp_path, tensors):
    return write_file(tmp_path / "model.safetensors", tensors, {"format": "pt", "note": "ü [bold]"})


def array(tensor):
    dtype, shape, data = tensor
    return np.frombuffer(data, NUMPY[dtype]).reshape(shape)


def raw_bytes(path):
    """The bytes of each tensor, and where they begin, by a reader of its own."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    fields = json.loads(data[8:start])
    fields.pop("__metadata__", None)
    places = {name: [start + offset for offset in field["data_offsets"]] for name, field in fields.items()}
    return {name: (data[first:last], first) for name, (first, last) in places.items()}


def described(path):
    with safe_open(path, "np") as file:
        return json.loads(file.metadata()["pyqbits"])["tensors"]


def only_file(path):
    assert [p.name for p in path.iterdir()] == ["model.safetensors"]


# ---- quantize ---------------------------------------------------------------------------------------


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


# ---- hostile files ----------------------------------------------------------------------------------


def header(fields, body=b"\0" * 16):
    text = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(dtype="F32", shape=(2, 2), offsets=(0, 16)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


HOSTILE = {
    "empty": b"",
    "short": b"\1\2\3",
    "length beyond the file": (1 << 40).to_bytes(8, "little") + b"{}",
    "length of all bits": b"\xff" * 8 + b"{}",
    "no JSON": header(b"hello"),
    "no text": header(b'{"\xff": 1}'),
    "no object": header([1]),
    "nested": header(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "many digits": header(b'{"a":' + b"9" * 10_000 + b"}"),
    "NaN": header(b'{"a": NaN}'),
    "named twice": header(b'{"a": {"dtype":"U8","shape":[16],"data_offsets":[0,16]}, "a": 1}'),
    "no fields": header({"a": {}}),
    "unknown dtype": header({"a": entry("X32")}),
    "dtype of another type": header({"a": entry(["F32"])}),
    "negative shape": header({"a": entry(shape=(-2, -2))}),
    "fractional shape": header({"a": entry(shape=(2.0, 2))}),
    "true in a shape": header({"a": entry(shape=(True, 4))}),
    "overflowing shape": header({"a": entry(shape=(1 << 62, 1 << 62))}),
    "too many dimensions": header({"a": entry(shape=(1,) * 70)}),
    "wrong size": header({"a": entry(shape=(2, 3))}),
    "beyond the end": header({"a": entry(shape=(2, 3), offsets=(0, 24))}),
    "backwards": header({"a": entry(shape=(0, 2), offsets=(16, 8))}),
    "overlap": header({"a": entry(), "b": entry("U8", (8,), (8, 16))}),
    "hole": header({"a": entry("U8", (8,), (0, 8)), "b": entry("U8", (4,), (12, 16))}),
    "bytes behind": header({"a": entry(shape=(2, 1), offsets=(0, 8))}),
    "half bytes": header({"a": entry("F4", (3,), (0, 16))}),
    "metadata of numbers": header({"__metadata__": {"a": 1}, "a": entry()}),
    "pyqbits metadata of nonsense": header({"__metadata__": {"pyqbits": "{"}, "a": entry()}),
    "unknown version": header({"__metadata__": {"pyqbits": '{"version": 99, "tensors": {}}'}, "a": entry()}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(tmp_path, name):
    model = tmp_path / "model.safetensors"
    model.write_bytes(HOSTILE[name])
    for arguments in (["quantize", model, "-o", tmp_path / "o.safetensors"], ["inspect", model]):
        assert str(model) in run(*arguments, code=2).stderr
    only_file(tmp_path)


def damaged(whole, rng):
    """A copy with up to three bytes of the header changed, and now and then cut or grown."""
    data, header_end = bytearray(whole), 8 + int.from_bytes(whole[:8], "little")
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(header_end)
        data[at] = rng.choice([data[at] ^ 1 << rng.randrange(8), *b'0129-[]{}:,".'])
    if rng.random() < 0.2:
        at = rng.randrange(len(data))
        data[at:] = data[at:] * rng.choice([0, 2])
    return bytes(data)


@pytest.mark.parametrize("quantized", [False, True])
def test_damaged_files(tmp_path, model, quantized):
    """Whatever the damage, a file is read or refused."""
    rng = random.Random(quantized)
    if quantized:
        run("quantize", model, "-o", tmp_path / "quantized.safetensors")
        model = tmp_path / "quantized.safetensors"
    whole, file, out = model.read_bytes(), tmp_path / "damaged.safetensors", tmp_path / "out.safetensors"
    for _ in range(100):
        file.write_bytes(damaged(whole, rng))
        for arguments in (["inspect", file], ["quantize", file, "--force", "-o", out]):
            result = CliRunner().invoke(app, list(map(str, arguments)))
            assert result.exit_code in (0, 2), (result.exception, file.read_bytes())


def test_no_traceback_in_a_process(tmp_path):
    result = process("quantize", tmp_path / "none.safetensors", "-o", tmp_path / "o.safetensors")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"pyqbits: {tmp_path / 'none.safetensors'}: No such file or directory\n"
    assert process("quantize").returncode == 2
    assert process("--version").stdout.strip() == pyqbits.__version__


def test_without_the_extra():
    code = "import sys; sys.modules['typer'] = None; from pyqbits.__main__ import main; main()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == "pyqbits: the command line needs typer: pip install 'pyqbits[cli]'\n"


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
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(result.stdout.split()[-1]) * 1024 < 8 * quantize.CHUNK


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_leaves_nothing(tmp_path, large, number):
    command = [sys.executable, "-m", "pyqbits", "quantize", str(large), "-o", str(tmp_path / "o.safetensors")]
    child = subprocess.Popen([*command, "--search", "best"], stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.iterdir()):
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(number)
    _, errors = child.communicate(timeout=60)
    assert child.returncode not in (0, 2) and "Traceback" not in errors
    assert not list(tmp_path.iterdir())


# ---- the other commands -----------------------------------------------------------------------------


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
    assert "holds no quantized tensor" in run("compare", model, model, code=2).stderr


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

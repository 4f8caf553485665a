"""Broken and hostile model files: one line of error, exit code 2, nothing left on the disk."""

import json
import random
import subprocess
import sys

import pytest
from cli_cases import only_file, process, run
from gguf_cases import CRAFTED, READ
from typer.testing import CliRunner

import pyqbits
from pyqbits.cli.app import app


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


@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_gguf_files(tmp_path, name):
    (tmp_path / "m.gguf").write_bytes(CRAFTED[name][0])
    result = CliRunner().invoke(app, ["inspect", str(tmp_path / "m.gguf")])
    assert result.exit_code == (0 if name in READ else 2)
    assert (str(tmp_path / "m.gguf") in result.stderr) == (name not in READ)


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

"""Running the command line, and models made by hand for it."""

import json
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from typer.testing import CliRunner

from pyqbits.cli.app import app

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


def only_file(path, name="model.safetensors"):
    assert [p.name for p in path.iterdir()] == [name]

"""The golden files: fixed bytes from ``golden/make.py``; every later version reads and makes the same."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from cases import floats_equal

import pyqbits
from pyqbits._blocks import block_names

GOLDEN = Path(__file__).resolve().parent / "golden"


def by_name(arrays):
    """{"name/part": array} as {name: {part: array}}."""
    found = {}
    for key in arrays.files:
        if "/" in key:
            name, part = key.split("/")
            found.setdefault(name, {})[part] = arrays[key]
    return found


@pytest.fixture(scope="module")
def arrays():
    with np.load(GOLDEN / "quantized.npz") as file:
        return {"x": file["x"], "columns": file["columns"], "formats": by_name(file)}


def test_packed_streams(isa):
    with np.load(GOLDEN / "packed.npz") as file:
        cases = {key.rsplit(".", 1)[0] for key in file.files}
        assert len(cases) == 2 * 8 * 3
        for case in cases:
            codes, stream = file[f"{case}.codes"], file[f"{case}.stream"]
            bits, signed = int(case[1]), case[0] == "i"
            assert np.array_equal(pyqbits.pack(codes, bits, signed=signed), stream), case
            again = pyqbits.unpack(stream, bits, codes.shape[1], signed=signed)
            assert again.dtype == codes.dtype and np.array_equal(again, codes), case


def test_quantized_matrices(isa, arrays):
    assert len(arrays["formats"]) == 33
    for name, parts in arrays["formats"].items():
        q = pyqbits.quantize(arrays["x"], name)
        stored = {part: array for part, array in parts.items() if part.startswith("codes")}
        assert [b.tobytes() for b in q.buffers.values()] == [a.tobytes() for a in stored.values()], name
        assert floats_equal(q.dequantize(), parts["values"]), name


def test_products(isa, arrays):
    for name, parts in arrays["formats"].items():
        q = pyqbits.quantize(arrays["x"], name)
        for mode in ("int8", "int16", "int24"):
            got = pyqbits.matmul(arrays["columns"], q.T, activations=mode)
            assert floats_equal(got, parts[mode]), (name, mode)
        assert floats_equal(pyqbits.vecdot(q, q), parts["vecdot"]), name


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_model_files(isa, arrays, suffix):
    model = pyqbits.open(GOLDEN / f"model_v1.{suffix}")
    assert set(model) == {"proj.weight", "head", "bias"}
    assert model["proj.weight"].format == pyqbits.affine(4)
    assert model["head"].format == pyqbits.affine(3, 40, zero="point", scale="bfloat16")
    with np.load(GOLDEN / "model_v1_values.npz") as values:
        for name in ("proj.weight", "head"):
            assert model[name].shape == (6, 80) and model[name].axis in (1, -1)
            assert floats_equal(model[name].dequantize(), values[name])
        assert floats_equal(np.asarray(model["bias"]), values["bias"])
    assert (
        model["head"].scales.astype(ml_dtypes.bfloat16).astype(np.float32).tobytes()
        == model["head"].scales.tobytes()
    )


@pytest.mark.parametrize("suffix", ["gguf", "safetensors", "npz"])
def test_files_of_block_types(isa, suffix):
    model = pyqbits.open(GOLDEN / f"blocks_v1.{suffix}")
    with np.load(GOLDEN / "blocks_v1_values.npz") as values:
        assert set(model) == set(values.files) == set(block_names())
        for name in values.files:
            q = model[name]
            assert (q.format.name, q.shape, q.axis) == (name, (2, 256), 1)
            assert floats_equal(q.dequantize(), values[name]), name
            assert q.prepare().unprepare().tobytes() == q.tobytes(), name

"""`pyqbits quantize` and `compare` with GGUF files."""

import json
import math
import random
import re
import struct
import subprocess
import sys
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from cli_cases import run
from fuzz_gguf import damaged
from gguf_cases import CRAFTED, DATA, tiny, various
from typer.testing import CliRunner

import pyqbits
from pyqbits import gguf
from pyqbits._blocks import block_named, block_names
from pyqbits.cli import imatrix, mixes, quantize_gguf
from pyqbits.cli.app import app
from pyqbits.gguf.types import TYPES

LLAMA = json.loads((DATA / "llama_mixes.json").read_text())
FLOATS = {"f32": np.dtype(np.float32), "f16": np.dtype(np.float16), "bf16": np.dtype(ml_dtypes.bfloat16)}
WEIGHTS = {mix.base for mix in mixes.MIXES.values()} | set(mixes.FILE_TYPES)
WRITTEN = [name for name in block_names() if name in WEIGHTS and block_named(name).searches]
METADATA = gguf.Metadata({"general.architecture": "llama", "llama.block_count": 1, "general.file_type": 0})


def tensors():
    rng = np.random.default_rng(4)

    def normal(*shape):
        return rng.standard_normal(shape, np.float32)

    raw = rng.integers(0, 256, (6, 2 * 18), np.uint8)
    raw.reshape(-1, 18)[:, 1] = 0x2C  # scales that are ordinary numbers
    return {
        "token_embd.weight": normal(20, 256),
        "blk.0.attn_norm.weight": normal(256),
        "blk.0.attn_q.weight": normal(9, 512).astype(np.float16),
        "blk.0.attn_v.weight": normal(3, 256).astype(ml_dtypes.bfloat16),
        "blk.0.ffn_up.weight": pyqbits.QArray.from_bytes(raw, "q4_0", (6, 64)),
        "blk.0.ffn_down_exps.weight": normal(2, 3, 96),
        "blk.0.ffn_gate_inp.weight": normal(4, 256),
        "blk.0.odd.weight": normal(5, 33),
        "blk.0.double.weight": normal(2, 256).astype(np.float64),
        "blk.0.attn_q.bias": normal(512),
        "ids.weight": np.arange(6, dtype=np.int32).reshape(2, 3),
        "none.weight": normal(0, 256),
    }


QUANTIZED = {
    "token_embd.weight", "blk.0.attn_q.weight", "blk.0.attn_v.weight", "blk.0.ffn_up.weight",
    "blk.0.ffn_down_exps.weight", "blk.0.odd.weight", "blk.0.double.weight",
}  # fmt: skip


@pytest.fixture
def model(tmp_path):
    gguf.save(tmp_path / "model.gguf", tensors(), METADATA)
    return tmp_path / "model.gguf"


def numbers(x):
    return x.dequantize() if isinstance(x, pyqbits.QArray) else x


# ---- which types ----------------------------------------------------------------------------------


def llama_model(layers, width, ff, heads, kv, tied, experts):
    """A header of a model as the files of `llama_mixes.json` were made from."""
    shapes = {"token_embd.weight": (32, width), "output_norm.weight": (width,)}
    if not tied:
        shapes["output.weight"] = (32, width)
    ffn = {"ffn_gate": (ff, width), "ffn_up": (ff, width), "ffn_down": (width, ff)}
    for i in range(layers):
        layer = {"attn_norm": (width,), "ffn_norm": (width,), "attn_q": (width, width)}
        layer |= {"attn_k": (width // heads * kv, width), "attn_v": (width // heads * kv, width)}
        layer |= {"attn_output": (width, width), **({} if experts else ffn)}
        if experts:
            layer |= {f"{name}_exps": (experts, *shape) for name, shape in ffn.items()}
            layer["ffn_gate_inp"] = (experts, width)
        shapes |= {f"blk.{i}.{name}.weight": shape for name, shape in layer.items()}
    metadata = {
        "general.architecture": "llama", "llama.block_count": layers, "llama.attention.head_count": heads,
        "llama.attention.head_count_kv": kv, "llama.expert_count": experts,
    }  # fmt: skip
    infos = {n: gguf.TensorInfo(n, "f32", shape, 0, 4 * math.prod(shape)) for n, shape in shapes.items()}
    return SimpleNamespace(tensors=infos, metadata=metadata)


@pytest.mark.parametrize("name", LLAMA)
def test_mixes_are_those_of_llama_cpp(name, monkeypatch):
    file = llama_model(**LLAMA[name]["model"])
    for mix, expected in LLAMA[name]["types"].items():
        found = mixes.plan(file, mixes.Choice(mix)).types
        for tensor, type in found.items():
            layered = tensor.startswith("blk.")
            _, layer, suffix = tensor.split(".", 2) if layered else ("", "0", tensor)
            if "norm" in suffix or "gate_inp" in suffix:
                assert type == "f32"
                continue
            types = expected[suffix].split()
            assert type == types[int(layer) if len(types) > 1 else 0], (mix, tensor)


def test_pure_formats_and_exceptions(monkeypatch):
    file = llama_model(4, 288, 512, 4, 2, False, 0)

    def types(*arguments, **options):
        return mixes.plan(file, mixes.Choice(*arguments, **options))

    found = types("q4_K_M", pure=True)
    assert found.types["blk.0.ffn_down.weight"] == "q4_K" and found.types["output.weight"] == "q5_0"
    assert found.types["output_norm.weight"] == "f32"
    assert found.fallbacks == {("q4_K", "q5_0"): 2 + 4 * 6}
    assert set(types("iq2_xs").types.values()) == {"f32", "iq2_xs", "iq4_nl"}
    found = types("q8_0", exceptions=(("blk.*", "q4_0"), ("*.3.*", "f16"))).types
    assert [found[n] for n in ("output.weight", "blk.2.attn_q.weight", "blk.3.attn_q.weight")] == [
        "q8_0", "q4_0", "f16"
    ]  # fmt: skip
    found = types("q8_0", include=("*attn*",), exclude=("*.1.*",)).types
    assert {name for name, type in found.items() if type == "q8_0"} == {
        f"blk.{i}.attn_{kind}.weight" for i in (0, 2, 3) for kind in ("q", "k", "v", "output")
    }
    assert mixes.fitting("q6_K", 96) == "q8_0" and mixes.fitting("tq1_0", 32) == "q4_0"
    assert mixes.fitting("q6_K", 33) == mixes.fitting("q4_0", 33) == mixes.fitting("nvfp4", 96) == "f16"


def test_names_of_types_and_mixes():
    peer = pytest.importorskip("gguf")
    numbers = {member.name.removeprefix("MOSTLY_"): int(member) for member in peer.LlamaFileType}
    for name, mix in mixes.MIXES.items():
        assert mix.file_type == (0 if name == "f32" else numbers[name.upper()])
    numbers.setdefault("Q2_0", 41)  # of later releases
    for name, number in mixes.FILE_TYPES.items():
        assert number in [value for known, value in numbers.items() if known.startswith(name.upper())]
    assert set(mixes.FALLBACKS) | set(mixes.FALLBACKS.values()) <= set(TYPES)


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
def test_bad_options(tmp_path, model, arguments, words):
    assert words in run("quantize", model, "-o", tmp_path / "o.gguf", *arguments, code=2).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


def test_output_is_protected(tmp_path, model):
    before = model.read_bytes()
    (tmp_path / "out.gguf").write_bytes(b"mine")
    assert "--force" in run("quantize", model, "-o", tmp_path / "out.gguf", code=2).stderr
    for same in (model, tmp_path):
        assert "replace the input" in run("quantize", model, "-o", same, "--force", code=2).stderr
    assert "end in .gguf" in run("quantize", model, "-o", tmp_path / "o.safetensors", code=2).stderr
    assert model.read_bytes() == before and (tmp_path / "out.gguf").read_bytes() == b"mine"


def test_other_containers_have_no_mixes(tmp_path):
    pyqbits.save(tmp_path / "m.safetensors", {"w": np.ones((2, 32), np.float32)})
    for option in (["--pure"], ["--tensor-format", "w=q8_0"], ["--imatrix", "m"]):
        arguments = ["quantize", tmp_path / "m.safetensors", "-o", tmp_path / "o.safetensors", *option]
        assert "are for .gguf files" in run(*arguments, code=2).stderr


# ---- what becomes of the numbers ------------------------------------------------------------------


@pytest.mark.parametrize("type", FLOATS)
@pytest.mark.parametrize("chunk", [1, 3000, quantize_gguf.CHUNK])
def test_to_floats(tmp_path, model, type, chunk, monkeypatch):
    monkeypatch.setattr(quantize_gguf, "CHUNK", chunk)
    out = tmp_path / "out.gguf"
    report = json.loads(run("quantize", model, "-o", out, "--format", type, "--json").stdout)
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


@pytest.mark.parametrize("type", WRITTEN)
def test_to_blocks(tmp_path, model, type, monkeypatch):
    monkeypatch.setattr(quantize_gguf, "CHUNK", 3000)
    out = tmp_path / "out.gguf"
    text = run(
        "quantize", model, "-o", out, "--format", type, "--pure", "--tensor-format", "*odd*=f32"
    ).stdout
    opened = gguf.open(out)
    for name, x in tensors().items():
        got = mixes.fitting(type, x.shape[-1])
        if isinstance(x, pyqbits.QArray) and x.format.name == type:
            assert opened[name].tobytes() == x.tobytes()
        elif name in QUANTIZED and opened.tensors[name].type == type:
            assert opened[name].tobytes() == pyqbits.quantize(numbers(x), type).tobytes()
        if name in QUANTIZED - {"blk.0.odd.weight"}:
            assert opened.tensors[name].type == got
            assert got == type or f"{got} instead of {type}: " in text
    found = json.loads(run("compare", model, out, "--json").stdout)
    records = {record["name"]: record["snr_db"] for record in found["tensors"]}
    for name in ("token_embd.weight", "blk.0.attn_q.weight"):
        assert records[name] == pyqbits.compare(tensors()[name], opened[name]).snr_db


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


def test_compare(tmp_path, model):
    out = tmp_path / "out.gguf"
    run("quantize", model, "-o", out, "--format", "bf16")
    found = json.loads(run("compare", model, out, "--json").stdout)
    records = {record["name"]: record for record in found["tensors"]}
    assert set(records) == QUANTIZED - {"blk.0.attn_v.weight"} and not found["different"]
    x, y = tensors()["blk.0.attn_q.weight"].astype(np.float64), gguf.open(out)["blk.0.attn_q.weight"]
    error = np.abs(x - y.astype(np.float64))
    record = records["blk.0.attn_q.weight"]
    assert record["max_abs"] == error.max() and record["format"] == "bfloat16"
    assert tuple(record["max_index"]) == np.unravel_index(error.argmax(), error.shape)
    assert record["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-9)
    assert "bfloat16" in run("compare", model, out, "--plot", tmp_path / "p.png").stdout


def test_compare_block_types(tmp_path, model):
    """Types of blocks on either side."""
    found = json.loads(run("compare", model, model, "--json").stdout)
    assert [record["name"] for record in found["tensors"]] == ["blk.0.ffn_up.weight"]
    assert found["tensors"][0]["rmse"] == 0 and len(found["identical"]) == len(tensors()) - 1
    run("quantize", model, "-o", tmp_path / "o.gguf", "--format", "f32")
    found = json.loads(run("compare", tmp_path / "o.gguf", model, "--json").stdout)
    assert all(record["rmse"] == 0 for record in found["tensors"] if record["name"] == "blk.0.ffn_up.weight")


# ---- importance -----------------------------------------------------------------------------------

IMPORTANCE = {
    "token_embd.weight": np.arange(256, dtype=np.float32).reshape(1, 256),
    "blk.0.ffn_down_exps.weight": np.arange(192, dtype=np.float32).reshape(2, 96),
}


def old_layout(entries, count=None):
    """An importance file of the older layout: names, numbers of calls and sums."""
    data = struct.pack("<i", len(entries) if count is None else count)
    for name, calls, sums in entries:
        data += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", calls, sums.size)
        data += sums.astype("<f4").tobytes()
    return data


@pytest.fixture(params=["new", "old"])
def importance_file(tmp_path, request):
    path = tmp_path / "imatrix"
    if request.param == "old":
        entries = [(name, 4, 4 * weights[:1]) for name, weights in IMPORTANCE.items()]
        path.write_bytes(old_layout(entries) + struct.pack("<i", 7) + b"\4\0\0\0text")
        return path, {name: weights[:1] for name, weights in IMPORTANCE.items()}
    parts = {"unused.weight.in_sum2": np.ones((1, 8), np.float32), "unused.weight.counts": np.zeros((1, 1))}
    for name, weights in IMPORTANCE.items():
        counts = np.arange(1, len(weights) + 1, dtype=np.float32)[:, None]
        parts |= {f"{name}.in_sum2": weights * counts, f"{name}.counts": counts}
    gguf.save(path, parts, {"general.type": "imatrix"})
    return path, {**IMPORTANCE, "unused.weight": np.ones((1, 8), np.float32)}


def test_importance_is_read(importance_file):
    path, expected = importance_file
    found = imatrix.load(path)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], weights) for name, weights in expected.items())


def test_importance_reaches_the_quantizer(tmp_path, model, importance_file, monkeypatch):
    monkeypatch.setattr(quantize_gguf, "CHUNK", 5 * 96 * 4)  # five rows: the experts have three each
    seen, quantize = {}, pyqbits.quantize

    def spy(x, format, importance, **options):
        if importance is not None:
            seen.setdefault(x.shape[1], []).append(np.broadcast_to(importance, x.shape))
        return quantize(x, format, importance=importance, **options)

    monkeypatch.setattr(pyqbits, "quantize", spy)
    path, expected = importance_file
    options = ["--format", "q4_0", "--pure", "--imatrix", path]
    text = run("quantize", model, "-o", tmp_path / "o.gguf", *options).stdout
    weights = expected["blk.0.ffn_down_exps.weight"]
    rows = np.arange(6) // 3 if len(weights) > 1 else np.zeros(6, int)
    assert np.array_equal(np.concatenate(seen[96]), weights[rows])
    assert np.array_equal(np.concatenate(seen[256]), np.tile(expected["token_embd.weight"], (20, 1)))
    assert (
        "no importance for 3 tensors: blk.0.attn_q.weight, blk.0.attn_v.weight, blk.0.double.weight\n" in text
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cut short"),
        (b"\1\0", "cut short"),
        (old_layout([]), "no importance of any tensor"),
        (old_layout([], count=-1), "no importance of any tensor"),
        (old_layout([("w", 1, np.ones(4))], count=2), "cut short"),
        (old_layout([("w", 1, np.ones(4))])[:-1], "16 bytes are missing"),
        (struct.pack("<ii", 1, -1), "cut short"),
        (struct.pack("<ii", 1, 2**31 - 1), "cut short"),
        (struct.pack("<ii", 1, 1) + b"\xff", "not UTF-8"),
        (old_layout([("w", 1, np.ones(0))]), "is empty"),
        (old_layout([("w", 1, np.array([np.nan]))]), "not all finite"),
        (old_layout([("w", 1, np.array([-1.0]))]), "not negative"),
        (old_layout([("token_embd.weight", 1, np.ones(255))]), "its importance 1 x 255 values"),
    ],
)
def test_bad_importance(tmp_path, model, data, words):
    (tmp_path / "m").write_bytes(data)
    arguments = [
        "quantize",
        model,
        "-o",
        tmp_path / "o.gguf",
        "--format",
        "q8_0",
        "--imatrix",
        tmp_path / "m",
    ]
    assert words in run(*arguments, code=2).stderr
    assert not (tmp_path / "o.gguf").exists()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"w.in_sum2": np.ones((1, 4), np.float32)}, "has no '.counts'"),
        ({"w.in_sum2": np.ones((1, 4)), "w.counts": np.ones((1, 1))}, "is not f32"),
        ({"w.in_sum2": np.ones((1, 4), np.float32), "w.counts": np.ones((3, 1))}, "do not fit"),
        ({"w.in_sum2": np.ones((1, 4), np.float32), "w.counts": np.ones((0, 1))}, "do not fit"),
        ({"w": np.ones(4)}, "no importance of any tensor"),
    ],
)
def test_bad_importance_in_gguf(tmp_path, parts, words):
    gguf.save(tmp_path / "m", parts)
    with pytest.raises(pyqbits.FormatError, match=re.escape(words)):
        imatrix.load(tmp_path / "m")


def test_mixes_with_importance(monkeypatch):
    file = llama_model(16, 256, 256, 4, 4, False, 0)
    for mix, usual, weighted in (
        ("q4_0", "q4_0", "q4_1"),
        ("q5_0", "q5_0", "q5_1"),
        ("iq4_xs", "q5_K", "iq4_xs"),
    ):
        for choice, type in ((mixes.Choice(mix), usual), (mixes.Choice(mix, weighted=True), weighted)):
            types = mixes.plan(file, choice).types
            assert types["blk.1.ffn_down.weight"] == type and types["blk.2.ffn_down.weight"] == mix


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
def test_memory_is_bounded(tmp_path, model):
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
    files = [str(path) for path in (model, tmp_path / "large.gguf", tmp_path / "o.gguf")]
    result = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, check=True)
    assert int(result.stdout.split()[-1]) * 1024 < 12 * quantize_gguf.CHUNK

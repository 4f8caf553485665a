"""`pyqbits quantize --imatrix`: what importance files say, and what becomes of it."""

import re
import struct

import numpy as np
import pytest
from cli_cases import run

import pyqbits
from pyqbits import gguf
from pyqbits.cli import imatrix, quantize_gguf

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


def test_importance_reaches_the_quantizer(tmp_path, gguf_model, importance_file, monkeypatch):
    monkeypatch.setattr(quantize_gguf, "CHUNK", 5 * 96 * 4)  # five rows: the experts have three each
    seen, quantize = {}, pyqbits.quantize

    def spy(x, format, importance, **options):
        if importance is not None:
            seen.setdefault(x.shape[1], []).append(np.broadcast_to(importance, x.shape))
        return quantize(x, format, importance=importance, **options)

    monkeypatch.setattr(pyqbits, "quantize", spy)
    path, expected = importance_file
    options = ["--format", "q4_0", "--pure", "--imatrix", path]
    with pyqbits.threads(1):  # chunks in order
        text = run("quantize", gguf_model, "-o", tmp_path / "o.gguf", *options).stdout
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
def test_bad_importance(tmp_path, gguf_model, data, words):
    (tmp_path / "m").write_bytes(data)
    arguments = [
        "quantize",
        gguf_model,
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

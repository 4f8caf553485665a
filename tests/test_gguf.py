"""GGUF files: what is read is what was written, by us and by the package `gguf`, byte for byte."""

import itertools
import os
import struct
import sys

import ml_dtypes
import numpy as np
import pytest
from cases import floats_equal
from gguf_cases import DATA, METADATA, TINY, array, copied, info, pair, string, tiny, various, whole
from hypothesis import given
from hypothesis import strategies as st

import pyqbits as qb
from pyqbits import gguf
from pyqbits._blocks import block_named, block_names
from pyqbits.gguf.types import DTYPES, NUMBERS, TYPES


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.gguf"


# ---- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", TINY)
def test_tiny_files(case):
    file = gguf.open(tiny(case))
    found = {key: (file.metadata.type(key), file.metadata[key]) for key in file.metadata}
    aligned = {"general.alignment": ("uint32", 64)} if "64" in case else {}
    assert found == {**METADATA, **aligned}
    python = {key: value.__class__ for key, (_, value) in METADATA.items() if not isinstance(value, list)}
    assert all(found[key][1].__class__ is kind for key, kind in python.items())
    assert (file.version, file.byteorder) == (3, "big" if case.endswith("be") else "little")
    assert file.alignment == (64 if aligned else 32) and all(
        i.offset % 32 == 0 for i in file.tensors.values()
    )
    expected = np.load(DATA / "tiny_gguf_expected.npz")
    assert list(file) == ["a.f32", "b.q4_0", "b.q8_0", "b.q5_1", "b.mxfp4"] and len(file) == 5
    assert np.array_equal(file["a.f32"], expected["a_f32"]) and not file["a.f32"].flags.writeable
    for name in list(file)[1:]:
        type = name[2:]
        assert file.tensors[name].type == type and file.tensors[name].shape == (3, 256)
        assert file.raw(name).shape == (3, 256 // TYPES[type].block * TYPES[type].nbytes)
        if file.byteorder == "big":
            with pytest.raises(TypeError, match=f"'{name}' has type {type}, whose bytes big-endian files"):
                file[name]
            continue
        q = file[name]
        assert q.format.name == type and np.shares_memory(q.buffers["blocks"], file.raw(name))
        assert floats_equal(q.dequantize(), expected[f"deq_{type}"])
    assert "5 tensors" in repr(file) and "nothing" not in file
    with pytest.raises(KeyError):
        file["nothing"]


@pytest.mark.parametrize("order", ["<", ">"])
def test_plain_types_and_odd_values(path, order):
    path.write_bytes(various(order))
    file = qb.open(path)
    for number, name in {24: "i8", 25: "i16", 26: "i32", 27: "i64", 28: "f64", 1: "f16"}.items():
        tensor = file[f"t{number}"]
        assert file.tensors[f"t{number}"].type == name and tensor.dtype.newbyteorder("<") == DTYPES[name]
        assert tensor.tolist() == [[0, 1, 2], [3, 4, 5]]
    bits = np.arange(6, dtype=np.uint16).reshape(2, 3)
    assert file["t30"].dtype == ml_dtypes.bfloat16 and np.array_equal(file["t30"].view(np.uint16), bits)
    assert file["one"].shape == () and file["one"] == 0 and file["none"].shape == (5, 0)
    assert file["four"].tolist() == [[[[1], [2]]], [[[3], [4]]]]
    values = dict(file.metadata)
    assert values["ü"] == "\udcff\udcfe not UTF-8" and values["large"] == 2**64 - 1
    assert values["nested"].tolist() == [[1, 2], ["x"], []] and values["empty"] == []
    assert [a.type for a in values["nested"]] == ["uint8", "string", "array"]
    assert file.metadata.type("nested") == "array[array]" and file.metadata.type("empty") == "array[float64]"


def test_version_2_is_read_like_3(path):
    path.write_bytes(whole([pair("k", "u8", b"\5")], [info("w", (2,), 24, 0)], b"\1\2", version=2))
    file = gguf.open(path)
    assert (file.version, file.metadata["k"], file["w"].tolist()) == (2, 5, [1, 2])


def test_order_and_gaps_of_tensors_are_free(path):
    infos = [info("b", (1,), 24, 128), info("a", (1,), 24, 0)]
    path.write_bytes(whole([], infos, b"\1" + bytes(127) + b"\2"))
    file = gguf.open(path)
    assert {name: file[name].item() for name in file} == {"b": 2, "a": 1}


def test_bfloat16_without_ml_dtypes(path, monkeypatch):
    path.write_bytes(various())
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    file = gguf.open(path)
    with pytest.raises(TypeError, match="install ml_dtypes"):
        file["t30"]
    assert file.raw("t30").shape == (2, 6)


def test_closed_files(path):
    path.write_bytes(various())
    with qb.open(path) as file:
        kept = file["t27"]
    assert kept.tolist() == [[0, 1, 2], [3, 4, 5]] and file.metadata["nested"][0] == [1, 2]
    with pytest.raises(ValueError, match=r"m.gguf is closed"):
        file["t27"]


def test_large_arrays_are_not_decoded_before_they_are_used(path):
    tokens = [f"token {i}" for i in range(150_000)]
    scores = np.arange(150_000, dtype=np.float32)
    gguf.save(path, {}, {"tokens": tokens, "scores": scores})
    file = gguf.open(path)
    array = file.metadata["tokens"]
    assert array._items is None and len(array) == 150_000
    assert repr(file.metadata["scores"]).startswith("<Array of 150000 float32: 0.0, 1.0, ")
    assert array[7] == "token 7" and array[-2:] == tokens[-2:] and list(array) == tokens
    assert np.shares_memory(np.asarray(file.metadata["scores"]), file.metadata["scores"].items)


# ---- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TINY[:2])
def test_a_copy_is_the_same_bytes(path, name):
    assert copied(tiny(name), path) == tiny(name).read_bytes()


def test_a_copy_of_odd_things_is_the_same_bytes(path, tmp_path):
    (tmp_path / "odd").write_bytes(various())
    whole = copied(tmp_path / "odd", path)
    assert whole[: len(various())] == various() and not any(whole[len(various()) :])
    assert len(whole) % 32 == 0


def test_pieces_in_any_order(path):
    rows = np.arange(12, dtype="<i2").reshape(3, 4)
    with gguf.Writer(path, [gguf.Spec("a", "i16", (3, 4)), gguf.Spec("b", "i8", ())], {}) as file:
        file.write("b", b"\7")
        for i in (2, 0, 1):
            assert file.write("a", rows[i], at=8 * i) == 8 * i + 8
        assert file.tensors["b"].offset % 32 == 0 and not path.exists()
    opened = gguf.open(path)
    assert np.array_equal(opened["a"], rows) and opened["b"] == 7 and os.listdir(path.parent) == ["m.gguf"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (("w", "q4_0", (3, 33)), "rows of 33 values; q4_0 takes multiples of 32"),
        (("w", "q4_K", ()), "rows of 1 values; q4_K takes multiples of 256"),
        (("w", "q9_9", (32,)), "unknown type 'q9_9'"),
        (("w", "f32", (1, 1, 1, 1, 1)), "up to 4 dimensions"),
        (("w", "f32", (-1, 2)), "has shape"),
        (("w", "f32", (2**40, 2**40)), "has shape"),
        (("v", "f32", (2,)), "two tensors would be stored under the name 'v'"),
        (("\ud800", "f32", (2,)), "surrogates not allowed"),
    ],
)
def test_tensors_that_cannot_be_written(path, spec, words):
    with pytest.raises(ValueError, match=words):
        gguf.Writer(path, [gguf.Spec("v", "f32", (2,)), gguf.Spec(*spec)], {})
    assert not os.listdir(path.parent)


@pytest.mark.parametrize(("value", "error"), [(48, ValueError), (0, ValueError), (np.uint64(32), TypeError)])
def test_alignments_that_cannot_be(path, value, error):
    with pytest.raises(error, match=r"general\.alignment must be"):
        gguf.Writer(path, [], {"general.alignment": value})


def test_writes_that_fail_leave_nothing(path):
    spec = gguf.Spec("w", "f32", (2,))
    with pytest.raises(ValueError, match="'w' was not written to its end"):
        with gguf.Writer(path, [spec], {}) as file:
            file.write("w", bytes(4))
    with pytest.raises(ValueError, match="8 bytes at 4 do not fit tensor 'w' of 8 bytes"):
        with gguf.Writer(path, [spec], {}) as file:
            file.write("w", bytes(8), at=4)
    assert not os.listdir(path.parent)


def test_save_takes_arrays(path):
    saved = {
        "f": np.arange(6.0, dtype=">f4").reshape(2, 3).T, "h": np.float16(2.5), "i": [1, 2],
        "b": np.ones((2, 3), ml_dtypes.bfloat16), "e": np.zeros((0, 3)),
    }  # fmt: skip
    qb.save(path, saved)
    opened = qb.open(path)
    assert list(opened) == list(saved) and not opened.metadata
    assert all(np.array_equal(opened[name], saved[name]) for name in saved)
    with pytest.raises(TypeError, match="'w' has dtype uint8, which GGUF does not hold"):
        qb.save(path, {"w": np.zeros(3, np.uint8)})


def test_save_takes_blocks(path):
    rng, shape = np.random.default_rng(3), (3, 4, 256)
    saved = {
        type: qb.QArray.from_bytes(rng.bytes(TYPES[type].array_nbytes(shape)), type, shape)
        for type in ("q4_0", "q6_K", "iq2_xs")
    }
    gguf.save(path, {**saved, "x": np.ones(shape)})
    opened = gguf.open(path)
    for type, q in saved.items():
        assert (opened.tensors[type].type, opened[type].shape) == (type, shape)
        assert opened[type].tobytes() == q.tobytes()
    other_axis = qb.QArray.from_bytes(saved["q4_0"].tobytes(), "q4_0", (3, 256, 4), axis=1)
    for q in (qb.quantize(np.ones(32), "int4_g32"), other_axis):
        with pytest.raises(TypeError, match=r"'w' is <QArray .*: GGUF holds block types, with blocks along"):
            gguf.save(path, {"w": q})
    assert len(gguf.open(path)) == 4


def test_types_are_those_of_the_library():
    assert {name for name, type in TYPES.items() if type.block > 1} == set(block_names())
    for name in block_names():
        format = block_named(name)
        assert (format.elements, format.block_bytes) == (TYPES[name].block, TYPES[name].nbytes)


# ---- anything -------------------------------------------------------------------------------------


def scalars(type):
    if type == "string":
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    if type == "bool":
        return st.booleans()
    dtype = NUMBERS[type]
    if dtype.kind == "f":
        return st.floats(width=8 * dtype.itemsize, allow_nan=False)
    limits = np.iinfo(dtype)
    return st.integers(int(limits.min), int(limits.max))


def arrays(type):
    return st.lists(scalars(type), max_size=5).map(
        lambda values: (f"array[{type}]", gguf.Array(type, values))
    )


simple = st.sampled_from([*NUMBERS, "string"])
flat = simple.flatmap(arrays)
nested = st.recursive(
    flat, lambda inner: st.lists(inner, max_size=3).map(
        lambda found: ("array[array]", gguf.Array("array", [value for _, value in found]))), max_leaves=6,
)  # fmt: skip
values = simple.flatmap(lambda type: st.tuples(st.just(type), scalars(type))) | nested
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@st.composite
def specs(draw):
    type = draw(st.sampled_from(list(TYPES.values())))
    dims = draw(st.integers(0 if type.block == 1 else 1, 4))
    shape = [draw(st.integers(0, 3)) for _ in range(dims)]
    return type.name, (*shape[:-1], shape[-1] * type.block) if shape else ()


@given(
    metadata=st.dictionaries(names, values, max_size=5),
    tensors=st.dictionaries(names, specs(), max_size=5),
    alignment=st.sampled_from([None, 1, 2, 32, 4096]),
)
def test_anything_comes_back(tmp_path_factory, metadata, tensors, alignment):
    path = tmp_path_factory.getbasetemp() / "any.gguf"
    kept = gguf.Metadata()
    for key, (type, value) in metadata.items():
        kept.set(key, value, type)
    if alignment:
        kept.set("general.alignment", alignment, "uint32")
    counter = itertools.count()
    written = {}
    with gguf.Writer(path, [gguf.Spec(name, *spec) for name, spec in tensors.items()], kept) as file:
        for name, info in file.tensors.items():
            written[name] = struct.pack("<Q", next(counter)).ljust(info.nbytes, b"\xa5")[: info.nbytes]
            file.write(name, written[name])
    opened = gguf.open(path)
    assert [(key, opened.metadata.type(key), opened.metadata[key]) for key in opened.metadata] == [
        (key, kept.type(key), kept[key]) for key in kept
    ]
    assert {name: (info.type, info.shape) for name, info in opened.tensors.items()} == tensors
    assert all(opened.raw(name).tobytes() == data for name, data in written.items())
    assert copied(path, path.with_suffix(".copy")) == path.read_bytes()


def test_reading_by_hand(path):
    """The layout of the documentation, each field written here."""
    pairs = [
        pair("f", "f32", struct.pack("<f", 0.5)), pair("b", "bool", b"\2"), pair("s", "string", string("é")),
        pair("a", "array", array("u32", 2, struct.pack("<2I", 1, 2))),
        pair("ab", "array", array("bool", 3, b"\0\1\2")),
    ]  # fmt: skip
    path.write_bytes(whole(pairs, [info("w", (3, 2), 0, 0)], np.arange(6, dtype="<f4").tobytes()))
    file = gguf.open(path)
    assert dict(file.metadata) == {"f": 0.5, "b": True, "s": "é", "a": [1, 2], "ab": [False, True, True]}
    assert file["w"].tolist() == [[0, 1, 2], [3, 4, 5]]

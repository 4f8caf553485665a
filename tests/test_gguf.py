"""GGUF files: what is read is what was written, by us and by the package `gguf`, byte for byte."""

import itertools
import os
import struct
import sys

import ml_dtypes
import numpy as np
import pytest
from cases import floats_equal
from gguf_cases import DATA, TINY, array, info, pair, string, tiny, various, whole
from hypothesis import given
from hypothesis import strategies as st

import pyqbits as qb
from pyqbits import gguf
from pyqbits._blocks import block_named, block_names
from pyqbits.gguf.types import DTYPES, NUMBERS, TYPES, VALUE_IDS

METADATA = {
    "general.architecture": ("string", "llama"), "t.u8": ("uint8", 200), "t.i8": ("int8", -5),
    "t.u16": ("uint16", 60000), "t.i16": ("int16", -300), "t.u32": ("uint32", 4000000000),
    "t.i32": ("int32", -70000), "t.f32": ("float32", 1.5), "t.bool": ("bool", True),
    "t.str": ("string", "héllo"), "t.u64": ("uint64", 2**40), "t.i64": ("int64", -(2**40)),
    "t.f64": ("float64", 0.1), "t.arr_i32": ("array[int32]", [1, -2, 3]),
    "t.arr_str": ("array[string]", ["a", "bb", ""]), "t.arr_f32": ("array[float32]", [0.5, 0.25]),
    "t.arr_bool": ("array[bool]", [True, False]),
}  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.gguf"


@pytest.fixture(scope="module")
def peer():
    return pytest.importorskip("gguf")


def copied(source, path):
    """A file that was read and written again."""
    with gguf.open(source) as old, gguf.Writer(path, old.tensors.values(), old.metadata) as new:
        for name in old:
            new.write(name, old.raw(name))
    return path.read_bytes()


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


# ---- values ---------------------------------------------------------------------------------------


def test_values_take_types():
    metadata = gguf.Metadata({
        "i": 1, "n": -1, "l": 2**40, "ln": -(2**40), "f": 0.1, "b": True, "s": "x", "np": np.int8(3),
        "a": [1, -2], "al": [2**40], "au": [2**63], "af": [1, 0.5], "as": ("x", "y"), "ab": [True],
        "an": np.arange(3, dtype=">u2"), "aa": [[1], ["x"]],
    })  # fmt: skip
    types = {key: metadata.type(key) for key in metadata}
    assert types == {
        "i": "uint32", "n": "int32", "l": "uint64", "ln": "int64", "f": "float32", "b": "bool", "s": "string",
        "np": "int8", "a": "array[int32]", "al": "array[uint64]", "au": "array[uint64]",
        "af": "array[float32]", "as": "array[string]", "ab": "array[bool]", "an": "array[uint16]",
        "aa": "array[array]",
    }  # fmt: skip
    assert metadata["f"] == float(np.float32(0.1)) and metadata["an"] == [0, 1, 2]
    assert metadata.copy() == metadata and metadata.copy().type("np") == "int8"


def test_a_new_value_keeps_the_type():
    metadata = gguf.Metadata()
    metadata.set("k", 1, "uint8")
    metadata.set("a", [1], "array[uint8]")
    metadata["k"], metadata["a"] = 255, [1, 2]
    assert (metadata.type("k"), metadata.type("a")) == ("uint8", "array[uint8]")
    with pytest.raises(ValueError, match="256 is out of range for uint8"):
        metadata["k"] = 256
    with pytest.raises(TypeError, match="type uint8 cannot be made of 'x'"):
        metadata["k"] = "x"
    assert metadata["k"] == 255
    metadata["k"] = np.int64(-1)
    assert metadata.type("k") == "int64"
    del metadata["k"]
    metadata["k"] = "x"
    assert metadata.type("k") == "string" and list(metadata) == ["a", "k"]


@pytest.mark.parametrize(
    ("value", "type", "error", "words"),
    [
        (None, None, TypeError, "cannot hold None"),
        ({"a": 1}, None, TypeError, "a dict"),
        ([], None, ValueError, "an empty list has no type"),
        ([1, "x"], None, TypeError, "no one type"),
        ([True, 1], None, TypeError, "no one type"),
        (np.zeros((2, 2)), None, TypeError, "2-D float64"),
        (np.zeros(2, complex), None, TypeError, "no arrays of complex128"),
        (1, "uint65", ValueError, "unknown type 'uint65'"),
        (1, "array", ValueError, "unknown type 'array'"),
        ([1], "array[uint65]", ValueError, "unknown type 'uint65' of elements"),
        (1, "bool", TypeError, "type bool cannot be made of 1"),
        (True, "uint8", TypeError, "type uint8 cannot be made of True"),
        (1.0, "uint8", TypeError, "type uint8 cannot be made of 1.0"),
        (-1, "uint8", ValueError, "-1 is out of range"),
        (np.array([0, 256]), "array[uint8]", ValueError, "256 is out of range"),
        (np.array([0.5]), "array[uint8]", TypeError, "array of uint8 cannot be made of"),
        (1e39, "float32", ValueError, "out of range for float32"),
        (10**400, "float64", ValueError, "out of range for float64"),
        (np.array([1e39]), "array[float32]", ValueError, "out of range for float32"),
        ("\ud800", None, ValueError, "cannot be written as UTF-8"),
        (2**64, None, ValueError, "out of range"),
    ],
)
def test_values_that_have_no_place(value, type, error, words):
    metadata = gguf.Metadata({"k": 1})
    with pytest.raises(error, match=words):
        metadata.set("k", value, type)
    assert metadata["k"] == 1


@pytest.mark.parametrize(("key", "error"), [(1, TypeError), ("", ValueError), ("\udcff", ValueError)])
def test_keys_that_have_no_place(key, error):
    with pytest.raises(error):
        gguf.Metadata({key: 1})


def test_infinity_and_nan_are_values():
    metadata = gguf.Metadata({"i": float("inf"), "a": np.array([np.inf, np.nan])})
    assert metadata["i"] == float("inf") and np.isnan(metadata["a"][1])


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


# ---- the package gguf -----------------------------------------------------------------------------


def test_types_are_those_of_the_package(peer):
    by_number = {type.id: type for type in TYPES.values()}
    for number, sizes in peer.GGML_QUANT_SIZES.items():
        known = by_number[number]
        assert known.name.upper() == number.name.upper()
        if known.name != "q8_1":  # which has two 32-bit floats there, as long ago; 16-bit ones in ggml
            assert (known.block, known.nbytes) == sizes
    for value in peer.GGUFValueType:
        assert value == VALUE_IDS[value.name.lower()]


@pytest.mark.parametrize("alignment", [None, 8, 128])
def test_the_package_reads_what_is_written(peer, path, alignment):
    rng = np.random.default_rng(1)
    metadata = gguf.Metadata()
    for key, (type, value) in METADATA.items():
        metadata.set(key, value, type)
    if alignment:
        metadata["general.alignment"] = alignment
    saved = {name: rng.integers(-100, 100, (3, 5)).astype(dtype) for name, dtype in DTYPES.items()}
    gguf.save(path, saved, metadata)
    reader = peer.GGUFReader(path)
    assert {f.name: f.contents() for f in reader.fields.values() if f.name[:5] != "GGUF."} == {
        key: list(value) if isinstance(value, gguf.Array) else value for key, value in metadata.items()
    }
    assert [tensor.name for tensor in reader.tensors] == list(saved)
    for tensor in reader.tensors:
        assert np.array_equal(tensor.data.reshape(3, 5), saved[tensor.name])


@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
def test_what_the_package_writes_is_read(peer, path, endian):
    rng = np.random.default_rng(2)
    endianess = peer.GGUFEndian[endian]
    writer = peer.GGUFWriter(path, "llama", endianess=endianess)
    writer.add_array("tokens", ["a", "é", ""])
    writer.add_array("scores", [0.5, -1.0])
    writer.add_uint64("large", 2**63)
    writer.add_custom_alignment(16)
    arrays = {name: rng.integers(-9, 9, (4, 3, 2)).astype(dtype) for name, dtype in DTYPES.items()}
    for name, x in arrays.items():
        writer.add_tensor(name, x.copy())
    packed = rng.integers(0, 255, (2, 3, 34), np.uint8)
    writer.add_tensor("q", packed, raw_dtype=peer.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = gguf.open(path)
    assert file.byteorder == endian.lower() and file.alignment == 16
    assert file.metadata["tokens"] == ["a", "é", ""] and file.metadata["scores"] == [0.5, -1.0]
    assert file.metadata["large"] == 2**63 and file.metadata.type("large") == "uint64"
    assert all(np.array_equal(file[name], x) for name, x in arrays.items())
    assert file.tensors["q"].type == "q8_0" and file.tensors["q"].shape == (2, 3, 32)
    assert np.array_equal(file.raw("q"), packed)
    if endian == "LITTLE":
        assert copied(path, path.with_name("copy")) == path.read_bytes()


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

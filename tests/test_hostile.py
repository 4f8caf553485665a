"""Files that are not what they should be: a FormatError with an offset, and nothing worse."""

import io
import json
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyqbits as qb

SUFFIXES = ("npz", "safetensors")
X = np.random.default_rng(2).standard_normal((5, 40)).astype(np.float32)


def safetensors(entries, metadata=None, data=b""):
    """A file with a header made of these fields."""
    fields = {} if metadata is None else {"__metadata__": {"pyqbits": metadata}}
    text = json.dumps({**fields, **entries}).encode()
    return len(text).to_bytes(8, "little") + text + data


GOOD = {
    "w": {"dtype": "U8", "shape": [2, 16], "data_offsets": [0, 32]},
    "w.scales": {"dtype": "F16", "shape": [2, 1], "data_offsets": [32, 36]},
}
SIZE = 36


def described(**change):
    tensor = {"format": "int4_g32", "shape": [2, 32], "axis": 1, **change}
    return json.dumps({"version": 1, "tensors": {"w": tensor}})


def without(name):
    return {k: v for k, v in GOOD.items() if k != name}


HOSTILE = {
    "metadata is no JSON": (GOOD, "{", "not JSON"),
    "metadata nests": (GOOD, "[" * 100_000, "not JSON"),
    "metadata is a list": (GOOD, "[]", "has no version"),
    "no version": (GOOD, "{}", "has no version"),
    "version is text": (GOOD, '{"version": "1"}', "has no version"),
    "version is true": (GOOD, '{"version": true}', "has no version"),
    "version of the future": (GOOD, '{"version": 2, "tensors": {}}', "version 2 is not known"),
    "no tensors": (GOOD, '{"version": 1}', "names no tensors"),
    "tensors are a list": (GOOD, '{"version": 1, "tensors": []}', "names no tensors"),
    "a tensor is a number": (GOOD, '{"version": 1, "tensors": {"w": 1}}', "is not an object"),
    "unknown format": (GOOD, described(format="q9_9"), "unknown format 'q9_9'"),
    "format is null": (GOOD, described(format=None), "must be a Format or its name"),
    "shape is text": (GOOD, described(shape="2"), "bad shape"),
    "shape is negative": (GOOD, described(shape=[-2, -32]), "bad shape"),
    "shape of floats": (GOOD, described(shape=[2.0, 32.0]), "bad shape"),
    "shape too large": (GOOD, described(shape=[2**40, 2**40]), "out of range"),
    "shape too long": (GOOD, described(shape=[1] * 40), "out of range"),
    "shape empty": (GOOD, described(shape=[]), "out of range"),
    "axis too large": (GOOD, described(axis=2), "bad axis 2"),
    "axis negative": (GOOD, described(axis=-1), "bad axis -1"),
    "axis missing": (GOOD, described(axis=None), "bad axis None"),
    "codes missing": (without("w"), described(), "'w', which the metadata speaks of, is not in the file"),
    "scales missing": (without("w.scales"), described(), "'w.scales', which the metadata"),
    "mins missing": (GOOD, described(format="uint4_g32"), "'w.mins', which the metadata"),
    "another shape": (GOOD, described(shape=[2, 34]), r"it must be U8 of shape \(2, 17\)"),
    "another axis": (GOOD, described(axis=0), r"it must be U8 of shape \(32, 1\)"),
    "another group": (GOOD, described(format="int4_g16"), r"it must be F16 of shape \(2, 2\)"),
    "another scale": (GOOD, described(format="int4_g32_bf16"), "it must be BF16"),
    "codes are signed": (
        {**GOOD, "w": {**GOOD["w"], "dtype": "I8"}}, described(), r"'w' is I8 of shape \(2, 16\); it must"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_metadata(tmp_path, case):
    entries, metadata, words = HOSTILE[case]
    end = max((e["data_offsets"][1] for e in entries.values()), default=0)
    start = min((e["data_offsets"][0] for e in entries.values()), default=0)
    moved = {n: {**e, "data_offsets": [o - start for o in e["data_offsets"]]} for n, e in entries.items()}
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensors(moved, metadata, bytes(end - start)))
    with pytest.raises(qb.FormatError, match=words) as error:
        qb.open(path)
    assert isinstance(error.value.offset, int)


def test_the_good_file_is_good(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensors(GOOD, described(), bytes(SIZE)))
    assert qb.open(path)["w"].dequantize().tolist() == [[-0.0] * 32] * 2


def member(data, name="a.npy"):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, data)
    return file.getvalue()


def npy(header, data=b"", version=b"\1\0"):
    text = header.encode().ljust(118) if isinstance(header, str) else header
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data


HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}"
TEXT = "{'descr': '|S9', 'fortran_order': False, 'shape': ()}"

HOSTILE_NPZ = {
    "two bytes": b"PK",
    "an end without a beginning": b"PK\5\6" + bytes(8) + b"\1" + bytes(9),
    "no array": member(b"hello"),
    "nothing": member(b""),
    "magic alone": member(b"\x93NUMPY\1\0"),
    "version of the future": member(npy(HEADER, bytes(24), b"\x09\0")),
    "cut short": member(npy(HEADER, bytes(23))),
    "too long": member(npy(HEADER, bytes(25))),
    "negative shape": member(npy(HEADER.replace("(2, 3)", "(-2, -3)"), bytes(24))),
    "huge shape": member(npy(HEADER.replace("(2, 3)", f"({2**62}, {2**62})"), bytes(24))),
    "huge empty shape": member(npy(HEADER.replace("(2, 3)", f"({2**62}, 0)"))),
    "shape that wraps": member(npy(HEADER.replace("(2, 3)", f"({2**62}, 4)"))),
    "long shape": member(npy(HEADER.replace("(2, 3)", "(" + "1, " * 40 + ")"), bytes(4))),
    "objects": member(npy(HEADER.replace("<f4", "|O"), bytes(48))),
    "a dtype of no size": member(npy(HEADER.replace("<f4", "|V0"))),
    "an unknown dtype": member(npy(HEADER.replace("<f4", "<q9"), bytes(24))),
    "code for a header": member(npy("__import__('os').system('false')", bytes(24))),
    "a header that nests": member(npy("(" * 5000, bytes(24))),
    "a header that is no text": member(npy(b"\xff" * 118, bytes(24))),
    "header length beyond the file": member(b"\x93NUMPY\1\0\xff\xff{}"),
    "metadata is no JSON": member(npy(TEXT.replace("S9", "S1"), b"{"), "pyqbits.npy"),
    "metadata without tensors": member(npy(TEXT.replace("S9", "S13"), b'{"version":1}'), "pyqbits.npy"),
    "metadata of the future": member(npy(TEXT.replace("S9", "S13"), b'{"version":9}'), "pyqbits.npy"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE_NPZ)
def test_hostile_npz(tmp_path, case):
    path = tmp_path / "m.npz"
    path.write_bytes(HOSTILE_NPZ[case])
    with pytest.raises(qb.FormatError) as error:
        qb.open(path)
    assert isinstance(error.value.offset, int)


def test_npz_with_a_member_twice(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        for _ in range(2):
            archive.writestr("a.npy", npy(HEADER, bytes(24)))
    (tmp_path / "m.npz").write_bytes(file.getvalue())
    with pytest.raises(qb.FormatError, match="two members are named 'a'"):
        qb.open(tmp_path / "m.npz")


@pytest.mark.parametrize("content", [b"", b"x", b"1234567", bytes(8), bytes(200), b"\xff" * 200, b"{}"])
def test_files_of_something_else(tmp_path, content):
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(qb.FormatError) as error:
        qb.open(tmp_path / "m")
    assert isinstance(error.value.offset, int)


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    for suffix in SUFFIXES:
        qb.save(folder / f"m.{suffix}", {"w": qb.quantize(X, "uint3_g8"), "b": np.arange(5)})
    return {suffix: (folder / f"m.{suffix}").read_bytes() for suffix in SUFFIXES}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_truncation_is_noticed(tmp_path, wholes, suffix):
    whole, path = wholes[suffix], tmp_path / "m"
    for length in {*range(0, len(whole), 7), *range(100), *range(len(whole) - 100, len(whole))}:
        path.write_bytes(whole[:length])
        with pytest.raises(qb.FormatError):
            qb.open(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(data=st.data())
def test_damaged_files_never_do_worse_than_refuse(tmp_path_factory, wholes, suffix, data):
    whole = bytearray(wholes[suffix])
    spots = st.integers(0, len(whole) - 1)
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(spots)] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"damaged.{suffix}"
    path.write_bytes(whole)
    try:
        opened = qb.open(path)
    except qb.FormatError as error:
        assert isinstance(error.offset, int)
        return
    for name in opened:
        try:
            value = opened[name]
        except TypeError as error:  # a dtype that NumPy has not
            assert "dtype" in str(error)
            continue
        if isinstance(value, qb.QArray):
            assert value.dequantize().shape == value.shape
        else:
            value.tobytes()

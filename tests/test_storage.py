"""save and open: what comes back, where it lies in the file, how long it stays mapped."""

import gc
import json
import mmap
import os
import subprocess
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest
from cases import floats_equal

import pyqbits as qb
from pyqbits import _npz, storage

SUFFIXES = ("npz", "safetensors")
FORMATS = (
    "int4_g32", "uint3_g8", "uint5_g16_z", "int1_row", "int8_tensor", "uint2_tensor_z", "uint6_g3_bf16",
)  # fmt: skip
X = np.random.default_rng(2).standard_normal((3, 5, 40)).astype(np.float32)


def arrays():
    """Plain arrays of every dtype and layout that both containers hold."""
    found = {t: np.arange(7).astype(t) for t in "? u1 i1 u2 i2 u4 i4 u8 i8 f2 f4 f8 c8 >f4 >i2".split()}
    found["fortran"] = np.asfortranarray(X[0])
    found["strided"] = X[::2, ::-1, 1::3]
    found["number"] = np.float64(2.5)
    found["empty"] = np.zeros((3, 0, 2), np.int16)
    found["ü/π [x]"] = np.ones(3)
    return found


def model():
    found = dict(arrays())
    for i, format in enumerate(FORMATS):
        found[f"layer.{format}"] = qb.quantize(X, format, axis=i % 3)
    found["none"] = qb.quantize(np.zeros((0, 32)), "int4_g32")
    return found


def same(a, b):
    if isinstance(a, qb.QArray):
        return (a.format, a.shape, a.axis) == (b.format, b.shape, b.axis) and a.tobytes() == b.tobytes()
    return a.shape == b.shape and a.dtype == b.dtype.newbyteorder("<") and np.array_equal(a, b)


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path):
    return tmp_path / f"model.{request.param}"


def test_what_is_saved_comes_back(path):
    saved = model()
    qb.save(path, saved)
    opened = qb.open(path)
    assert set(opened) == set(saved) and len(opened) == len(saved)
    for name, value in saved.items():
        got = opened[name]
        if path.suffix == ".npz" and isinstance(value, np.ndarray):
            assert got.dtype == value.dtype and np.array_equal(got, value)
        else:
            assert same(got, value), name
        if isinstance(got, np.ndarray) and got.size:
            assert not got.flags.writeable
    assert "layer.int4_g32" in opened and "nothing" not in opened and "layer.int4_g32.scales" not in opened
    with pytest.raises(KeyError):
        opened["nothing"]
    assert path.name in repr(opened) and "8 quantized" in repr(opened)
    assert os.listdir(path.parent) == [path.name]


def test_a_file_of_nothing(path):
    qb.save(path, {})
    assert len(qb.open(path)) == 0
    np.savez(path.with_suffix(".npz"))
    assert list(qb.open(path.with_suffix(".npz"))) == []


def test_lists_and_numbers_are_saved_as_arrays(path):
    qb.save(path, {"list": [1.0, 2.0], "number": 3})
    opened = qb.open(path)
    assert opened["list"].tolist() == [1.0, 2.0] and opened["number"] == 3


def test_data_is_aligned(path):
    qb.save(path, model())
    start = np.frombuffer(np.memmap(path, np.uint8, "r"), np.uint8).ctypes.data
    assert start % mmap.PAGESIZE == 0
    opened = qb.open(path)
    for value in opened.values():
        for array in value.buffers.values() if isinstance(value, qb.QArray) else [value]:
            assert array.ctypes.data % 64 == 0 or not array.size
            assert not array.flags.owndata


@pytest.mark.parametrize("axis", [0, 1])
def test_safetensors_of_the_documentation(tmp_path, axis):
    """The layout on disk, read by another package and taken apart by hand."""
    from safetensors.numpy import safe_open

    x = X[0] if axis else np.ascontiguousarray(X[0].T)
    for format in ("int3_g16", "uint5_g16_z", "uint4_g32_f32", "int1_g8", "int8_tensor"):
        q = qb.quantize(x, format, axis=axis)
        qb.save(tmp_path / "m.safetensors", {"w": q, "b": np.arange(3)})
        with safe_open(tmp_path / "m.safetensors", "np") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}
            metadata = json.loads(file.metadata()["pyqbits"])
        described = {"format": format, "shape": list(x.shape), "axis": axis}
        assert metadata == {"version": 1, "tensors": {"w": described}}
        assert stored["b"].tolist() == [0, 1, 2]
        bits = np.unpackbits(stored["w"], axis=1, bitorder="little")[:, : 40 * q.format.bits]
        codes = (bits.reshape(5, 40, -1) << np.arange(q.format.bits)).sum(axis=-1)
        codes = codes if axis else codes.T
        assert np.array_equal(codes, q.codes().astype(int) % 2**q.format.bits)
        assert stored["w.scales"].shape == ((1,) if q.format.per_tensor else (5, q.format.groups(40)))
        scales = q.scales if axis else q.scales.T
        assert np.array_equal(stored["w.scales"].astype(np.float32), scales.reshape(stored["w.scales"].shape))
        assert ("w.mins" in stored) == (q.format.zero == "min")
        assert ("w.zeros" in stored) == (q.format.zero == "point")


def test_npz_is_read_by_numpy_alone(tmp_path):
    saved = model()
    qb.save(tmp_path / "m.npz", saved)
    with np.load(tmp_path / "m.npz") as file:
        metadata = json.loads(file["pyqbits"].item())
        assert metadata["version"] == 1 and metadata["tensors"]["none"]["shape"] == [0, 32]
        for name, value in saved.items():
            if isinstance(value, qb.QArray):
                parts = {"": "codes", ".scales": "scales", ".mins": "mins", ".zeros": "zeros"}
                for suffix, part in parts.items():
                    if part in value.buffers:
                        assert np.array_equal(file[name + suffix], value.buffers[part])
            else:
                assert np.array_equal(file[name], value)
    with zipfile.ZipFile(tmp_path / "m.npz") as archive:
        assert archive.testzip() is None


def test_npz_of_numpy_is_mapped(tmp_path):
    saved = arrays()
    np.savez(tmp_path / "m.npz", **saved)
    opened = qb.open(tmp_path / "m.npz")
    assert set(opened) == set(saved)
    assert all(np.array_equal(opened[name], value) for name, value in saved.items())
    np.savez_compressed(tmp_path / "m.npz", a=np.zeros(3))
    with pytest.raises(qb.FormatError, match="only stored members"):
        qb.open(tmp_path / "m.npz")


def test_large_members_are_aligned_too(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 50_000)
    saved = {"a": np.arange(3), "large": np.arange(20_000), "b": np.arange(5), "edge": np.zeros(5_000)}
    qb.save(tmp_path / "m.npz", saved)
    for entry in _npz.read_header((tmp_path / "m.npz").read_bytes()).values():
        assert entry.start % 64 == 0
    opened = qb.open(tmp_path / "m.npz")
    assert all(np.array_equal(opened[name], value) for name, value in saved.items())


def test_types_of_ml_dtypes(tmp_path):
    saved = {
        name: np.arange(5).astype(getattr(ml_dtypes, name))
        for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu")
    }
    qb.save(tmp_path / "m.safetensors", saved)
    opened = qb.open(tmp_path / "m.safetensors")
    assert all(opened[n].dtype == v.dtype and opened[n].tobytes() == v.tobytes() for n, v in saved.items())
    with pytest.raises(TypeError, match="'bfloat16' has dtype bfloat16, which"):
        qb.save(tmp_path / "m.npz", saved)


def test_types_of_ml_dtypes_without_it(tmp_path, monkeypatch):
    qb.save(tmp_path / "m.safetensors", {"w": np.ones(3, ml_dtypes.bfloat16), "b": np.ones(3)})
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    opened = qb.open(tmp_path / "m.safetensors")
    assert opened["b"].tolist() == [1, 1, 1]
    with pytest.raises(TypeError, match="install ml_dtypes"):
        opened["w"]


def test_misaligned_files_are_read(isa, tmp_path):
    """Other writers align to 8 bytes at best; scales at an odd address are copied."""
    q = qb.quantize(X[0], "uint5_g16")
    buffers = storage.tensor_buffers(q)
    for lead in range(1, 9):
        entries, data = {"odd": {"dtype": "U8", "shape": [lead], "data_offsets": [0, lead]}}, bytes(lead)
        for spec in storage.tensor_specs("w", q.format, q.shape, q.axis):
            place = [len(data), len(data) + spec.nbytes]
            entries[spec.name] = {"dtype": spec.dtype, "shape": spec.shape, "data_offsets": place}
            data += buffers[spec.name[1:]].tobytes()
        entries["x"] = {"dtype": "F32", "shape": [5, 40], "data_offsets": [len(data), len(data) + 800]}
        path = tmp_path / "m.safetensors"
        metadata = storage.metadata_json({"w": (q.format, q.shape, q.axis)})
        text = json.dumps({"__metadata__": {"pyqbits": metadata}, **entries}).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data + X[1].tobytes())
        opened = qb.open(path)
        assert same(opened["w"], q) and np.array_equal(opened["x"] @ opened["w"].T, X[1] @ q.T)


# ---- the life of a mapping --------------------------------------------------------------------------


def test_views_outlive_the_archive(path):
    q = qb.quantize(X, "uint5_g16_z")
    qb.save(path, {"w": q, "b": X})
    with qb.open(path) as opened:
        w, b, row = opened["w"], opened["b"], opened["w"][1]
    with pytest.raises(ValueError, match="is closed"):
        opened["w"]
    del opened
    path.unlink()
    gc.collect()
    assert same(w, q) and np.array_equal(b, X)
    del w, b
    gc.collect()
    assert same(row, q[1])


def test_a_mapping_is_let_go_with_the_last_view(path):
    qb.save(path, {"w": qb.quantize(X, "int4_g32")})
    code = f"""if True:
        import gc, pyqbits
        def mapped(): return {path.name!r} in open("/proc/self/maps").read()
        archive = pyqbits.open({str(path)!r})
        w = archive["w"]; part = w[1:]; own = w.copy()
        archive.close(); del w; gc.collect(); print(mapped())
        del part; gc.collect(); print(mapped(), own.shape)"""
    if not os.path.exists("/proc/self/maps"):
        pytest.skip("no list of mappings here")
    root = os.path.dirname(os.path.dirname(qb.__file__))
    output = subprocess.check_output([sys.executable, "-c", code], cwd=root, text=True)
    assert output.split("\n")[:2] == ["True", "False (3, 5, 40)"]


def test_opened_arrays_multiply_where_they_lie(isa, path):
    q = qb.quantize(X[0], "uint4_g32")
    qb.save(path, {"w": q})
    w = qb.open(path)["w"]
    assert np.array_equal(X[1] @ w.T, X[1] @ q.T) and floats_equal(w.dequantize(), q.dequantize())
    with pytest.raises(ValueError, match="read-only"):
        qb.quantize(X[0], "uint4_g32", out=w)


def test_a_new_file_takes_the_place_of_a_mapped_one(path):
    qb.save(path, {"w": X})
    old = qb.open(path)["w"]
    qb.save(path, {"w": -X})
    assert np.array_equal(old, X) and np.array_equal(qb.open(path)["w"], -X)


# ---- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mapping", "exception", "words"),
    [
        ({1: X}, TypeError, "names must be strings"),
        ({"w": qb.quantize(X, "int4_g32"), "w.scales": X}, ValueError, "under the name 'w.scales'"),
        ({"w": np.array([None])}, TypeError, "has dtype object"),
        ({"w": np.array(["a"])}, TypeError, ""),
        ({"w": np.zeros(3, "M8[s]")}, TypeError, ""),
    ],
)
def test_what_cannot_be_saved(path, mapping, exception, words):
    if path.suffix == ".npz" and words == "":
        qb.save(path, mapping)  # NumPy's own container holds all its dtypes
        assert np.array_equal(qb.open(path)["w"], mapping["w"])
        return
    path.write_bytes(b"old")
    with pytest.raises(exception, match=words or "which safetensors does not hold"):
        qb.save(path, mapping)
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("name", ["", "a\0b", "a\\b", "pyqbits", "x" * 70_000])
def test_names_that_npz_cannot_hold(tmp_path, name):
    with pytest.raises(ValueError, match="name"):
        qb.save(tmp_path / "m.npz", {name: X})
    assert os.listdir(tmp_path) == []


def test_names_that_safetensors_cannot_hold(tmp_path):
    for name in ("__metadata__", "pyqbits.pad.0"):
        with pytest.raises(ValueError, match="name"):
            qb.save(tmp_path / "m.safetensors", {name: X})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["m.npy", "m", "m.safetensors.gz"])
def test_other_suffixes(tmp_path, name):
    with pytest.raises(ValueError, match=r"must end in \.npz, \.safetensors or \.gguf"):
        qb.save(tmp_path / name, {})


def test_a_folder_that_is_not_there(path):
    with pytest.raises(FileNotFoundError):
        qb.save(path.parent / "none" / path.name, {"w": X})
    with pytest.raises(FileNotFoundError):
        qb.open(path)


def test_nothing_is_left_of_a_write_that_fails(path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        qb.save(path, {"w": qb.quantize(X, "int4_g32"), "b": X})
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == [path.name]

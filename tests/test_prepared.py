"""Prepared matrices: the same bits as the QArray they are made of, on every tier and number of threads."""

import errno
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyqbits as qb
from pyqbits import prepared

ACTIVATIONS = ("int8", "int16", "int24")
GROUPS = (1, 3, 8, 20, 32, 64, 100, 128, 256, 300, "row", "tensor")


def matrix(rows, cols, format, seed=0):
    rng = np.random.default_rng(seed)
    return qb.quantize(rng.standard_normal((rows, cols), np.float32), format)


@pytest.mark.parametrize("zero", [None, "min", "point"])
@pytest.mark.parametrize("group", GROUPS)
def test_same_bits_as_packed(isa, group, zero):
    rng = np.random.default_rng(1)
    for bits in range(1, 9):
        scale = ("float16", "bfloat16", "float32")[bits % 3]
        q = matrix(37, 330, qb.affine(bits, group, zero=zero, scale=scale))
        p = q.prepare()
        assert p.unprepare().tobytes() == q.tobytes()
        x = rng.standard_normal((330, 5), np.float32)
        activations = ACTIVATIONS[bits % 3]
        want = qb.matmul(q, x, activations=activations)
        assert qb.matmul(p, x, activations=activations).tobytes() == want.tobytes()
        turned = qb.matmul(x.T, p.T, activations=activations)
        assert turned.tobytes() == np.ascontiguousarray(want.T).tobytes()


@pytest.mark.parametrize("format", ["int4_g32", "uint3_g25_z_bf16", "int8_g20_f32", "uint5_g32"])
def test_any_bytes_come_back(isa, format):
    """Scales that are not numbers keep their payload."""
    q, rng = matrix(35, 200, format), np.random.default_rng(3)
    for part in q.part_arrays():
        part.view(np.uint8)[...] = rng.integers(0, 256, part.view(np.uint8).shape, np.uint8)
    assert q.prepare().unprepare().tobytes() == q.tobytes()


def _products(q, x, activations):
    def product(m, columns):
        return qb.matmul(m, columns, activations=activations)

    found = set()
    for m in (q, q.prepare()):
        found.add(product(m, x).tobytes())
        found.add(np.stack([product(m, column) for column in x.T], axis=1).tobytes())
    return found


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 80), st.integers(1, 700), st.integers(1, 9), st.integers(1, 8),
    st.sampled_from(GROUPS), st.sampled_from([None, "min", "point"]), st.sampled_from(ACTIVATIONS),
)  # fmt: skip
def test_any_tier_threads_and_batch(rows, cols, columns, bits, group, zero, activations):
    q = matrix(rows, cols, qb.affine(bits, group, zero=zero), rows)
    x = np.random.default_rng(cols).standard_normal((cols, columns), np.float32)
    seen = set()
    for isa in qb.available_isas():
        for n in (1, 2, 4):
            with qb.use_isa(isa), qb.threads(n):
                seen |= _products(q, x, activations)
    assert len(seen) == 1


@pytest.mark.parametrize("zero", [None, "min", "point"])
@pytest.mark.parametrize("group", [16, 32, 96, 256, 1024, "row"])
@pytest.mark.parametrize("cols", [9001, 9024, 100003])
def test_few_columns_of_long_rows(isa, cols, group, zero):
    """Rows of many segments, some longer than what is split at a time, with ends that fill no octet."""
    rng = np.random.default_rng(4)
    for bits, scale in ((1, "float16"), (3, "float16"), (4, "bfloat16"), (8, "float16")):
        q = matrix(17, cols, qb.affine(bits, group, zero=zero, scale=scale))
        p = q.prepare()
        for n, activations in ((1, "int24"), (1, "int8"), (3, "int8")):
            x = rng.standard_normal((n, cols), np.float32)
            want = qb.matmul(x, q.T, activations=activations)
            assert qb.matmul(x, p.T, activations=activations).tobytes() == want.tobytes()


@pytest.mark.parametrize(
    "name",
    ["int1_row", "int2_g32", "int3_g32", "uint4_g32", "int6_g128", "int8_g32", "q4_K", "q2_K", "iq4_nl"],
)
def test_many_columns_of_whole_octets(isa, name):
    """More columns than a chunk has, which some tiers leave in code planes, and more than one stretch."""
    q = matrix(20, 4608, name)
    p = q.prepare()
    x = np.random.default_rng(6).standard_normal((70, 4608), np.float32)
    for activations in ACTIVATIONS:
        want = qb.matmul(x, q.T, activations=activations)
        for n, threads in ((13, 1), (70, 1), (70, 3)):
            with qb.threads(threads):
                assert qb.matmul(x[:n], p.T, activations=activations).tobytes() == want[:n].tobytes()


def test_large_matrices_start_on_a_page():
    q = matrix(2064, 4096, "int4_g32")
    p = q.prepare()
    assert p.nbytes > prepared.HUGE
    (panels,) = p.part_arrays()
    assert panels.__array_interface__["data"][0] % prepared.HUGE_PAGE == 0
    assert p.unprepare().tobytes() == q.tobytes()


@pytest.mark.skipif(not hasattr(prepared.mmap, "MADV_HUGEPAGE"), reason="NumPy finds the memory")
def test_large_matrices_without_room_or_huge_pages(monkeypatch):
    class Memory(prepared.mmap.mmap):
        def madvise(self, *_):
            raise OSError("no huge pages here")

    q = matrix(2064, 4096, "int4_g32")
    monkeypatch.setattr(prepared.mmap, "mmap", Memory)
    assert q.prepare().unprepare().tobytes() == q.tobytes()

    def full(*_):
        raise OSError(errno.ENOMEM, "no memory")

    monkeypatch.setattr(prepared.mmap, "mmap", full)
    with pytest.raises(MemoryError, match="no room"):
        q.prepare()


def test_large_work_is_the_same_on_any_number_of_threads(isa):
    """Sizes at which every operation really is cut over the threads."""
    rng = np.random.default_rng(2)
    w = rng.standard_normal((700, 3001), np.float32)
    codes = rng.integers(0, 8, (50, 40001), dtype=np.uint8)
    seen = set()
    for n in (1, 2, 3, 4):
        with qb.threads(n):
            packed = qb.pack(codes, 3)
            q = qb.quantize(w, "uint4_g32_z", search="mse" if isa != "scalar" else None)
            long = qb.quantize(w, "int5_row")
            p = q.prepare()
            parts = packed, qb.unpack(packed, 3, 40001), q, long, q.dequantize(), p @ w[:9].T
            seen.add(tuple(part.tobytes() for part in parts))
    assert len(seen) == 1


@pytest.mark.parametrize("n", [1, 3])
def test_first_error_on_any_number_of_threads(n):
    with qb.threads(n):
        x = np.ones((600, 4001), np.float32)
        x[77, 4000] = x[500, 3] = np.nan
        with pytest.raises(ValueError, match=r"\(77, 4000\)"):
            qb.quantize(x, "int4_g32")
        codes = np.zeros((60, 40001), np.uint8)
        codes[7, 40000] = codes[50, 1] = 9
        with pytest.raises(ValueError, match=r"\(7, 40000\)"):
            qb.pack(codes, 3)


def test_shapes_and_views():
    q = matrix(40, 96, "int4_g32")
    p, x = q.prepare(), np.ones((3, 96), np.float32)
    assert (p.shape, p.T.shape, p.axis, p.T.axis, p.ndim) == ((40, 96), (96, 40), 1, 0, 2)
    assert (p @ x[0]).shape == (40,) and (x @ p.T).shape == (3, 40) and (x[0] @ p.T).shape == (40,)
    out = np.empty((3, 40), np.float32)
    assert qb.matmul(x, p.T, out=out) is out
    assert (q.T.prepare().T @ x.T).tobytes() == (q @ x.T).tobytes()
    assert (np.ones((2, 5, 96), np.float32) @ p.T).shape == (2, 5, 40)
    with pytest.raises(ValueError, match="grouped along axis 1"):
        x.T @ p
    with pytest.raises(ValueError, match="dimensions"):
        matrix(40, 96, "int4_g32")[0].prepare()


def test_size_stays_the_formats():
    for bits in range(1, 9):
        for zero in (None, "min", "point"):
            q = matrix(160, 4096, qb.affine(bits, 32, zero=zero))
            assert q.nbytes <= q.prepare().nbytes <= 1.05 * q.nbytes
    assert "+0.0 %" in repr(matrix(160, 4096, "int4_g32").prepare())


@pytest.mark.parametrize("format", ["int4_g32", "uint3_g20", "uint5_row_z_bf16", "int1_tensor"])
def test_take(isa, format):
    q = matrix(40, 100, format)
    for m, axis in ((q, 0), (q.T, 1)):
        p = m.prepare()
        for rows in ([3, 39, 3, -1], 5, [[0], [17]], []):
            assert p.take(rows).tobytes() == m.take(rows, axis=axis).tobytes()
    with pytest.raises(IndexError):
        q.prepare().take([40])
    with pytest.raises(ValueError, match="grouped"):
        q.prepare().take([0], axis=1)


def test_files_of_the_other_byte_order(tmp_path, monkeypatch):
    """Scales lie in the file as they do in memory, so no machine may take those of the other kind."""
    p = qb.quantize(np.ones((16, 64), np.float32), "int4_g32").prepare()
    here, there = tmp_path / "here", tmp_path / "there"
    other = {"little": "big", "big": "little"}[sys.byteorder]
    p.save(here)
    monkeypatch.setattr(prepared, "BYTE_ORDER", other)
    p.save(there)
    assert qb.PreparedMatrix.load(there).unprepare().tobytes() == p.unprepare().tobytes()
    with pytest.raises(qb.FormatError, match=f"byte order '{sys.byteorder}', this machine '{other}'"):
        qb.PreparedMatrix.load(here)
    monkeypatch.undo()
    assert qb.PreparedMatrix.load(here).unprepare().tobytes() == p.unprepare().tobytes()
    with pytest.raises(qb.FormatError, match=f"byte order '{other}', this machine '{sys.byteorder}'"):
        qb.PreparedMatrix.load(there)


def test_files(tmp_path):
    q = matrix(50, 130, "uint3_g20")
    p = q.prepare()
    p.T.save(tmp_path / "p.safetensors")
    loaded = qb.PreparedMatrix.load(tmp_path / "p.safetensors")
    assert loaded.shape == (130, 50) and loaded.T.unprepare().tobytes() == q.tobytes()
    x = np.ones((2, 130), np.float32)
    assert (x @ loaded).tobytes() == (x @ q.T).tobytes()
    whole = (tmp_path / "p.safetensors").read_bytes()
    changes = (
        (b'\\"version\\":1', b'\\"version\\":2'), (b"uint3_g20", b"uint4_g20"), (b"[130,50]", b"[130,99]"),
    )  # fmt: skip
    for damaged in (b"", whole[:100], whole[:-1], *(whole.replace(*change) for change in changes)):
        (tmp_path / "bad").write_bytes(damaged)
        with pytest.raises(qb.FormatError):
            qb.PreparedMatrix.load(tmp_path / "bad")


@pytest.mark.parametrize("format", ["uint3_g20", "int4_tensor", "int8_g32_bf16", "q4_K"])
def test_straight_to_a_file(tmp_path, monkeypatch, format):
    """In parts of several panels, of one, and all at once."""
    q = matrix(83, 256, format)
    for m in (q, q.T):
        m.prepare().save(tmp_path / "saved")
        for part in (1, 2 * m.prepare().nbytes // 6, prepared.PART):
            monkeypatch.setattr(prepared, "PART", part)
            p = m.prepare(tmp_path / "written")
            assert (tmp_path / "written").read_bytes() == (tmp_path / "saved").read_bytes()
            assert p.unprepare().tobytes() == m.tobytes() and repr(p) == repr(m.prepare())
    for rows, cols in ((0, 64), (5, 0)):
        empty = qb.quantize(np.zeros((rows, cols), np.float32), "int4_g32").prepare(tmp_path / "empty")
        assert empty.nbytes == 0 and empty.unprepare().shape == (rows, cols)


def test_a_file_appears_when_it_is_complete(tmp_path, monkeypatch):
    q = matrix(48, 256, "int4_g32")
    with pytest.raises(OSError, match="nowhere"):
        q.prepare(tmp_path / "nowhere" / "p")
    q.prepare(tmp_path / "p")
    before = (tmp_path / "p").read_bytes()
    monkeypatch.setattr(prepared, "PART", 1)
    seen = []

    def fail(status, what):
        seen.append(sorted(path.name for path in tmp_path.iterdir()))
        if len(seen) > 1:
            raise MemoryError

    monkeypatch.setattr(prepared, "check", fail)
    for name in ("p", "other"):
        seen.clear()
        with pytest.raises(MemoryError):
            q.prepare(tmp_path / name)
        assert len(seen[-1]) == 2  # the old file, and one with a name of its own
    assert [path.name for path in tmp_path.iterdir()] == ["p"] and (tmp_path / "p").read_bytes() == before


def test_empty_sizes():
    for rows, cols in ((0, 64), (5, 0), (0, 0)):
        p = qb.quantize(np.zeros((rows, cols), np.float32), "int4_g32").prepare()
        assert p.nbytes == 0 and p.unprepare().shape == (rows, cols)
        assert not (p @ np.zeros((cols, 2), np.float32)).any()


def test_threads_settings():
    before = qb.get_num_threads()
    with qb.threads(3):
        assert qb.get_num_threads() == 3
    assert qb.get_num_threads() == before
    for wrong in (0, -1, 257):
        with pytest.raises(ValueError, match="1 to 256"):
            qb.set_num_threads(wrong)
    with pytest.raises(TypeError):
        qb.set_num_threads("two")
    assert pickle.loads(pickle.dumps(matrix(3, 64, "int4_g32"))).prepare().shape == (3, 64)


@pytest.mark.parametrize("group", [3, 32, 100, 256, 300, "row"])
def test_two_quantized_matrices(isa, group):
    """The product of each pair of rows is their vecdot, to the bit, and the real product nearly."""
    for zero, other in ((None, "min"), ("point", None), ("min", "min")):
        a = matrix(19, 330, qb.affine(8, group, zero=zero))
        b = matrix(21, 330, qb.affine(4, group, zero=other), 1)
        product = qb.matmul(a, b.T)
        pairs = np.stack([qb.vecdot(a, b[i]) for i in range(21)], axis=1)
        assert product.tobytes() == pairs.tobytes() == (a @ b.T).tobytes()
        exact = a.dequantize().astype(np.float64) @ b.dequantize().astype(np.float64).T
        np.testing.assert_allclose(product, exact, rtol=1e-5, atol=1e-4)
    with pytest.raises(ValueError, match="boundaries"):
        a @ matrix(3, 330, qb.affine(4, 7)).T
    with pytest.raises(ValueError, match=r"as in a @ b\.T"):
        a @ b
    with pytest.raises(TypeError, match="prepared"):
        a.prepare() @ b.T


def test_experts(isa):
    rng = np.random.default_rng(4)
    experts = [matrix(24, 96, "int4_g32", i) for i in range(4)]
    x, offsets = rng.standard_normal((10, 96), np.float32), [0, 3, 3, 9, 10]
    want = np.concatenate([x[i:j] @ e.T for e, i, j in zip(experts, offsets, offsets[1:], strict=False)])
    for some in (experts, [e.prepare() for e in experts]):
        out = np.empty_like(want)
        assert qb.grouped_matmul(x, some, offsets, out=out) is out
        assert out.tobytes() == want.tobytes() == qb.grouped_matmul(x, some, offsets).tobytes()
    for wrong in ([0, 3, 3, 9], [0, 3, 2, 9, 10], [0, 3, 3, 9, 11], [1, 3, 3, 9, 10]):
        with pytest.raises(ValueError, match="offsets"):
            qb.grouped_matmul(x, experts, wrong)
    with pytest.raises(ValueError, match="one shape"):
        qb.grouped_matmul(x, [experts[0], matrix(25, 96, "int4_g32")], [0, 5, 10])

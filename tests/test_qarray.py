"""QArray: what it says of itself, its parts, its life; numbers are checked elsewhere."""

import copy
import gc
import weakref
from itertools import product

import ml_dtypes
import numpy as np
import pytest
from cases import floats_equal

import pyqbits as qb

FORMATS = (
    "int4_g32", "uint3_g8", "uint5_g16_z", "int1_row", "int8_tensor", "uint2_tensor_z", "uint6_g3_bf16",
    "int7_g64_f32",
)  # fmt: skip
X = np.random.default_rng(1).standard_normal((6, 5, 40)).astype(np.float32)


def quantized(format="uint5_g16_z", x=X, axis=-1):
    return qb.quantize(x, format, axis=axis)


def same(a, b):
    return (a.format, a.shape, a.axis) == (b.format, b.shape, b.axis) and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("format", FORMATS)
def test_what_it_says_of_itself(isa, format, axis):
    q = quantized(format, axis=axis)
    assert (q.shape, q.ndim, q.size, q.dtype) == (X.shape, 3, X.size, np.float32)
    assert q.axis == axis % 3 and q.format.name == format and len(q) == 6
    assert q.nbytes == sum(b.nbytes for b in q.buffers.values()) and q.bpw == 8 * q.nbytes / X.size
    lead = tuple(np.delete(X.shape, axis))
    n = X.shape[axis]
    assert q.buffers["codes"].shape == (*lead, qb.packed_size(n, q.format.bits))
    assert q.codes().shape == X.shape and q.codes().dtype == (np.int8 if format[0] == "i" else np.uint8)
    groups = list(X.shape)
    groups[axis] = q.format.groups(n)
    expected = (1, 1, 1) if q.format.per_tensor else tuple(groups)
    zero = q.format.zero
    for values, there in ((q.scales, True), (q.mins, zero == "min"), (q.zeros, zero == "point")):
        assert (values is not None) == there
        if there:
            assert values.shape == expected and values.dtype == np.float32 and not values.flags.writeable
    for word in (str(q.shape), format, f"{q.bpw:.4g} bpw", f"{q.nbytes} bytes"):
        assert word in repr(q)
    assert ("axis" in repr(q)) == (q.axis != 2)


@pytest.mark.parametrize("format", FORMATS)
def test_numbers_from_the_parts(isa, format):
    """value = d*(q - z) + m, written out from what the properties give."""
    q = quantized(format, X[0])
    step = min(q.format.step(40), 40)

    def spread(values):
        return np.broadcast_to(np.repeat(values, step, axis=-1)[..., :40], q.shape)

    codes = q.codes().astype(np.float32)
    if format.startswith("int1"):
        codes = 2 * codes - 1
    if q.zeros is not None:
        codes = codes - spread(q.zeros)
    value = spread(q.scales) * codes
    if q.mins is not None:
        value = value + spread(q.mins)
    assert np.array_equal(q.dequantize(), value)


def test_buffers_are_read_only():
    q = quantized()
    with pytest.raises(TypeError):
        q.buffers["codes"] = q.buffers["codes"]
    for buffer in q.buffers.values():
        with pytest.raises(ValueError, match="read-only"):
            buffer[...] = 0


def test_float_types_out(isa):
    q, moved = quantized(), quantized(axis=0)
    exact = q.dequantize()
    for dtype in (np.float16, ml_dtypes.bfloat16, np.float64):
        assert floats_equal(q.dequantize(dtype), exact.astype(dtype))
        assert floats_equal(moved.dequantize(dtype), moved.dequantize().astype(dtype))
        assert floats_equal(q.take([3], dtype=dtype), exact[[3]].astype(dtype))


def test_to_numpy():
    q = quantized()
    exact = q.dequantize()
    assert floats_equal(np.asarray(q), exact) and floats_equal(np.array(q), exact)
    assert np.asarray(q, np.float64).dtype == np.float64 and np.asarray(q, np.int32).dtype == np.int32
    assert np.asarray(q, dtype=">f4").dtype == np.dtype(">f4")
    assert q.__array__(np.float16, copy=True).dtype == np.float16
    with pytest.raises(ValueError, match="without a copy"):
        q.__array__(copy=False)
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        with pytest.raises(ValueError, match="without a copy"):
            np.array(q, copy=False)
    assert floats_equal(np.mean(q, axis=0), exact.mean(axis=0))
    for operation in (lambda: X + q, lambda: q + X, lambda: np.sin(q), lambda: -q):
        with pytest.raises(TypeError):
            operation()
    assert (q == q) is True and (q == quantized()) is False and hash(q) == hash(q)


# ---- parts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        2, -1, np.int64(3), slice(1, 4), slice(None), slice(2, 2), slice(5, 100), slice(-3, None), Ellipsis,
        None, (1, 2), (1, slice(2, 4)), (slice(0, 3), slice(None)), (Ellipsis, slice(None)), (2, Ellipsis),
        (None, 2), (slice(1, 2), slice(1, 3)), (1, slice(0, 5, 7)), (slice(None), slice(None), slice(0, 40)),
        (), (0, None, slice(1, 3), None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("format", ["uint5_g16_z", "int8_tensor"])
def test_views(isa, format, key):
    q = quantized(format)
    part = q[key]
    assert floats_equal(part.dequantize(), q.dequantize()[key])
    assert part.shape[part.axis] == 40
    if part.size:
        assert np.shares_memory(part.buffers["codes"], q.buffers["codes"])


@pytest.mark.parametrize(
    "key",
    [
        [0, 2], np.array([5, -1, 0, 0]), np.array([[0, 1], [2, 3]], np.uint8), np.arange(6) % 2 == 0,
        [True] * 6, np.array([], np.int64), [], (slice(None), [4, 1]),
        (Ellipsis, np.array([0, 3]), slice(None)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("format", ["uint5_g16_z", "int8_tensor"])
def test_copies(isa, format, key):
    q = quantized(format)
    part = q[key]
    plain = key if not isinstance(key, list) or key else np.array([], np.int64)
    assert floats_equal(part.dequantize(), q.dequantize()[plain])
    assert not np.shares_memory(part.buffers["codes"], q.buffers["codes"])


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (6, "index 6 is out of bounds for axis 0 of size 6"),
        (-7, "index -7 is out of bounds"),
        ((0, 5), "index 5 is out of bounds for axis 1 of size 5"),
        ([0, 9], "index 9 is out of bounds for axis 0"),
        ((0, 0, 0), "axis 2 is the grouped axis"),
        ((slice(None), slice(None), slice(0, 39)), "axis 2 is the grouped axis"),
        ((Ellipsis, 3), "axis 2 is the grouped axis"),
        ((Ellipsis, [3]), "axis 2 is the grouped axis"),
        (slice(None, None, 2), "slice of step 2"),
        (slice(None, None, -1), "slice of step -1"),
        ((slice(None), 1), "do not lie together"),
        ((slice(None), slice(1, 3)), "do not lie together"),
        ((0, 0, slice(None), 0), "4 indices for an array of 3 dimensions"),
        ((Ellipsis, Ellipsis), "only one"),
        (([0], [1]), "one array of indices at a time"),
        ((0, [1]), "one array of indices at a time"),
        ([True, False], "2 booleans for axis 0 of size 6"),
        (np.ones((6, 5), bool), "1-d array of booleans"),
        (True, "an index is"),
        (1.5, "an index is"),
        ("a", "an index is"),
        ([0.5], "an index is"),
    ],
)
def test_bad_keys(key, words):
    with pytest.raises(IndexError, match=words):
        quantized()[key]


def test_parts_where_the_grouped_axis_is_not_last(isa):
    q = quantized(axis=1)
    full = q.dequantize()
    views = (3, slice(1, 4), (2, slice(None), slice(10, 20)), (1, Ellipsis, 7))
    for key in (*views, [4, 0], (Ellipsis, [1, 2])):
        assert floats_equal(q[key].dequantize(), full[key])
    assert q[3].axis == 0 and q[:, :, [1, 2]].axis == 1
    with pytest.raises(IndexError, match="axis 1 is the grouped axis"):
        q[0, 0]
    with pytest.raises(IndexError, match="axis 0 is the grouped axis"):
        quantized(axis=0)[0]


def test_iteration():
    q = quantized()
    assert [same(row, q[i]) for i, row in enumerate(q)] == [True] * 6
    with pytest.raises(TypeError, match="grouped one"):
        iter(quantized(axis=0))
    with pytest.raises(TypeError, match="grouped one"):
        list(quantized("int4_g32", X[0, 0]))


@pytest.mark.parametrize(("shape", "axis"), [((7,), 0), ((6, 7), 1), ((6, 7), 0)])
def test_transpose(isa, shape, axis):
    q = qb.quantize(np.arange(np.prod(shape), dtype=np.float32).reshape(shape), "uint8_g4", axis=axis)
    assert q.T.shape == shape[::-1] and floats_equal(q.T.dequantize(), np.ascontiguousarray(q.dequantize().T))
    assert same(q.T.T, q) and np.shares_memory(q.T.buffers["codes"], q.buffers["codes"])


def test_transposes_of_stacks(isa):
    q = quantized()
    assert q.mT.shape == (6, 40, 5) and q.mT.axis == 1 and same(q.mT.mT, q)
    assert floats_equal(q.mT.dequantize(), np.ascontiguousarray(q.dequantize().swapaxes(1, 2)))
    with pytest.raises(ValueError, match="mT swaps the last two"):
        _ = q.T
    with pytest.raises(ValueError, match="is not one of the last two"):
        _ = quantized(axis=0).mT


# ---- take -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grouped", [0, 1, 2])
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("rows", [3, -1, [2, 0, -2], np.int16([[1, 1], [0, 3]]), [], np.uint32([4])])
def test_take(isa, rows, axis, grouped):
    q = quantized(axis=grouped)
    if axis % 3 == grouped:
        with pytest.raises(ValueError, match="is the grouped axis"):
            q.take(rows, axis=axis)
        return
    index = np.array(rows, np.int64) if isinstance(rows, list) else rows
    expected = np.take(q.dequantize(), index, axis=axis)
    assert floats_equal(q.take(rows, axis=axis), expected)
    out = np.empty(expected.shape, np.float64)
    assert q.take(rows, axis=axis, dtype=np.float64, out=out) is out and np.array_equal(out, expected)


@pytest.mark.parametrize(
    ("rows", "words"), [([6], "out of b"), ([-7], "out of b"), ([0.5], "integers"), ("1", "integers")]
)
def test_bad_rows(rows, words):
    with pytest.raises(IndexError, match=words):
        quantized().take(rows)


def test_take_by_booleans():
    q = quantized()
    assert floats_equal(q.take(np.arange(6) > 3), q.dequantize()[4:])


# ---- made of buffers --------------------------------------------------------------------------------


def test_made_of_buffers_of_another_tool():
    q = quantized("uint6_g3_bf16")
    again = qb.QArray("uint6_g3_bf16", q.shape, dict(q.buffers), q.axis)
    assert same(again, q) and np.shares_memory(again.buffers["scales"], q.buffers["scales"])
    strided = {name: np.repeat(b, 2, axis=0)[::2] for name, b in q.buffers.items()}
    assert same(qb.QArray(q.format, list(q.shape), strided), q)
    codes = qb.pack([[-8, 7, 1]], 4, signed=True)
    made = qb.QArray("int4_row", (1, 3), {"codes": codes, "scales": np.float16([[0.5]])})
    assert made.dequantize().tolist() == [[-4.0, 3.5, 0.5]]


@pytest.mark.parametrize(
    ("change", "exception", "words"),
    [
        ({"mins": None}, ValueError, "needs the buffer 'mins'"),
        ({"scales": np.zeros((6, 5, 14), np.float16)}, TypeError, "'scales' has dtype float16; .* uint16"),
        ({"codes": np.zeros((6, 5, 29), np.uint8)}, ValueError, r"'codes' has shape \(6, 5, 29\)"),
        ({"mins": np.zeros((6, 70), np.uint16)}, ValueError, "'mins' has shape"),
    ],
)
def test_buffers_that_do_not_fit(change, exception, words):
    buffers = {**quantized("uint6_g3_bf16").buffers, **change}
    with pytest.raises(exception, match=words):
        qb.QArray("uint6_g3_bf16", X.shape, {k: v for k, v in buffers.items() if v is not None})


@pytest.mark.parametrize(
    ("shape", "axis", "exception"),
    [((6, -5, 40), 2, ValueError), ((6, 5.0, 40), 2, TypeError), ((), 0, ValueError), ((9,), 1, ValueError)],
)
def test_shapes_of_nothing(shape, axis, exception):
    with pytest.raises(exception):
        qb.QArray("uint6_g3_bf16", shape, quantized("uint6_g3_bf16").buffers, axis)


# ---- out, and life ----------------------------------------------------------------------------------


def test_quantize_into(isa):
    q = quantized("uint5_g16_z", np.zeros_like(X))
    assert qb.quantize(X, "uint5_g16_z", out=q) is q and same(q, quantized("uint5_g16_z"))
    rows = q[2:4]
    qb.quantize(np.ones_like(X[2:4]), "uint5_g16_z", out=rows)
    assert same(q[2:4], quantized("uint5_g16_z", np.ones_like(X[2:4])))
    assert same(q[0:2], quantized("uint5_g16_z")[0:2]) and same(q[4:], quantized("uint5_g16_z")[4:])


@pytest.mark.parametrize("shape", [(0,), (0, 8), (3, 0), (0, 0), (2, 0, 5)])
@pytest.mark.parametrize("format", FORMATS)
def test_empty(isa, format, shape):
    for axis in range(len(shape)):
        q = qb.quantize(np.zeros(shape, np.float32), format, axis=axis)
        assert q.dequantize().shape == q.codes().shape == shape
        assert np.isnan(q.bpw) and same(qb.QArray.from_bytes(q.tobytes()), q)
        assert q.scales.ndim == len(shape)
        assert qb.compare(np.zeros(shape), q).max_index is None
        assert qb.quantize(np.zeros(shape), format, axis=axis, out=q) is q


def test_copies_of_the_whole():
    q = quantized()
    for other, shared in ((q.copy(), False), (copy.deepcopy(q), False), (copy.copy(q), True)):
        assert same(other, q)
        assert np.shares_memory(other.buffers["codes"], q.buffers["codes"]) == shared


def test_views_keep_the_memory_alive():
    q = quantized()
    owner = weakref.ref(q._arrays[0])
    part = q[1:3]
    expected = part.dequantize()
    del q
    gc.collect()
    assert owner() is not None and floats_equal(part.dequantize(), expected)
    del part
    gc.collect()
    assert owner() is None


def test_threads_share_a_qarray(rng):
    from concurrent.futures import ThreadPoolExecutor

    x = rng.standard_normal((64, 256)).astype(np.float32)
    for _ in range(20):
        q = qb.quantize(x, "int4_g32")
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(qb.QArray.dequantize, [q] * 8))
        assert all(floats_equal(r, results[0]) for r in results)


@pytest.mark.parametrize(("format", "axis"), list(product(["int4_g32", "uint4_g32_z"], [0, 1])))
def test_compare_is_the_error_of_the_numbers(isa, rng, format, axis):
    x = rng.standard_normal((50, 70)).astype(np.float32)
    q = qb.quantize(x, format, axis=axis)
    report = qb.compare(x, q)
    error = x.astype(np.float64) - q.dequantize()
    assert report.rmse == pytest.approx(np.sqrt((error**2).mean()))
    assert report.relative_rmse == pytest.approx(np.linalg.norm(error) / np.linalg.norm(x))
    assert report.snr_db == pytest.approx(-20 * np.log10(report.relative_rmse))
    assert report.max_abs == np.abs(error).max() == abs(error[report.max_index])
    assert (report.size, report.bpw) == (x.size, q.bpw)
    for word in ("dB", "bpw", str(report.max_index)):
        assert word in str(report)


def test_compare_of_nothing_lost_and_of_nothing_there():
    zeros = np.zeros((4, 32))
    report = qb.compare(zeros, qb.quantize(zeros, "int4_g32"))
    assert (report.rmse, report.relative_rmse, report.snr_db) == (0.0, 0.0, np.inf)
    report = qb.compare(zeros, qb.quantize(zeros + 1, "int4_g32"))
    assert (report.rmse, report.relative_rmse, report.snr_db) == (1.0, np.inf, -np.inf)

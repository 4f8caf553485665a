"""Shapes and refusals of matmul and vecdot; which bits come out is test_multiply's business."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyqbits as qb

RNG = np.random.default_rng(4)
W = RNG.standard_normal((3, 5, 40)).astype(np.float32)


@st.composite
def broadcast_stacks(draw):
    """Two leading shapes that broadcast."""
    full = draw(st.lists(st.integers(0, 3), max_size=3))

    def part():
        kept = full[draw(st.integers(0, len(full))) :]
        return tuple(1 if draw(st.booleans()) else n for n in kept)

    return part(), part()


@given(st.data())
def test_shapes_are_those_of_numpy(isa, data):
    q_lead, x_lead = data.draw(broadcast_stacks())
    k = data.draw(st.sampled_from([0, 1, 7, 40, 70]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    m, n = data.draw(st.integers(0, 20)), data.draw(st.integers(0, 20))
    q_first = data.draw(st.booleans())
    vector_q, vector_x = data.draw(st.booleans()), data.draw(st.booleans())
    q_shape = (k,) if vector_q else (*q_lead, m, k)
    x_shape = (k,) if vector_x else (*x_lead, n, k)
    q = qb.quantize(rng.standard_normal(q_shape), "int8_g32")
    x = rng.standard_normal(x_shape).astype(data.draw(st.sampled_from([np.float32, np.float64, np.float16])))
    if q_first:
        a, b = q, x if vector_x else x.swapaxes(-1, -2)
        expected = np.matmul(q.dequantize(), b.astype(np.float32))
        got = a @ b
    else:
        a, b = x, q if vector_q else q.mT
        expected = np.matmul(a.astype(np.float32), b.dequantize())
        got = a @ b
    assert np.shape(got) == expected.shape and got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    out = np.full(expected.shape, 7, np.float32)
    assert qb.matmul(a, b, out=out) is out and np.array_equal(out, got)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int32, np.int64, ">f4", ">f8", ">i4"])
def test_other_numbers_are_converted(isa, dtype):
    q = qb.quantize(W[0], "int8_g32")
    x = (RNG.integers(0, 2, (40, 3))).astype(dtype)
    assert np.array_equal(q @ x, q @ x.astype(np.float64))
    assert np.array_equal(q @ x.tolist(), q @ x.astype(np.float64))


def test_misaligned_activations(isa):
    q = qb.quantize(W[0], "int8_g32")
    data = b"x" + W[1].tobytes()
    shifted = np.frombuffer(data, np.float32, offset=1).reshape(5, 40)
    assert not shifted.flags.aligned and np.array_equal(shifted @ q.T, W[1] @ q.T)


def test_scalars_come_out_as_scalars(isa):
    q = qb.quantize(W[0, 0], "int8_g32")
    value = q @ W[0, 1]
    assert isinstance(value, np.float32) and value == W[0, 1] @ q == W[0, 1] @ q.T
    out = np.zeros((), np.float32)
    assert qb.matmul(q, W[0, 1], out=out) is out and out == value
    assert isinstance(qb.vecdot(q, q), np.float32)


def test_weights_stored_as_columns(isa):
    """A (K, M) matrix quantized along axis 0 is the transpose of one quantized along its rows."""
    rows = qb.quantize(W[0], "uint4_g32")
    columns = qb.quantize(np.ascontiguousarray(W[0].T), "uint4_g32", axis=0)
    assert columns.tobytes() == rows.T.tobytes()
    assert np.array_equal(W[1] @ columns, W[1] @ rows.T)


@pytest.mark.parametrize("format", ["int4_g32", "uint3_tensor_z", "uint8_row_bf16"])
def test_stacks_are_their_matrices(isa, format):
    q = qb.quantize(W, format)
    x = RNG.standard_normal((2, 1, 40, 6)).astype(np.float32)
    got = q @ x
    for i in range(2):
        for j in range(3):
            assert np.array_equal(got[i, j], q[j] @ x[i, 0])
    turned = np.ascontiguousarray(x.swapaxes(-1, -2)) @ q.mT
    assert np.array_equal(turned, got.swapaxes(-1, -2))


@pytest.mark.parametrize(
    ("call", "exception", "words"),
    [
        (lambda q: qb.matmul(W[0], W[1]), TypeError, "not two arrays"),
        (lambda q: q @ q, ValueError, r"as in a @ b\.T"),
        (lambda q: q @ 2, ValueError, "x has no axis"),
        (lambda q: np.float32(2) @ q, ValueError, "x has no axis"),
        (lambda q: q @ np.ones(41), ValueError, "40 elements against 41"),
        (lambda q: q @ np.ones((41, 3)), ValueError, r"q of shape \(5, 40\) and x of shape \(41, 3\)"),
        (lambda q: np.ones((3, 40)) @ q, ValueError, "axis 0 of q.*multiply by its transpose.*axis=0"),
        (lambda q: q.T @ np.ones(5), ValueError, "axis 1 of q.*grouped along axis 0"),
        (lambda q: qb.quantize(W, "int4_g32", axis=0) @ np.ones(40), ValueError, "quantize it with axis=2"),
        (lambda q: qb.quantize(W, "int4_g32") @ np.ones((2, 40, 3)), ValueError, r"\(3,\) and \(2,\) do not"),
        (lambda q: q @ np.ones(40, complex), TypeError, "b has dtype complex128"),
        (lambda q: "abc" @ q.T, TypeError, "a has dtype"),
        (lambda q: q @ None, TypeError, "b has dtype object"),
        (lambda q: qb.matmul(q, np.ones(40), activations="int32"), ValueError, "'int8', 'int16', 'int24'"),
        (lambda q: qb.matmul(q, np.ones(40), activations=None), ValueError, "'int8', 'int16', 'int24'"),
        (lambda q: qb.vecdot(q, W[0]), TypeError, "b must be a QArray, not ndarray"),
        (lambda q: qb.vecdot(q.T, q), ValueError, "a is grouped along axis 0"),
        (lambda q: qb.vecdot(q, q[:, :][:2]), ValueError, r"\(5,\) and \(2,\) do not broadcast"),
        (lambda q: qb.vecdot(q, qb.quantize(W[0, :, :39], "int4_g32")), ValueError, "those of b 39"),
        (lambda q: qb.vecdot(q, qb.quantize(W[0], "int4_g16")), ValueError, "different boundaries"),
        (lambda q: qb.vecdot(q, qb.quantize(W[0], "int4_row")), ValueError, "different boundaries"),
    ],
)
def test_refusals(call, exception, words):
    with pytest.raises(exception, match=words):
        call(qb.quantize(W[0], "int4_g32"))


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("format", ["int4_g32", "uint3_row", "uint4_g32_z", "int8_tensor_f32"])
def test_a_small_product_is_like_any_other(isa, prepared, format):
    """The short way of float32 rows and the long one, which float64 takes, agree."""
    q = qb.quantize(W[0], format)
    p = q.prepare() if prepared else q
    wide = RNG.standard_normal((6, 80)).astype(np.float32)
    p @ wide[0, :40]  # a QArray is known to the C library from its first use on
    turned = p.T
    for at in ((0, slice(40)), (1, slice(0, 80, 2)), np.s_[:1, :40], np.s_[:, 3:43], np.s_[:, ::2]):
        x = wide[at]
        expected = q.dequantize() @ x.astype(np.float64).T
        product = x @ turned
        assert product.dtype == np.float32 and product.flags.c_contiguous
        np.testing.assert_allclose(product, expected.T, rtol=1e-5, atol=1e-5)
        assert np.array_equal(product, x.astype(np.float64) @ turned)
        assert np.array_equal(product, (p @ x.T).T)
        out = np.full(product.shape, 7, np.float32)
        assert qb.matmul(x, turned, out=out) is out and np.array_equal(out, product)
        out[...] = 7
        qb.matmul(x, turned, out=out, activations="int8")
        assert np.array_equal(out, qb.matmul(x.astype(np.float64), turned, activations="int8"))
    square = qb.quantize(np.eye(40, dtype=np.float32)[:, ::-1], format)
    square = square.prepare() if prepared else square
    square @ wide[0, :40]
    columns = RNG.standard_normal((40, 40)).astype(np.float32)
    assert np.array_equal(square @ columns, square @ columns.astype(np.float64))
    masked = np.ma.array(wide[0, :40], mask=np.arange(40) % 2)
    assert np.array_equal(p @ masked, p @ wide[0, :40])


ROW = np.ones(40, np.float32)
CODES = np.zeros(200, np.uint8)
SCALES = np.ones((5, 2), np.float32)
PARTS = {"codes": CODES[:100].reshape(5, 20), "scales": SCALES, "mins": SCALES}
MINE = qb.QArray("uint4_g32_f32", (5, 40), PARTS)
FROZEN = np.zeros(5, np.float32)
FROZEN.flags.writeable = False


@pytest.mark.parametrize(
    "x, out, error, words",
    [
        (ROW, np.zeros(6, np.float32), ValueError, "shape"),
        (ROW, np.zeros((5, 1), np.float32), ValueError, "shape"),
        (ROW, np.zeros(5), TypeError, "dtype"),
        (ROW, np.zeros(10, np.float32)[::2], ValueError, "contiguous"),
        (ROW, FROZEN, ValueError, "read-only"),
        (ROW, ROW[35:], ValueError, "overlaps"),
        (ROW, SCALES.reshape(-1)[:5], ValueError, "overlaps"),
        (ROW, CODES[80:100].view(np.float32), ValueError, "overlaps"),
        (ROW, np.zeros(21, np.uint8)[1:].view(np.float32), ValueError, "aligned"),
        (ROW[:39], np.zeros(5, np.float32), ValueError, "39"),
        (np.ones((2, 40), np.float32), np.zeros((2, 5), np.float32), ValueError, "sum"),
    ],
)
def test_a_small_product_refuses_what_any_other_does(x, out, error, words):
    before = out.copy()
    parts = np.shares_memory(out, CODES) or np.shares_memory(out, SCALES)  # a prepared matrix has its own
    for q in [MINE] if parts else [MINE, MINE.prepare()]:
        q @ ROW
        with pytest.raises(error, match=words):
            qb.matmul(q, x, out=out)
    assert np.array_equal(out, before)
    qb.matmul(MINE, ROW, out=CODES[100:120].view(np.float32))  # beside the codes


def test_vecdot_of_formats_with_the_same_boundaries(isa):
    formats = ["int4_row", "uint8_row_z", "int3_tensor", "uint2_g40", "int5_g1000_f32"]
    for a in formats:
        for b in formats:
            left, right = qb.quantize(W, a), qb.quantize(W[0], b)
            got = qb.vecdot(left, right)
            expected = np.sum(left.dequantize() * right.dequantize(), axis=-1)
            assert got.shape == (3, 5)
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@given(broadcast_stacks(), st.sampled_from([0, 1, 33]))
def test_vecdot_shapes(stacks, n):
    a, b = (qb.quantize(np.ones((*lead, n)), "int8_g32") for lead in stacks)
    got = qb.vecdot(a, b)
    assert np.shape(got) == np.broadcast_shapes(*stacks)
    assert np.allclose(got, n)


def test_vecdot_out(isa):
    a, b = qb.quantize(W, "int4_g32"), qb.quantize(W[0], "uint5_g32_f32")
    want, out = qb.vecdot(a, b), np.full((3, 5), 7, np.float32)
    assert qb.vecdot(a, b, out=out) is out and np.array_equal(out, want)
    one = np.full((), 7, np.float32)
    assert qb.vecdot(a[0, 0], b[0], out=one) is one and one == want[0, 0]
    nothing = qb.quantize(np.ones((5, 0)), "int4_g32")
    assert not qb.vecdot(nothing, nothing, out=out[0]).any()
    scales = b.part_arrays()[1]
    for bad, error, words in (
        (out[0], ValueError, r"out has shape \(5,\); this call writes \(3, 5\)"),
        (out.astype(np.float64), TypeError, "out has dtype float64"),
        (np.full((5, 3), 7, np.float32).T, ValueError, "out is not C-contiguous"),
        (np.broadcast_to(np.float32(7), (3, 5)), ValueError, "out is read-only"),
        ([0.0], TypeError, "out must be a NumPy array"),
    ):
        with pytest.raises(error, match=words):
            qb.vecdot(a, b, out=bad)
    assert scales.dtype == np.float32
    with pytest.raises(ValueError, match="out overlaps the input"):
        qb.vecdot(b, b, out=scales.reshape(-1)[:5])


def test_vecdot_in_chunks(isa, monkeypatch):
    q = qb.quantize(W, "int4_g32")
    whole = qb.vecdot(q, q[1])
    monkeypatch.setattr("pyqbits._vecdot._CHUNK", 4)
    assert np.array_equal(qb.vecdot(q, q[1]), whole)
    assert np.array_equal(qb.vecdot(q[1], q), whole)

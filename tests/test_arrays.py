"""One row for each rule that arguments must keep; every refusal comes before a byte of out is written."""

import ml_dtypes
import numpy as np
import pytest

import pyqbits as qb
from pyqbits import _arrays

CODES = np.arange(24, dtype=np.uint8).reshape(2, 12) % 8
STREAM = qb.pack(CODES, 3)
X = np.random.default_rng(0).standard_normal((6, 64)).astype(np.float32)
Q = qb.quantize(X, "int4_g32")


def filled(shape, dtype):
    return np.full(shape, 85, dtype)


def read_only(shape, dtype):
    out = filled(shape, dtype)
    out.flags.writeable = False
    return out


def misaligned(shape, dtype):
    bytes_ = np.full(np.prod(shape) * np.dtype(dtype).itemsize + 1, 85, np.uint8)
    return bytes_[1:].view(dtype).reshape(shape)


# What writes into out: name -> (call, shape and dtype of out).
WRITERS = {
    "pack": (lambda out: qb.pack(CODES, 3, out=out), (2, 5), np.uint8),
    "unpack": (lambda out: qb.unpack(STREAM, 3, 12, dtype=np.int16, out=out), (2, 12), np.int16),
    "dequantize": (lambda out: Q.dequantize(out=out), (6, 64), np.float32),
    "take": (lambda out: Q.take([1, 2], out=out), (2, 64), np.float32),
    "matmul": (lambda out: qb.matmul(Q, X.T, out=out), (6, 6), np.float32),
}

# Outs that no writer takes: name -> (make, exception, words of the message).
BAD_OUTS = {
    "shape": (lambda s, t: filled((s[0] + 1, s[1]), t), ValueError, "out has shape"),
    "flat": (lambda s, t: filled(s[0] * s[1], t), ValueError, "out has shape"),
    "dtype": (lambda s, t: filled(s, np.float64), TypeError, "out has dtype float64"),
    "read-only": (read_only, ValueError, "out is read-only"),
    "strided": (lambda s, t: filled((s[0], 2 * s[1]), t)[:, ::2], ValueError, "out is not C-contiguous"),
    "Fortran order": (lambda s, t: filled(s[::-1], t).T, ValueError, "out is not C-contiguous"),
    "a list": (lambda s, t: [0], TypeError, "out must be a NumPy array, not list"),
}


@pytest.mark.parametrize("bad", BAD_OUTS)
@pytest.mark.parametrize("writer", WRITERS)
def test_outs_that_nothing_writes_into(writer, bad):
    call, shape, dtype = WRITERS[writer]
    make, exception, words = BAD_OUTS[bad]
    out = make(shape, dtype)
    before = out.copy()
    with pytest.raises(exception, match=words):
        call(out)
    assert np.array_equal(out, before)


@pytest.mark.parametrize("writer", [name for name, (_, _, dtype) in WRITERS.items() if dtype != np.uint8])
def test_byte_order_and_alignment_of_out(writer):
    call, shape, dtype = WRITERS[writer]
    for out, exception in (
        (filled(shape, np.dtype(dtype).newbyteorder()), TypeError),
        (misaligned(shape, dtype), ValueError),
    ):
        before = out.copy()
        with pytest.raises(exception, match="out "):
            call(out)
        assert np.array_equal(out, before)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_good_out_is_returned_and_written(writer):
    call, shape, dtype = WRITERS[writer]
    out = filled(shape, dtype)
    assert call(out) is out and np.array_equal(out, call(None))


def test_out_that_overlaps_its_input():
    buffer = np.arange(64, dtype=np.uint8) % 8
    before = buffer.copy()
    floats = np.ones((8, 64), np.float32)
    for call in (
        lambda: qb.pack(buffer, 8, out=buffer),
        lambda: qb.pack(buffer[:32], 3, out=buffer[31:43]),
        lambda: qb.pack(buffer.reshape(2, 32), 3, out=buffer[:24].reshape(2, 12)),
        lambda: qb.unpack(buffer[:24], 3, out=buffer),
        lambda: qb.unpack(buffer[:24].reshape(2, 12), 3, 30, out=buffer[4:].reshape(2, 30)),
        lambda: qb.matmul(Q, floats.T, out=floats.reshape(-1)[:48].reshape(6, 8)),
    ):
        with pytest.raises(ValueError, match="overlaps"):
            call()
    assert np.array_equal(buffer, before) and (floats == 1).all()
    apart = qb.pack(buffer[:32], 3, out=buffer[32:44])
    assert np.array_equal(apart, qb.pack(before[:32], 3))
    woven = np.zeros((4, 24), np.uint8)
    qb.pack(woven[::2, 0], 8, out=woven[1, :2])  # the bounds overlap, the bytes do not


# The rest: (call, exception, words of the message).
RULES = {
    "bits is 0": (lambda: qb.pack(CODES, 0), ValueError, "bits must be from 1 to 8, not 0"),
    "bits is 9": (lambda: qb.unpack(STREAM, 9), ValueError, "bits must be from 1 to 8, not 9"),
    "bits is a float": (lambda: qb.pack(CODES, 3.0), TypeError, "bits must be an integer"),
    "bits is text": (lambda: qb.packed_size(8, "3"), TypeError, "bits must be an integer"),
    "packed_size of less than nothing": (lambda: qb.packed_size(-1, 3), ValueError, "negative"),
    "codes are floats": (lambda: qb.pack(X, 3), TypeError, "codes has dtype float32"),
    "codes are complex": (lambda: qb.pack(X + 1j, 3), TypeError, "codes has dtype complex64"),
    "codes are text": (lambda: qb.pack("12", 3), TypeError, "codes has dtype"),
    "codes are objects": (lambda: qb.pack([2**70], 3), TypeError, "codes has dtype object"),
    "codes are dates": (lambda: qb.pack(np.zeros(3, "M8[s]"), 3), TypeError, "codes has dtype datetime64"),
    "codes are small floats": (
        lambda: qb.pack(np.zeros(3, ml_dtypes.float8_e4m3fn), 3), TypeError, "codes has dtype float8"),
    "axis too large": (lambda: qb.pack(CODES, 3, axis=2), ValueError, "axis 2 is out of bounds"),
    "axis too small": (lambda: qb.unpack(STREAM, 3, axis=-3), ValueError, "axis -3 is out of bounds"),
    "axis of no number": (lambda: qb.quantize(np.float32(1), "int4_g32"), ValueError, "axis -1 is out of"),
    "axis is a float": (lambda: qb.pack(CODES, 3, axis=0.0), TypeError, "integer"),
    "buf is no bytes": (lambda: qb.unpack(CODES.astype(np.int8), 3), TypeError, "buf has dtype int8"),
    "count too large": (lambda: qb.unpack(STREAM, 3, 14), ValueError, "count is 14; 5 bytes hold 0 to 13"),
    "count negative": (lambda: qb.unpack(STREAM, 3, -1), ValueError, "count is -1"),
    "dtype too narrow": (lambda: qb.unpack(STREAM, 8, dtype=np.int8), TypeError, "does not hold unsigned 8"),
    "dtype without sign": (
        lambda: qb.unpack(STREAM, 3, signed=True, dtype=np.uint32), TypeError, "does not hold signed 3-bit"),
    "dtype a boolean": (lambda: qb.unpack(STREAM, 2, dtype=bool), TypeError, "does not hold unsigned 2-bit"),
    "dtype of the other order": (
        lambda: qb.unpack(STREAM, 3, dtype=np.dtype(np.int32).newbyteorder()), TypeError, "native byte"),
    "dtype a float": (lambda: qb.unpack(STREAM, 3, dtype=np.float32), TypeError, "not an integer dtype"),
    "dtype and out differ": (
        lambda: qb.unpack(STREAM, 3, 12, dtype=np.int8, out=filled((2, 12), np.uint8)), TypeError, "out has"),
    "x is long double": (lambda: qb.quantize(X.astype(np.longdouble), "int4_g32"), TypeError, "x has dtype"),
    "x is complex": (lambda: qb.quantize(X + 1j, "int4_g32"), TypeError, "float32, float16, bfloat16"),
    "x is float8": (
        lambda: qb.quantize(X.astype(ml_dtypes.float8_e5m2), "int4_g32"), TypeError, "x has dtype float8"),
    "x is text": (lambda: qb.quantize(["a"], "int4_g32"), TypeError, "x has dtype"),
    "unknown search": (lambda: qb.quantize(X, "int4_g32", search="x"), ValueError, "'rtn', 'mse', 'best'"),
    "unknown nonfinite": (lambda: qb.quantize(X, "int4_g32", nonfinite="x"), ValueError, "'raise', 'zero'"),
    "importance of a shape": (
        lambda: qb.quantize(X, "int4_g32", importance=np.ones(63)), ValueError, r"\(63,\) does not"),
    "importance too many axes": (
        lambda: qb.quantize(X, "int4_g32", importance=np.ones((1, 6, 64))), ValueError, "does not broadcast"),
    "importance negative": (
        lambda: qb.quantize(X, "int4_g32", importance=[[1.0], [2], [-3], [1], [1], [-1]]), ValueError,
        r"importance at index \(2, 0\) is -3.0"),
    "importance too large": (
        lambda: qb.quantize(X, "int4_g32", importance=np.full(64, 1e39)), ValueError, r"\(0,\) is 1e\+39"),
    "importance is text": (lambda: qb.quantize(X, "int4_g32", importance="x"), TypeError, "importance has"),
    "quantize out no QArray": (lambda: qb.quantize(X, "int4_g32", out=X), TypeError, "out must be a QArray"),
    "quantize out another format": (lambda: qb.quantize(X, "int4_g16", out=Q), ValueError, "out is int4_g32"),
    "quantize out another shape": (lambda: qb.quantize(X[1:], "int4_g32", out=Q), ValueError, "of shape"),
    "quantize out another axis": (lambda: qb.quantize(X, "int4_g32", axis=0, out=Q), ValueError, "axis 0"),
    "quantize out read-only": (
        lambda: qb.quantize(X, "int4_g32", out=qb.QArray.from_bytes(Q.tobytes())), ValueError, "read-only"),
    "dequantize to integers": (lambda: Q.dequantize(np.int32), TypeError, "dtype int32 is not supported"),
    "dequantize to long double": (lambda: Q.dequantize(np.longdouble), TypeError, "is not supported"),
    "dequantize to the other order": (
        lambda: Q.dequantize(np.dtype(np.float32).newbyteorder()), TypeError, "is not supported"),
    "compare shapes": (lambda: qb.compare(X.T, Q), ValueError, r"x has shape \(64, 6\), q \(6, 64\)"),
    "compare with an array": (lambda: qb.compare(X, X), TypeError, "q must be a QArray"),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_rules(rule):
    call, exception, words = RULES[rule]
    before = Q.tobytes()
    with pytest.raises(exception, match=words):
        call()
    assert Q.tobytes() == before


def test_quantize_refuses_memory_of_its_out():
    floats = np.zeros(64, np.uint8)
    q = qb.QArray("int8_tensor", (4,), {"codes": floats[:4], "scales": np.zeros(1, np.float16)})
    with pytest.raises(ValueError, match="overlaps"):
        qb.quantize(floats.view(np.float32)[:4], "int8_tensor", out=q)


def test_overlap_too_hard_to_settle_counts_as_one(monkeypatch):
    def give_up(*args, **options):
        raise np.exceptions.TooHardError

    monkeypatch.setattr(np, "shares_memory", give_up)
    memory = np.zeros(8, np.uint8)
    assert _arrays.overlap(memory[::2], memory[1::2])
    assert not _arrays.overlap(memory[:4], memory[4:])


@pytest.mark.parametrize(
    ("shape", "strides", "expected"),
    [
        ((), (), 0),
        ((5,), (40,), 40),
        ((3, 5), (200, 40), 40),
        ((3, 5), (240, 40), None),
        ((1, 5), (999, 40), 40),
        ((5, 1), (40, 7), 40),
        ((3, 5), (-200, -40), -40),
        ((3, 5), (0, 0), 0),
        ((3, 5), (0, 40), None),
        ((2, 3, 5), (600, 200, 40), 40),
        ((2, 3, 5), (200, 400, 40), None),
    ],
)
def test_row_stride(shape, strides, expected):
    assert _arrays.row_stride(shape, strides) == expected

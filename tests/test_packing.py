"""pack and unpack against np.packbits and np.unpackbits, in every shape and dtype."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyqbits as qb

WIDTHS = range(1, 9)
INTEGERS = [np.dtype(t) for t in "bBhHiIlLqQ"]


def limits(bits, signed):
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def packed(codes, bits, axis=-1):
    """The definition, from np.packbits."""
    rows = np.moveaxis(np.asarray(codes), axis, -1).astype(np.int64)
    digits = (rows[..., np.newaxis] >> np.arange(bits) & 1).astype(np.uint8)
    stream = digits.reshape(*rows.shape[:-1], rows.shape[-1] * bits)
    return np.moveaxis(np.packbits(stream, axis=-1, bitorder="little"), -1, axis)


def random_codes(rng, shape, bits, signed):
    lo, hi = limits(bits, signed)
    return rng.integers(lo, hi, shape, endpoint=True)


def holds(dtype, bits, signed):
    lo, hi = limits(bits, signed)
    return np.iinfo(dtype).min <= lo and hi <= np.iinfo(dtype).max


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", WIDTHS)
def test_every_length(isa, rng, bits, signed):
    for count in [*range(140), 1000, 4095, 4096, 4097, 8200]:
        codes = random_codes(rng, count, bits, signed).astype(np.int8 if signed else np.uint8)
        stream = qb.pack(codes, bits, signed=signed)
        assert stream.dtype == np.uint8 and np.array_equal(stream, packed(codes, bits)), count
        assert stream.size == qb.packed_size(count, bits)
        again = qb.unpack(stream, bits, count, signed=signed)
        assert again.dtype == codes.dtype and np.array_equal(again, codes), count


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("dtype", INTEGERS, ids=lambda t: t.char)
def test_every_dtype(isa, rng, dtype, signed):
    for bits in WIDTHS:
        codes = random_codes(rng, (3, 5000), bits, signed)
        codes = codes.clip(np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)
        expected = packed(codes, bits)
        assert np.array_equal(qb.pack(codes, bits, signed=signed), expected)
        assert np.array_equal(qb.pack(codes.astype(dtype.newbyteorder()), bits, signed=signed), expected)
        if holds(dtype, bits, signed):
            again = qb.unpack(expected, bits, 5000, signed=signed, dtype=dtype)
            assert again.dtype == dtype and np.array_equal(again, codes)


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_outputs_larger_than_the_cache(isa, rng, bits):
    codes = rng.integers(0, 2**bits, (3, 2_000_001), dtype=np.uint8)
    stream = qb.pack(codes, bits)
    assert np.array_equal(stream, packed(codes, bits))
    for dtype in (np.uint8, np.int32):
        if holds(dtype, bits, False):
            assert np.array_equal(qb.unpack(stream, bits, codes.shape[1], dtype=dtype), codes)


@st.composite
def layouts(draw):
    """An array of small integers in some dtype, byte order and memory layout, and an axis of it."""
    signed, bits = draw(st.booleans()), draw(st.integers(1, 8))
    dtype = draw(st.sampled_from([t for t in INTEGERS if holds(t, bits, signed)]))
    if draw(st.booleans()):
        dtype = dtype.newbyteorder()
    shape = draw(st.lists(st.integers(0, 9), min_size=1, max_size=4))
    steps = [draw(st.sampled_from([1, 1, 2, -1, -3])) for _ in shape]
    full = [n * abs(step) for n, step in zip(shape, steps, strict=True)]
    order = draw(st.permutations(range(len(shape))))
    seed = draw(st.integers(0, 2**32 - 1))
    codes = random_codes(np.random.default_rng(seed), full, bits, signed).astype(dtype)
    codes = codes[tuple(slice(None, None, step) for step in steps)].transpose(order)
    return codes, bits, signed, draw(st.integers(-codes.ndim, codes.ndim - 1))


@given(layouts(), st.booleans())
def test_layouts(isa, layout, into):
    codes, bits, signed, axis = layout
    expected = packed(codes, bits, axis)
    out = np.full(expected.shape, 0xAA, np.uint8) if into else None
    stream = qb.pack(codes, bits, signed=signed, axis=axis, out=out)
    assert stream.flags.c_contiguous and np.array_equal(stream, expected)
    assert out is None or stream is out
    count = codes.shape[axis]
    native = codes.dtype.newbyteorder("=")
    out = np.full(codes.shape, 85, native) if into else None
    strided = np.repeat(stream, 2, axis=-1)[..., ::2]
    again = qb.unpack(strided, bits, count, signed=signed, axis=axis, dtype=native, out=out)
    assert again.flags.c_contiguous and again.dtype == native and np.array_equal(again, codes)
    assert out is None or again is out


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_one_bit_is_packbits(isa, rng, axis):
    bools = rng.random((5, 17, 3)) < 0.5
    expected = np.packbits(bools, axis=axis, bitorder="little")
    assert np.array_equal(qb.pack(bools, 1, axis=axis), expected)
    count = bools.shape[axis]
    assert np.array_equal(qb.unpack(expected, 1, count, axis=axis, dtype=bool), bools)
    unpacked = np.unpackbits(expected, axis=axis, count=count, bitorder="little")
    assert np.array_equal(qb.unpack(expected, 1, count, axis=axis), unpacked)


@pytest.mark.parametrize("name", ["int2", "uint2", "int4", "uint4"])
def test_ml_dtypes(isa, rng, name):
    dtype, width, signed = np.dtype(getattr(ml_dtypes, name)), int(name[-1]), name[0] == "i"
    for bits in range(1, 9):
        codes = random_codes(rng, (4, 21), min(bits, width), signed)
        stream = packed(codes, bits)
        assert np.array_equal(qb.pack(codes.astype(dtype), bits, signed=signed), stream)
        if bits > width:
            with pytest.raises(TypeError, match="does not hold"):
                qb.unpack(stream, bits, 21, signed=signed, dtype=dtype)
            continue
        again = qb.unpack(stream, bits, 21, signed=signed, dtype=dtype)
        assert again.dtype == dtype and again.tobytes() == codes.astype(dtype).tobytes()
        moved = qb.unpack(np.ascontiguousarray(stream.T), bits, 21, signed=signed, axis=0, dtype=dtype)
        assert moved.tobytes() == np.ascontiguousarray(codes.astype(dtype).T).tobytes()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("dtype", INTEGERS, ids=lambda t: t.char)
@pytest.mark.parametrize("bits", WIDTHS)
def test_range_errors(isa, rng, bits, dtype, signed):
    lo, hi = limits(bits, signed)
    info = np.iinfo(dtype)
    bad = {lo - 1, hi + 1, info.min, info.max, hi + 256, lo - 256}
    for value in sorted(v for v in bad if info.min <= v <= info.max and not lo <= v <= hi):
        codes = np.zeros((3, 50), dtype)
        codes[1, 17] = codes[2, 3] = value
        for axis, array, index in ((-1, codes, (1, 17)), (0, codes, (1, 17)), (0, codes.T, (3, 2))):
            with pytest.raises(ValueError) as error:
                qb.pack(array, bits, signed=signed, axis=axis)
            message = str(error.value)
            assert f"index {index} is {value}:" in message and f"[{lo}, {hi}]" in message


def test_range_errors_leave_what_lies_beside(isa):
    buffer = np.full(64, 0xAA, np.uint8)
    with pytest.raises(ValueError, match=r"index \(40,\) is 9"):
        qb.pack(np.where(np.arange(41) == 40, 9, 0).astype(np.uint8), 3, out=buffer[8:24])
    assert (buffer[:8] == 0xAA).all() and (buffer[24:] == 0xAA).all()


def test_objects_that_are_no_arrays(rng):
    class OnlyDlpack:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    codes = rng.integers(0, 8, 24, dtype=np.uint8)
    stream = packed(codes, 3)
    for make in (np.ndarray.tolist, np.ndarray.tobytes, bytearray, memoryview, OnlyDlpack):
        assert np.array_equal(qb.pack(make(codes), 3), stream)
    for make in (np.ndarray.tobytes, bytearray, memoryview, OnlyDlpack):
        assert np.array_equal(qb.unpack(make(stream), 3), codes)
    assert qb.pack([], 3).shape == (0,) and qb.pack([[], []], 3).shape == (2, 0)
    assert qb.pack(5, 3).tolist() == [5] and qb.unpack(np.uint8(5), 3).tolist() == [5, 0]


def test_read_only_and_misaligned_input(rng):
    codes = rng.integers(0, 8, 99)
    stream = packed(codes, 3)
    codes.flags.writeable = False
    assert np.array_equal(qb.pack(codes, 3), stream)
    shifted = np.frombuffer(b"x" + codes.astype(np.int32).tobytes(), np.int32, offset=1)
    assert not shifted.flags.aligned and np.array_equal(qb.pack(shifted, 3), stream)


def test_counts():
    stream = np.arange(12, dtype=np.uint8).reshape(2, 6)
    assert qb.unpack(stream, 5).shape == (2, 9)
    assert qb.unpack(stream, 5, 4).shape == (2, 4)
    assert qb.unpack(stream, 5, 0).shape == (2, 0)
    assert qb.unpack(stream[:0], 5).shape == (0, 9)
    assert np.array_equal(qb.unpack(stream, 5, 4), qb.unpack(stream, 5)[:, :4])
    assert [qb.packed_size(n, 3) for n in (0, 1, 2, 3, 8, 9)] == [0, 1, 1, 2, 3, 4]
    assert qb.packed_size(2**70, 3) == 3 * 2**67


def test_the_dtype_of_out_is_taken(rng):
    stream = rng.integers(0, 256, 24, dtype=np.uint8)
    for dtype in (np.int8, np.uint16, np.int64, ml_dtypes.uint4):
        out = np.zeros(64, dtype)
        assert qb.unpack(stream, 3, out=out) is out
        assert np.array_equal(out.astype(int), qb.unpack(stream, 3))
    signed = np.zeros(64, np.int8)
    qb.unpack(stream, 3, signed=True, out=signed)
    assert np.array_equal(signed, qb.unpack(stream, 3, signed=True))


KINDS = [(np.uint8, False), (np.int8, False), (np.uint32, False), (np.int8, True), (np.int16, True)]


@pytest.mark.parametrize("dtype, signed", KINDS)
def test_a_small_call_is_like_any_other(rng, dtype, signed):
    """The short way for small arrays and the long one agree, whoever owns the memory."""
    codes = (rng.integers(0, 4, 64) - 4 * signed).astype(dtype)
    whole = np.zeros(100, np.uint8)
    for out in (np.zeros(24, np.uint8), whole[10:34]):
        assert qb.pack(codes, 3, signed=signed, out=out) is out
        assert np.array_equal(out, packed(codes, 3))
        back = np.zeros(64, dtype)
        assert np.array_equal(qb.unpack(out, 3, signed=signed, out=back), codes)
        assert np.array_equal(qb.unpack(out, 3, 64, signed=signed, out=back), codes)
        back[...] = 0
        assert np.array_equal(qb.unpack(out, 3, 50, signed=signed, out=back[:50]), codes[:50])
        assert not back[50:].any()


SMALL = np.arange(64, dtype=np.uint8) % 8
FROZEN = np.zeros(64, np.uint8)
FROZEN.flags.writeable = False


def room(shape, dtype=np.uint8):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: qb.pack(SMALL, 3, out=room(25)), ValueError, "shape"),
        (lambda: qb.pack(SMALL, 3, out=room((24, 2))), ValueError, "shape"),
        (lambda: qb.pack(SMALL, 3, out=room(24, np.int8)), TypeError, "dtype"),
        (lambda: qb.pack(SMALL, 3, out=room(48)[::2]), ValueError, "contiguous"),
        (lambda: qb.pack(SMALL, 3, out=FROZEN[:24]), ValueError, "read-only"),
        (lambda: qb.pack(SMALL, 2, out=room(16)), ValueError, r"index \(4,\) is 4"),
        (lambda: qb.pack(SMALL, 0, out=room(0)), ValueError, "bits"),
        (lambda: qb.pack(SMALL, 3, axis=1, out=room(24)), ValueError, "axis"),
        (lambda: qb.unpack(SMALL, 8, out=room(63)), ValueError, "shape"),
        (lambda: qb.unpack(SMALL, 8, 65, out=room(65)), ValueError, "count"),
        (lambda: qb.unpack(SMALL, 8, out=room((64, 2))), ValueError, "shape"),
        (lambda: qb.unpack(SMALL, 8, out=room(64, np.int8)), TypeError, "hold"),
        (lambda: qb.unpack(SMALL, 8, out=FROZEN), ValueError, "read-only"),
        (lambda: qb.unpack(SMALL, 9, out=room(64)), ValueError, "bits"),
    ],
)
def test_a_small_call_refuses_what_any_other_does(call, error, words):
    with pytest.raises(error, match=words):
        call()

"""A QArray as bytes: tobytes, from_bytes and pickles, and what broken bytes do."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyqbits as qb

FORMATS = ("int4_g32", "uint3_g8", "uint5_g16_z", "int1_row", "uint2_tensor_z", "uint6_g3_bf16")
X = np.random.default_rng(1).standard_normal((6, 5, 40)).astype(np.float32)


def quantized(format="uint5_g16_z", x=X, axis=-1):
    return qb.quantize(x, format, axis=axis)


def same(a, b):
    described = (a.format, a.shape, a.axis) == (b.format, b.shape, b.axis)
    return described and all(np.array_equal(a.buffers[name], b.buffers[name]) for name in a.buffers)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("format", FORMATS)
def test_bytes_and_pickles(format, axis):
    q = quantized(format, axis=axis)
    assert same(qb.QArray.from_bytes(q.tobytes()), q)
    assert same(qb.QArray.from_bytes(bytearray(q.tobytes())), q)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert same(pickle.loads(pickle.dumps(q, protocol)), q)
    buffers = []
    data = pickle.dumps(q, 5, buffer_callback=buffers.append)
    assert len(buffers) == len(q.buffers) and same(pickle.loads(data, buffers=buffers), q)
    if axis:
        assert same(pickle.loads(pickle.dumps(qb.QArray.from_bytes(q.tobytes())[1:2])), q[1:2])


def test_bytes_share_memory_and_start_aligned():
    data = quantized("uint5_g16_z").tobytes()
    q = qb.QArray.from_bytes(data)
    start = np.frombuffer(data, np.uint8).ctypes.data
    for buffer in q.buffers.values():
        assert (buffer.ctypes.data - start) % 64 == 0
    assert np.shares_memory(q.buffers["codes"], np.frombuffer(data, np.uint8))


def broken_bytes():
    data = quantized("uint5_g16_z").tobytes()
    header = int.from_bytes(data[8:12], "little")
    text, rest = data[12 : 12 + header], data[12 + header :]

    def with_text(new):
        return data[:8] + len(new).to_bytes(4, "little") + new + rest

    yield b"", 0
    yield data[:11], 0
    yield b"QBARRAY2" + data[8:], 0
    yield data[:8] + b"\xff\xff\xff\x7f" + data[12:], 8
    yield with_text(b"x" * len(text)), 12
    yield with_text(b"[]"), 12
    yield with_text(b"\xff\xfe"), 12
    yield with_text(b"[" * 100_000), 12
    for old, new in (
        (b"uint5_g16_z", b"uint5_g16_q"), (b'"uint5_g16_z"', b"5"), (b"[6,5,40]", b"[6,5,-1]"),
        (b"[6,5,40]", b"[]"), (b"[6,5,40]", b'"abc"'), (b"[6,5,40]", b"[6,5,4.0]"),
        (b"[6,5,40]", b"[true,5,40]"),
        (b"[6,5,40]", b"[" + b"1," * 40 + b"40]"), (b'"axis":2', b'"axis":3'), (b'"axis":2', b'"axis":-1'),
        (b'"axis":2', b'"axis":true'), (b'"axis":2', b'"exis":2'),
        (b"[6,5,40]", b"[4611686018427387904,0,40]"), (b"[6,5,40]", b"[" + b"9" * 5000 + b"]"),
    ):  # fmt: skip
        assert old in text
        yield with_text(text.replace(old, new)), 12
    yield with_text(text.replace(b"40]", b"41]")), None
    yield with_text(text.replace(b"[6,5,40]", b"[1152921504606846976]").replace(b":2}", b":0}")), None
    yield data[:-1], None
    yield data + b"\0", len(data)


@pytest.mark.parametrize(("data", "offset"), list(broken_bytes()))
def test_broken_bytes(data, offset):
    with pytest.raises(qb.FormatError) as error:
        qb.QArray.from_bytes(data)
    assert isinstance(error.value, ValueError) and error.value.offset is not None
    assert offset in (None, error.value.offset)


@given(st.data())
def test_damaged_bytes_never_do_worse_than_refuse(data):
    whole = bytearray(quantized("uint3_g8", X[0]).tobytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, 120))] = data.draw(st.integers(0, 255))
    length = data.draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole))))
    try:
        q = qb.QArray.from_bytes(whole[:length])
    except qb.FormatError:
        return
    assert q.dequantize().shape == q.shape

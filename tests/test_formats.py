"""Names, sizes and the registry of formats."""

import copy
import pickle
from itertools import product

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyqbits as qb
from pyqbits import formats

SCALE_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}

any_format = st.builds(
    qb.affine,
    st.integers(1, 8),
    st.one_of(st.integers(1, 2**63 - 1), st.integers(1, 300), st.sampled_from(["row", "tensor"])),
    zero=st.sampled_from([None, "min", "point"]),
    scale=st.sampled_from(list(SCALE_BYTES)),
)


@pytest.mark.parametrize(
    ("name", "fields"),
    {
        "int4_g32": (4, 32, None, "float16"),
        "uint4_g32": (4, 32, "min", "float16"),
        "uint4_g32_z": (4, 32, "point", "float16"),
        "int8_row": (8, "row", None, "float16"),
        "int8_tensor": (8, "tensor", None, "float16"),
        "int1_g128_bf16": (1, 128, None, "bfloat16"),
        "uint3_row_z_f32": (3, "row", "point", "float32"),
        "uint2_tensor_f32": (2, "tensor", "min", "float32"),
    }.items(),
)
def test_names_of_the_documentation(name, fields):
    bits, group, zero, scale = fields
    format = qb.affine(bits, group, zero=zero, scale=scale)
    assert (format.name, str(format)) == (name, name)
    assert (format.bits, format.group, format.zero, format.scale) == fields
    assert formats.as_format(name) == format and formats.as_format(format) is format


@given(any_format)
def test_every_format_is_its_name(format):
    again = formats.as_format(format.name)
    assert again == format and hash(again) == hash(format)
    assert pickle.loads(pickle.dumps(format)) == copy.deepcopy(format) == format


@pytest.mark.parametrize(
    "name",
    [
        "", "int4", "int4_32", "int9_g32", "int0_g32", "int4_g0", "int4_g032", "int4_g-1", "int4_g32_z",
        "INT4_G32", "int4_g32_f16", "int4_g32_bf16_f32", "uint4_g32_bf16_z", "int4_g32 ", "int4_g32\n",
        "int4_col", "int4_g", "int4_g9223372036854775808", "int4_g99999999999999999999999", "int٤_g32",
    ],
)  # fmt: skip
def test_names_of_nothing(name):
    with pytest.raises(ValueError, match=r"unknown format .*: names are like int4_g32"):
        formats.as_format(name)


@pytest.mark.parametrize(
    ("call", "exception", "words"),
    [
        (lambda: qb.affine(0), ValueError, "bits must be from 1 to 8"),
        (lambda: qb.affine(2.5), TypeError, "bits must be an integer"),
        (lambda: qb.affine(4, 0), ValueError, "group must be a positive integer"),
        (lambda: qb.affine(4, 2**63), ValueError, "group must be a positive integer"),
        (lambda: qb.affine(4, "column"), TypeError, "'row' or 'tensor', not 'column'"),
        (lambda: qb.affine(4, 32.0), TypeError, "'row' or 'tensor', not 32.0"),
        (lambda: qb.affine(4, zero="max"), ValueError, "None, 'min' or 'point', not 'max'"),
        (lambda: qb.affine(4, zero=["min"]), ValueError, "None, 'min' or 'point'"),
        (lambda: qb.affine(4, scale="float64"), ValueError, "'float16', 'bfloat16', 'float32', not"),
        (lambda: qb.affine(4, scale=np.int8), ValueError, "not 'int8'"),
        (lambda: formats.as_format(4), TypeError, "a Format or its name, not int"),
        (lambda: qb.affine(4).bpw(0), ValueError, "n must be positive"),
    ],
)
def test_refusals(call, exception, words):
    with pytest.raises(exception, match=words):
        call()


def test_scales_may_be_dtypes():
    assert qb.affine(4, scale=np.float32) == qb.affine(4, scale="float32")
    assert qb.affine(4, scale=np.dtype(ml_dtypes.bfloat16)) == qb.affine(4, scale="bfloat16")
    assert qb.affine(np.int64(4), np.int32(8)).name == "int4_g8"


def test_formats_do_not_change():
    with pytest.raises(AttributeError):
        qb.affine(4).bits = 5


@given(any_format, st.integers(1, 5000))
def test_sizes(format, n):
    group = n if isinstance(format.group, str) else format.group
    groups = -(-n // group)
    expected = -(-n * format.bits // 8) + groups * SCALE_BYTES[format.scale]
    if format.zero == "min":
        expected += groups * SCALE_BYTES[format.scale]
    if format.zero == "point":
        expected += -(-groups * format.bits // 8)
    assert format.bpw(n) == 8 * expected / n
    if n < 600:
        q = qb.quantize(np.zeros((1, n)), format)
        assert q.nbytes == expected and q.bpw == format.bpw(n)


def test_bits_per_weight_of_the_usual_ones():
    assert [qb.affine(b, 32).bpw(4096) for b in (2, 3, 4, 8)] == [2.5, 3.5, 4.5, 8.5]
    assert qb.affine(4, 32, zero="min").bpw(4096) == 5.0
    assert qb.affine(4, 32, zero="point").bpw(4096) == 4.625


def test_later_formats_join_the_registry(monkeypatch):
    """A family of its own names needs nothing but an entry."""
    monkeypatch.setattr(
        formats, "FAMILIES", [*formats.FAMILIES, lambda name: qb.affine(4) if name == "mine" else None]
    )
    q = qb.quantize(np.ones(64), "mine")
    assert q.format.name == "int4_g32"


def test_every_combination_can_be_used(rng):
    x = rng.standard_normal((3, 50)).astype(np.float32)
    for bits, group, zero, scale in product(
        (1, 2, 5, 8), (1, 7, 32, 64, "row", "tensor"), (None, "min", "point"), SCALE_BYTES
    ):
        q = qb.quantize(x, qb.affine(bits, group, zero=zero, scale=scale))
        assert q.dequantize().shape == x.shape and np.isfinite(q.dequantize()).all()

"""matmul and vecdot against the reference: the same bits on every tier, for every batch and layout."""

from fractions import Fraction
from functools import lru_cache
from itertools import product

import ml_dtypes
import numpy as np
import pytest
import reference as ref
from cases import GROUPS, KINDS, SCALES, WIDTHS, activations, floats_equal, quantized
from hypothesis import given, settings
from hypothesis import strategies as st

import pyqbits

MODES = tuple(ref.TOPS)


@lru_cache(maxsize=4096)
def expected(format, cols, count, mode):
    """Library input and reference product, computed once for all tiers."""
    x, q = quantized(format, cols, 2 ** (format.bits - 1))
    columns = activations(count, cols)
    return x, columns, ref.multiply(q, columns, mode)


def rounded(value):
    """The float32 nearest to a fraction, ties to even."""
    if not value:
        return 0.0
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    exponent -= abs(value) < Fraction(2) ** exponent
    unit = Fraction(2) ** max(exponent - 23, -149)
    result = round(value / unit) * unit  # of two equally near integers, round() takes the even one
    return float(result) if abs(result) < 2**128 else float("inf") * (1 if result > 0 else -1)


def test_the_reference_fuses():
    rng = np.random.default_rng(3)
    words = rng.integers(0, 2**32, (3, 3000), dtype=np.uint32)
    words[:, ::3] &= 0xFFFFF000  # short products, so that ties happen
    words[:, 1::3] = words[:, 1::3] & 0x807FFFFF | rng.integers(120, 135, (3, 1000), dtype=np.uint32) << 23
    a, b, c = words.view(np.float32)
    with np.errstate(all="ignore"):
        c[2::4] = (-np.float64(a) * b).astype(np.float32)[2::4]  # cancellation
        fused = ref.fma(a, b, c)
    for x, y, z, got in zip(a.tolist(), b.tolist(), c.tolist(), fused.tolist(), strict=True):
        if np.isfinite([x, y, z]).all():
            assert got == rounded(Fraction(x) * Fraction(y) + Fraction(z))
    # A double rounding gets this one wrong: the sum is just above a tie that double cannot see.
    assert ref.fma(1 + 2.0**-12, 1 + 2.0**-12, 2.0**-60) == np.float32(1 + 2.0**-11 + 2.0**-23)


@pytest.mark.parametrize(("zero", "bits"), list(product(KINDS, WIDTHS)))
def test_every_format(isa, zero, bits):
    for i, (group, mode) in enumerate(product(GROUPS, MODES)):
        format = ref.Format(bits, group, zero, SCALES[i % 3])
        x, columns, want = expected(format, 100 if group in (1, 3, 8) else 300, 9, mode)
        got = pyqbits.matmul(columns, pyqbits.quantize(x, format.name).T, activations=mode)
        assert floats_equal(got, want), (format, mode)


@pytest.mark.parametrize("cols", [1, 3, 4, 5, 31, 32, 33, 63, 65, 255, 256, 257, 513, 1030])
def test_ragged_rows(isa, cols):
    for zero, (bits, group) in product(KINDS, ((4, 32), (3, 7), (8, 300), (1, "row"), (5, "tensor"))):
        format = ref.Format(bits, group, zero)
        for mode in MODES:
            x, columns, want = expected(format, cols, 5, mode)
            got = pyqbits.matmul(columns, pyqbits.quantize(x, format.name).T, activations=mode)
            assert floats_equal(got, want), (format, mode)


@settings(max_examples=60)
@given(data=st.data())
def test_any_product(data):
    group = data.draw(
        st.one_of(st.integers(1, 80), st.integers(200, 600), st.sampled_from(["row", "tensor"]))
    )
    format = ref.Format(
        data.draw(st.integers(1, 8)),
        group,
        data.draw(st.sampled_from(KINDS)),
        data.draw(st.sampled_from(SCALES)),
    )
    rows, cols, count = (data.draw(st.integers(1, most)) for most in (40, 700, 20))
    mode = data.draw(st.sampled_from(MODES))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    spread = data.draw(st.sampled_from([0, 10, 100]))
    x = rng.standard_normal((rows, cols)).astype(np.float32)
    columns = rng.standard_normal((count, cols)) * 2.0 ** rng.integers(-spread, spread + 1, (count, cols))
    columns = columns.astype(np.float32)
    want = ref.multiply(ref.quantize(x, format), columns, mode)
    for isa in pyqbits.available_isas():
        with pyqbits.use_isa(isa):
            got = pyqbits.matmul(columns, pyqbits.quantize(x, format.name).T, activations=mode)
        assert floats_equal(got, want), (isa, format, mode)


@pytest.mark.parametrize(("cols", "group"), [(3333, 32), (700, 1), (2100, 5), (3333, 300), (5000, "row")])
def test_longer_than_any_workspace(isa, cols, group):
    """The library cuts columns and rows into chunks; no result may notice."""
    for zero, bits, mode, count in (
        (None, 4, "int24", 67),
        ("min", 3, "int16", 130),
        ("point", 8, "int8", 65),
    ):
        format = ref.Format(bits, group, zero)
        x, columns, want = expected(format, cols, count, mode)
        q = pyqbits.quantize(x, format.name)
        assert floats_equal(pyqbits.matmul(columns, q.T, activations=mode), want), (format, mode)
        transposed = pyqbits.matmul(q, columns.T, activations=mode)
        assert floats_equal(np.ascontiguousarray(transposed.T), want), (format, mode)
        assert floats_equal(pyqbits.matmul(columns[-1], q.T, activations=mode), want[-1]), (format, mode)


@pytest.mark.parametrize("zero", KINDS)
def test_extreme_integers(isa, zero):
    """The largest codes times the largest digits: sums that a saturating or 16-bit step would spoil."""
    cols = 512
    k = np.arange(cols)
    x = np.array([np.where(k % 256, 127.0, -128.0), np.full(cols, 255.0), np.where(k % 256, 0.0, 255.0)])
    x[1:, 0] = 0 if zero else x[1:, 0]
    columns = np.array(
        [np.full(cols, 1.0), np.full(cols, -1.0), np.where(k % 2, 1.0, -1.0), np.sin(k)], np.float32
    )
    for group, mode in product((32, 256, "row"), MODES):
        format = ref.Format(8, group, zero, "float32")
        want = ref.multiply(ref.quantize(x, format), columns, mode)
        got = pyqbits.matmul(columns, pyqbits.quantize(x, format.name).T, activations=mode)
        assert floats_equal(got, want), (format, mode)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64], ids=str)
def test_activation_types_and_layouts(isa, dtype):
    format = ref.Format(4, 32)
    x, want_q = quantized(format, 96)
    q = pyqbits.quantize(x, format.name)
    columns = np.clip(activations(9, 96), -1e4, 1e4).astype(dtype)
    want = ref.multiply(want_q, columns)
    padded = np.zeros((18, 288), dtype)
    padded[::2, ::3] = columns
    for view in (columns, padded[::2, ::3], np.asfortranarray(columns), columns[::-1, ::-1][::-1, ::-1]):
        assert floats_equal(view @ q.T, want)
        assert floats_equal(q @ view.T, np.ascontiguousarray(want.T))
    out = np.full((9, len(x)), 7, np.float32)
    assert pyqbits.matmul(columns, q.T, out=out) is out
    assert floats_equal(out, want)
    stack = np.stack([columns, columns * dtype(2)])
    assert floats_equal(stack @ q.T, np.stack([want, ref.multiply(want_q, stack[1])]))
    assert floats_equal(q @ stack.swapaxes(1, 2), np.stack([want.T, ref.multiply(want_q, stack[1]).T]))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["int4_g32", "uint3_g7", "uint8_row", "uint5_g300_z", "int1_tensor"])
def test_a_column_does_not_know_its_batch(isa, name, mode):
    rng = np.random.default_rng(5)
    q = pyqbits.quantize(rng.standard_normal((37, 350)), name)
    columns = activations(41, 350)
    whole = pyqbits.matmul(columns, q.T, activations=mode)
    for i, column in enumerate(columns):
        assert floats_equal(pyqbits.matmul(q, column, activations=mode), whole[i])
    for count in (2, 3, 4, 5, 7, 8, 16, 17, 33):
        assert floats_equal(pyqbits.matmul(columns[-count:], q.T, activations=mode), whole[-count:])
        transposed = pyqbits.matmul(q, columns[:count].T, activations=mode)
        assert floats_equal(np.ascontiguousarray(transposed.T), whole[:count])
    for rows in (1, 2, 15, 16, 17, 31):  # nor a row its neighbours
        part = pyqbits.matmul(columns, q[5 : 5 + rows].T, activations=mode)
        assert floats_equal(part, np.ascontiguousarray(whole[:, 5 : 5 + rows]))


def parts(q):
    """|d (q - z)| + |m| per element: what rounding errors are relative to."""
    spread = [np.abs(np.float64(q.spread(p))) for p in (q.scales, q.mins)]
    return spread[0] * np.abs(q.integers()) + spread[1]


@pytest.mark.parametrize("zero", KINDS)
def test_agrees_with_the_dequantized_product(zero):
    """To float32 accuracy by default; the coarser modes within half a digit of each block's largest value."""
    rng = np.random.default_rng(8)
    for bits, group, cols in product((1, 2, 4, 8), (1, 32, 100, "row"), (90, 2048)):
        format = ref.Format(bits, group, zero)
        x = rng.standard_normal((24, cols)).astype(np.float32)
        q = pyqbits.quantize(x, format.name)
        weights = np.float64(q.dequantize())
        size = parts(ref.quantize(x, format))
        for heavy, columns in enumerate(
            (rng.standard_normal((6, cols)), rng.standard_normal((6, cols)) ** 5)
        ):
            columns = columns.astype(np.float32)
            exact = columns @ weights.T
            scale = np.abs(columns) @ size.T
            error = np.abs(columns @ q.T - exact)
            if not heavy and bits > 1:  # (one bit: most weights may be zero)
                assert (error <= 5e-7 * scale).all(), (format, (error / scale).max())
            for mode, top in ref.TOPS.items():
                allowed = (len(ref.segments(format, cols)) + 4) * 2.0**-24 * scale
                for start, stop, _, first, last in ref.segments(format, cols):
                    step = np.abs(columns[:, first:last]).max(axis=1) / top
                    allowed += np.outer(step * (0.5 + top * 2.0**-23), size[:, start:stop].sum(axis=1))
                error = np.abs(pyqbits.matmul(columns, q.T, activations=mode) - exact)
                assert (error <= allowed).all(), (format, mode)


@pytest.mark.parametrize("mode", MODES)
def test_not_finite(isa, mode):
    """NaN and infinity spoil their own column only, with one bit pattern."""
    q = pyqbits.quantize(np.random.default_rng(1).standard_normal((19, 300)), "uint4_g32")
    columns = activations(12, 300)
    clean = pyqbits.matmul(columns, q.T, activations=mode)
    for bad in (np.nan, np.inf, -np.inf, np.uint32(0xFFC12345).view(np.float32)):
        for at in (0, 131, 299):
            dirty = columns.copy()
            dirty[3, at] = dirty[11, at] = bad
            got = pyqbits.matmul(dirty, q.T, activations=mode)
            assert (got[[3, 11]].view(np.uint32) == 0x7FC00000).all()
            keep = np.delete(np.arange(12), [3, 11])
            assert floats_equal(got[keep], clean[keep])
    wide = activations(3, 300).astype(np.float64)
    wide[1, 7] = 1e300  # infinite as a float32
    assert (pyqbits.matmul(wide, q.T, activations=mode)[1].view(np.uint32) == 0x7FC00000).all()


def test_overflow_gives_infinity_or_the_one_nan(isa):
    x = np.array([[3e38, -3e38], [3e38, 3e38]], np.float32)
    format = ref.Format(8, 2, None, "float32")
    columns = np.full((1, 2), 3e38, np.float32)
    for mode in MODES:
        want = ref.multiply(ref.quantize(x, format), columns, mode)
        got = pyqbits.matmul(columns, pyqbits.quantize(x, format.name).T, activations=mode)
        assert floats_equal(got, want)
    assert np.isinf(want[0, 1])


def test_empty_products(isa):
    q = pyqbits.quantize(np.zeros((5, 0), np.float32), "int4_g32")
    assert floats_equal(q @ np.zeros((0, 3), np.float32), np.zeros((5, 3), np.float32))
    q = pyqbits.quantize(np.ones((5, 40), np.float32), "int4_g32")
    assert (q @ np.zeros((40, 0), np.float32)).shape == (5, 0)
    assert (np.zeros((0, 40), np.float32) @ q.T).shape == (0, 5)
    q = pyqbits.quantize(np.zeros((0, 40), np.float32), "int4_g32")
    assert (q @ np.ones((40, 3), np.float32)).shape == (0, 3)


@lru_cache(maxsize=1024)
def expected_dots(a, b, cols):
    (xa, qa), (xb, qb) = (quantized(f, cols, 2 ** (f.bits - 1)) for f in (a, b))
    return xa, xb, ref.vecdot(qa, qb)


DOTS = (
    (1, 70), (20, 1), (20, 300), (32, 777), (100, 2500), (256, 600), (300, 1300), (1500, 3100), ("row", 1100),
    ("tensor", 300),
)  # fmt: skip


@pytest.mark.parametrize(("left", "right"), list(product(KINDS, KINDS)))
def test_vecdot(isa, left, right):
    for group, cols in DOTS:
        for bits in ((8, 8), (4, 1), (2, 5)):
            a, b = ref.Format(bits[0], group, left), ref.Format(bits[1], group, right, "bfloat16")
            xa, xb, want = expected_dots(a, b, cols)
            got = pyqbits.vecdot(pyqbits.quantize(xa, a.name), pyqbits.quantize(xb, b.name))
            assert floats_equal(got, want), (a, b, cols)


def test_vecdot_broadcasts(isa):
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((4, 1, 70)), rng.standard_normal((5, 70))
    a, b = pyqbits.quantize(x, "int4_g32"), pyqbits.quantize(y, "uint3_g32")
    got = pyqbits.vecdot(a, b)
    assert got.shape == (4, 5) and got.dtype == np.float32
    for i, j in np.ndindex(4, 5):
        assert got[i, j] == pyqbits.vecdot(a[i, 0], b[j])
    exact = np.float64(a.dequantize())[:, 0] @ np.float64(b.dequantize()).T
    assert np.allclose(got, exact, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError):
        pyqbits.vecdot(a, pyqbits.quantize(y, "int4_g16"))
    with pytest.raises(ValueError):
        pyqbits.vecdot(a, pyqbits.quantize(y[:, :69], "int4_g32"))


@pytest.mark.parametrize(("left", "right"), [("int4_g32", "uint3_g32"), ("int8_row", "uint2_row_z")])
def test_vecdot_of_many_rows(isa, left, right):
    """The bits of each pair alone, whatever the batch and the number of threads."""
    rng = np.random.default_rng(3)
    a = pyqbits.quantize(rng.standard_normal((700, 1100)), left)
    b = pyqbits.quantize(rng.standard_normal((700, 1100)), right)
    pairs = np.array([pyqbits.vecdot(a[i], b[i]) for i in range(700)])
    query = np.array([pyqbits.vecdot(a[i], b[7]) for i in range(700)])
    for threads in (1, 2, 3):
        with pyqbits.threads(threads):
            assert floats_equal(pyqbits.vecdot(a, b), pairs)
            assert floats_equal(pyqbits.vecdot(a[:3], b[:3]), pairs[:3])
            assert floats_equal(pyqbits.vecdot(a, b[7]), query)
            assert floats_equal(pyqbits.vecdot(b[7:8], a), query)


@pytest.mark.parametrize("bad", ["int32", "", None, 8])
def test_unknown_activations(bad):
    q = pyqbits.quantize(np.ones((2, 8), np.float32), "int4_g32")
    with pytest.raises((ValueError, TypeError), match=r"int8.*int16.*int24"):
        pyqbits.matmul(q, np.ones(8, np.float32), activations=bad)

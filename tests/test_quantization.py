"""quantize, dequantize and compare against the reference: the same bits in every format on every tier."""

import math
from itertools import product

import ml_dtypes
import numpy as np
import pytest
import reference as ref
from cases import GROUPS, KINDS, SCALES, WIDTHS, adversarial, floats_equal, quantized
from hypothesis import given, settings
from hypothesis import strategies as st

import pyqbits

FORMATS = list(product(KINDS, WIDTHS, SCALES))
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def check(got, want, what):
    """got: a library array; want: what the reference made of the same matrix."""
    codes = got.codes().reshape(want.levels.shape)
    assert codes.dtype == (np.int8 if want.format.zero is None else np.uint8)
    assert np.array_equal(codes, want.codes), what
    assert floats_equal(got.scales.ravel(), want.scales.ravel()), what
    if want.format.zero == "min":
        assert floats_equal(got.mins.ravel(), want.mins.ravel()), what
    if want.format.zero == "point":
        assert floats_equal(got.zeros.ravel(), want.zeros.ravel()), what
    stored = [array.tobytes() for array in want.stored().values()]
    assert [array.tobytes() for array in got.buffers.values()] == stored, what
    assert floats_equal(got.dequantize().reshape(want.levels.shape), ref.dequantize(want)), what


@pytest.mark.parametrize(("zero", "bits", "scale"), FORMATS)
def test_every_format(isa, zero, bits, scale):
    for group in GROUPS:
        format = ref.Format(bits, group, zero, scale)
        x, want = quantized(format, 300, 2 ** (bits - 1))
        check(pyqbits.quantize(x, format.name), want, format)


@pytest.mark.parametrize("cols", [1, 2, 7, 15, 16, 17, 31, 33, 47, 255, 257, 640, 1031])
def test_ragged_rows(isa, cols):
    for zero, bits, group in product(KINDS, (1, 3, 4, 8), (1, 7, 16, 32, 96, 300, "row", "tensor")):
        format = ref.Format(bits, group, zero)
        x, want = quantized(format, cols, 2 ** (bits - 1))
        check(pyqbits.quantize(x, format.name), want, format)
    for dtype in (np.float16, BFLOAT16, np.float64):  # narrowed once from the float32 values
        got = pyqbits.quantize(x, "uint3_g16").dequantize(dtype)
        assert got.dtype == dtype
        with np.errstate(over="ignore"):
            assert floats_equal(got, ref.dequantize(ref.quantize(x, ref.Format(3, 16, "min"))).astype(dtype))


@pytest.mark.parametrize("zero", KINDS)
def test_rows_and_groups_longer_than_a_tile(isa, zero):
    """The library works on tiles of some thousand elements; no group may notice."""
    for cols, group in (
        (2049, 64),
        (5003, 7),
        (5003, 1000),
        (8200, 2048),
        (8200, 3000),
        (9001, "row"),
        (2049, "tensor"),
    ):
        for bits in (1, 3, 8):
            format = ref.Format(bits, group, zero)
            x, want = quantized(format, cols, 2 ** (bits - 1))
            q = pyqbits.quantize(x, format.name)
            check(q, want, format)
            report = pyqbits.compare(x, q)
            flat = np.ravel_multi_index(report.max_index, x.shape)
            assert (report.sum_xx, report.sum_ee, report.max_abs, flat) == ref.compare(x, want)


@pytest.mark.parametrize(("name", "cols"), [("int8_g32", 4096), ("uint7_g48_z", 4099), ("int8_row", 4099)])
def test_large_outputs_are_made_of_their_parts(isa, name, cols):
    """Above 4 MiB codes are written past the cache, here to any place within a line of it."""
    x = np.random.default_rng(3).standard_normal((1201, cols), np.float32)
    whole = pyqbits.quantize(x, name).buffers
    parts = [pyqbits.quantize(x[row : row + 401], name).buffers for row in range(0, 1201, 401)]
    assert whole["codes"].nbytes > 4 << 20 > parts[0]["codes"].nbytes
    for kind, array in whole.items():
        assert array.tobytes() == b"".join(part[kind].tobytes() for part in parts), kind


def test_extremes_far_apart(isa):
    """Which of two equal extremes comes first decides the sign, also when tiles lie between them."""
    x = np.random.default_rng(6).uniform(-1, 1, (4, 9000)).astype(np.float32)
    for row, (positive, negative) in enumerate(((0, 8999), (8999, 0), (2047, 2048), (2048, 2047))):
        x[row, positive], x[row, negative] = 2, -2
    for group in (4096, 9000, "row"):
        format = ref.Format(4, group)
        check(pyqbits.quantize(x, format.name), ref.quantize(x, format), format)
    for row in range(4):
        format = ref.Format(4, "tensor")
        check(pyqbits.quantize(x[row:], format.name), ref.quantize(x[row:], format), row)


@pytest.mark.parametrize("dtype", [np.float16, BFLOAT16, np.float32, np.float64], ids=str)
def test_input_types_and_strides(isa, dtype):
    with np.errstate(over="ignore"):
        x = adversarial(130).astype(dtype)
    x[~np.isfinite(x.astype(np.float32))] = 1
    padded = np.zeros((2 * len(x), 262), dtype)
    padded[::2, 1:261:2] = x
    views = {
        "whole": x,
        "gaps": padded[::2, 1:261:2],
        "reversed": x[::-1, ::-1],
        "columns": np.asfortranarray(x),
        "swapped": x.astype(x.dtype.newbyteorder()) if dtype is not BFLOAT16 else x,
        "one row": x[3:4],
        "broadcast": np.broadcast_to(x[5], (9, 130)),
    }
    for format in (
        ref.Format(4),
        ref.Format(3, 20, "min"),
        ref.Format(1, "row"),
        ref.Format(8, "tensor", "point"),
    ):
        for what, view in views.items():
            check(pyqbits.quantize(view, format.name), ref.quantize(view, format), (format, what))
        check(pyqbits.quantize(x[7], format.name), ref.quantize(x[7:8], format), (format, "one dimension"))


def test_other_axes(isa):
    x = adversarial(120)[:20].reshape(4, 5, 120)
    format = ref.Format(5, 32, "point")
    for axis in (0, 1, -1):
        moved = np.moveaxis(x, axis, -1)
        got = pyqbits.quantize(x, format.name, axis=axis)
        want = ref.quantize(moved.reshape(-1, moved.shape[-1]), format)
        values = np.moveaxis(ref.dequantize(want).reshape(moved.shape), -1, axis)
        assert got.shape == x.shape
        assert np.array_equal(got.dequantize(), values)


@settings(max_examples=60)
@given(data=st.data())
def test_any_shape_and_values(data):
    bits = data.draw(st.integers(1, 8))
    group = data.draw(st.one_of(st.integers(1, 80), st.sampled_from(["row", "tensor"])))
    format = ref.Format(bits, group, data.draw(st.sampled_from(KINDS)), data.draw(st.sampled_from(SCALES)))
    rows, cols = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 90))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    spread = data.draw(st.sampled_from([0, 4, 40]))
    x = rng.standard_normal((rows, cols)) * 2.0 ** rng.integers(-spread, spread + 1, (rows, cols))
    x = np.clip(np.where(rng.random((rows, cols)) < 0.2, 0, x), -32000, 32000).astype(np.float32)
    want = ref.quantize(x, format)
    for isa in pyqbits.available_isas():
        with pyqbits.use_isa(isa):
            check(pyqbits.quantize(x, format.name), want, (isa, format))


@pytest.mark.parametrize("zero", KINDS)
def test_error_bounds(zero):
    """Half a step, and what the rounding of the parameters adds; a step where symmetric codes clip."""
    roundoff = {
        "float16": (2.0**-11, 2.0**-25),
        "bfloat16": (2.0**-8, 2.0**-134),
        "float32": (2.0**-24, 2.0**-150),
    }
    for bits, group, scale in product(range(2, 9), (16, 100, "row"), SCALES):
        format = ref.Format(bits, group, zero, scale)
        x = adversarial(300, scale, 2 ** (bits - 1))
        q = pyqbits.quantize(x, format.name)
        unit, tiny = roundoff[scale]
        top = 2**bits - 1
        mins = np.zeros_like(q.scales) if q.mins is None else q.mins
        d, m = (np.abs(np.repeat(np.float64(p), format.step(300), axis=1)[:, :300]) for p in (q.scales, mins))
        value = np.float64(q.dequantize())
        bound = d / 2 + top * (d * unit + tiny) + 2.0**-22 * (np.abs(value) + m + top * d)
        if zero is None:
            bound += np.where(q.codes() == 2 ** (bits - 1) - 1, d / 2, 0)
        if zero == "min":
            bound += m * unit + tiny
        bound += np.where(d == 0, top * 2.0**-127, 0)  # counted as zero
        assert (np.abs(x - value) <= bound).all(), format


@pytest.mark.parametrize("zero", KINDS)
def test_scale_overflow_names_the_group(isa, zero):
    x = np.ones((5, 100), np.float32)
    x[3, 70] = 65520.0 * 256 if zero is None else 65520.0 * 300
    with pytest.raises(ValueError, match=r"group \(3, 2\) overflows float16.*bfloat16 or float32"):
        pyqbits.quantize(x, pyqbits.affine(8, 32, zero=zero))
    roomy = ref.Format(8, 32, zero, "bfloat16")
    check(pyqbits.quantize(x, roomy.name), ref.quantize(x, roomy), roomy)
    with pytest.raises(ref.ScaleRangeError) as caught:
        ref.quantize(x, ref.Format(8, 32, zero))
    assert caught.value.index == 364
    wide = np.array([[-3e38, 3e38]], np.float32)  # a range that overflows float32 itself
    if zero:
        with pytest.raises(ValueError, match=r"group \(0, 0\)"):
            pyqbits.quantize(wide, pyqbits.affine(4, 32, zero=zero, scale="float32"))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [np.float16, BFLOAT16, np.float32, np.float64], ids=str)
def test_not_finite(isa, dtype, bad):
    x = np.ones((6, 7, 70)).astype(dtype)
    x[4, 2, 69] = x[4, 3, 1] = x[5, 0, 0] = bad
    for format in ("int4_g32", "uint1_row", "uint3_tensor_z"):
        with pytest.raises(ValueError, match=r"\(4, 2, 69\)"):
            pyqbits.quantize(x, format)
        with pytest.raises(ValueError, match=r"\(4, 1, 3\)"):  # in the order of that array
            pyqbits.quantize(x.swapaxes(1, 2), format, axis=1)
        zeroed = np.where(np.isfinite(x.astype(np.float64)), x, x.dtype.type(0))
        got = pyqbits.quantize(x, format, nonfinite="zero")
        want = pyqbits.quantize(zeroed, format)
        assert got.tobytes() == want.tobytes()
    with pytest.raises(ValueError, match="nonfinite"):
        pyqbits.quantize(x, "int4_g32", nonfinite="maybe")


def test_too_large_for_float32_is_not_finite(isa):
    x = np.ones((2, 40))
    x[1, 3] = 1e39
    with pytest.raises(ValueError, match=r"\(1, 3\)"):
        pyqbits.quantize(x, "int4_g32_f32")


def test_compare(isa):
    for cols, bits, zero in product((1, 15, 16, 17, 300), (1, 4, 8), KINDS):
        format = ref.Format(bits, 20, zero)
        x, want = quantized(format, cols, 2 ** (bits - 1))
        report = pyqbits.compare(x, pyqbits.quantize(x, format.name))
        sum_xx, sum_ee, largest, index = ref.compare(x, want)
        assert report.sum_xx == sum_xx and report.sum_ee == sum_ee
        assert report.max_abs == largest
        assert report.max_index == np.unravel_index(index, x.shape)
        assert math.isclose(report.rmse, math.sqrt(sum_ee / x.size))
        if sum_xx:
            assert math.isclose(report.relative_rmse, math.sqrt(sum_ee / sum_xx))


@pytest.mark.parametrize("rows", [63, 64, 65, 200])
def test_compare_does_not_depend_on_threads(isa, rows, rng):
    x = rng.standard_normal((rows, 2000)).astype(np.float32)
    x[rows // 2 :, 7] = 5  # of equal errors the first
    q = pyqbits.quantize(x, "int4_g20")
    with pyqbits.threads(1):
        alone = pyqbits.compare(x, q)
    value = q.dequantize().astype(np.float64)
    runs = [slice(i, i + -(-rows // 64)) for i in range(0, rows, -(-rows // 64))]
    sums = []
    for square in (x.astype(np.float64) ** 2, (x - value) ** 2):
        lanes = [ref.ordered_sum(ref.ordered_sum(square[run].reshape(-1, 16).T)) for run in runs]
        sums.append(ref.ordered_sum(lanes))
    assert [alone.sum_xx, alone.sum_ee] == sums
    assert alone.max_index == np.unravel_index(np.abs(x - value).argmax(), x.shape)
    for count in (2, 3):
        with pyqbits.threads(count):
            assert pyqbits.compare(x, q) == alone


def test_take_and_slices_dequantize_the_same(isa):
    for zero, group, cols in product(KINDS, (8, 20, 32, "row", "tensor"), (33, 128)):
        format = ref.Format(3, group, zero)
        x, want = quantized(format, cols, 4)
        q, values = pyqbits.quantize(x, format.name), ref.dequantize(want)
        rows = np.array([5, 0, 22, 5, -1, 17])
        assert floats_equal(q.take(rows), values[rows])
        assert floats_equal(q[3:9].dequantize(), values[3:9])
        assert floats_equal(q[11].dequantize(), values[11])
        assert floats_equal(q[rows].dequantize(), values[rows])


@pytest.mark.parametrize("zero", [None, "min", "point"])
def test_no_finite_value_becomes_infinite(isa, zero):
    """A scale that rounds up may be finite while the outermost value is not: refused as well."""
    x = np.full((1, 32), 1.0, np.float32)
    x[0, 3] = np.finfo(np.float32).max
    with pytest.raises(ValueError, match="overflows bfloat16"):
        pyqbits.quantize(x, pyqbits.affine(4, 32, zero=zero, scale="bfloat16"))

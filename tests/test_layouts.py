"""quantize and compare give the same whatever the memory layout, byte order and axis of their input."""

import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyqbits as qb


@st.composite
def layouts(draw):
    """Floats of some dtype, byte order and memory layout, an axis, and an importance that broadcasts."""
    dtype = draw(st.sampled_from([np.float32, np.float16, np.float64, ml_dtypes.bfloat16]))
    dtype = np.dtype(dtype)
    if dtype.kind == "f" and draw(st.booleans()):
        dtype = dtype.newbyteorder()
    shape = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    steps = [draw(st.sampled_from([1, 1, 2, -1, -3])) for _ in shape]
    full = [n * abs(step) for n, step in zip(shape, steps, strict=True)]
    x = np.random.default_rng(draw(st.integers(0, 99))).standard_normal(full).astype(dtype)
    order = draw(st.permutations(range(len(shape))))
    x = x[tuple(slice(None, None, step) for step in steps)].transpose(order)
    if draw(st.booleans()):
        x = np.broadcast_to(x[:1], x.shape)
    importance = None
    if draw(st.booleans()):
        kept = x.shape[draw(st.integers(0, x.ndim)) :]
        importance = np.random.default_rng(1).random([n if draw(st.booleans()) else 1 for n in kept])
    return x, draw(st.integers(-x.ndim, x.ndim - 1)), importance


@given(layouts(), st.sampled_from(["uint3_g4", "int4_row", "uint2_tensor"]))
def test_layouts(isa, layout, format):
    x, axis, importance = layout
    plain = np.ascontiguousarray(np.moveaxis(x, axis, -1)).astype(x.dtype.newbyteorder("="))
    weights = importance
    if importance is not None:
        weights = np.ascontiguousarray(np.moveaxis(np.broadcast_to(importance, x.shape), axis, -1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyqbits.quantization._BLOCK", 7)
        q = qb.quantize(x, format, axis=axis, search="mse", importance=importance)
    expected = qb.quantize(plain, format, search="mse", importance=weights)
    assert all(np.array_equal(q.buffers[name], expected.buffers[name]) for name in q.buffers)
    assert np.array_equal(np.moveaxis(q.dequantize(), axis, -1), expected.dequantize())
    report, same_report = qb.compare(x, q), qb.compare(plain, expected)
    assert (report.sum_ee, report.sum_xx, report.max_abs) == (
        same_report.sum_ee, same_report.sum_xx, same_report.max_abs
    )  # fmt: skip


@given(layouts(), st.data())
def test_the_first_value_that_is_not_finite_is_named(layout, data):
    x, axis, _ = layout
    x = x.copy()
    bad = sorted(data.draw(st.sets(st.integers(0, x.size - 1), min_size=1, max_size=3)))
    x.flat[bad] = np.nan
    index = tuple(int(i) for i in np.unravel_index(bad[0], x.shape))
    with pytest.raises(ValueError) as error:
        qb.quantize(x, "int4_g4", axis=axis)
    assert f"x at index {index} is nan, not finite" in str(error.value)
    zeroed = np.where(np.isnan(x), x.dtype.type(0), x).astype(x.dtype)
    taken = qb.quantize(x, "int4_g4", axis=axis, nonfinite="zero")
    assert taken.tobytes() == qb.quantize(zeroed, "int4_g4", axis=axis).tobytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16, ">f4"])
def test_the_input_is_not_copied_whole(dtype):
    """Neither into float32, nor where strides and byte order make a copy of rows needed."""
    x = np.zeros((64, 40, 2048), dtype)[:, ::2]
    for axis, importance in ((2, None), (0, None), (2, np.ones((64, 1, 2048), np.float32))):
        tracemalloc.start()
        q = qb.quantize(x, "int4_g32", axis=axis, importance=importance)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak - q.nbytes < x.size  # a byte an element would be more

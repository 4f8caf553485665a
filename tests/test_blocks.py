"""Block types: what their bytes mean, everywhere that reads them."""

import copy
import pickle
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
import reference as ref
import reference_blocks as blocks
import reference_rules as rules
from cases import activations, awkward, floats_equal

import pyqbits as qb
from pyqbits import formats

NAMES = tuple(blocks.SIZES)
SEGMENTS = {  # elements that share a scale
    "q1_0": 128, "q2_0": 64, "q2_K": 16, "q3_K": 16, "q6_K": 16, "q8_K": 256, "iq1_m": 16, "iq2_xs": 16,
    "iq2_s": 16, "tq1_0": 256, "tq2_0": 256, "nvfp4": 16,
}  # fmt: skip
WITH_MIN = {"q4_1", "q5_1", "q2_K", "q4_K", "q5_K"}
UNITS = {"iq1_s": 8, "iq1_m": 8}  # what an integer code counts, as a fraction of 1


def random_rows(name, rows, cols, rng, sane=True):
    """Bytes of random blocks; sane: all halves and floats in them are finite, by clearing an exponent bit."""
    elements, size = blocks.SIZES[name]
    data = rng.integers(0, 256, (rows, cols // elements, size), dtype=np.uint8)
    if sane:
        places = {"q8_K": [3], "q2_K": [81, 83], "q3_K": [109], "q6_K": [209], "tq1_0": [53], "tq2_0": [65]}
        usual = [] if name in ("mxfp4", "nvfp4") else [1, 3]
        data[:, :, [49, 51, 53, 55] if name == "iq1_m" else places.get(name, usual)] &= 0xBF
    if name == "mxfp4" and sane:
        data[:, :, 0] = 120 + data[:, :, 0] % 16
    return data.reshape(rows, -1)


def decoded(name, data, cols):
    """Codes, scales, minima of rows of blocks, as the reference reads them."""
    codes, d, m = blocks.decode(name, data.reshape(-1, blocks.SIZES[name][1]))
    return (None if part is None else part.reshape(len(data), cols) for part in (codes, d, m))


def same_values(got, want):
    """Equal bits, except that any NaN equals any other."""
    nan = np.isnan(want)
    assert (np.isnan(got) == nan).all()
    return floats_equal(np.where(nan, 0, got), np.where(nan, 0, want))


# ---- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_values_of_other_programs(isa, vectors, name):
    found = 0
    for kind in (name, f"rand_{name}"):
        if f"values/{kind}" not in vectors:
            continue
        packed = vectors[f"packed/{kind}"]
        data = packed[vectors["rows_kept"]] if kind == name else packed
        q = qb.QArray.from_bytes(data, name, (len(data), 256))
        assert same_values(q.dequantize(), vectors[f"values/{kind}"])
        found += 1
    assert found == 2 or name in ("q8_1", "q8_K")


@pytest.mark.parametrize("name", NAMES)
def test_values_of_any_bytes(isa, name, rng):
    for sane in (True, False):
        data = random_rows(name, 7, 768, rng, sane)
        q = qb.QArray.from_bytes(data, name, (7, 768))
        want = blocks.values(name, data.reshape(-1, blocks.SIZES[name][1])).reshape(7, 768)
        got = q.dequantize()
        assert same_values(got, want)
        assert (got[np.isnan(got)].view(np.uint32) == 0x7FC00000).all()
        assert floats_equal(q.take([6, 0, 6]), got[[6, 0, 6]])
        assert floats_equal(q.dequantize(np.float64), got.astype(np.float64))
        assert floats_equal(q[2:4].dequantize(), got[2:4])


@pytest.mark.parametrize("name", NAMES)
def test_values_as_the_gguf_package_reads_them(name, rng):
    quants = pytest.importorskip("gguf.quants")
    kind = getattr(pytest.importorskip("gguf").GGMLQuantizationType, name.upper(), None)
    if kind is None or name in ("q8_1", "q8_K") or kind not in quants._type_traits:
        pytest.skip(f"the gguf package does not read {name}")
    for sane in (True, False):
        data = random_rows(name, 64, 512, rng, sane)
        with np.errstate(all="ignore"):
            want = quants.dequantize(data, kind)
        assert same_values(qb.QArray.from_bytes(data, name, (64, 512)).dequantize(), want)


@pytest.mark.parametrize("name", NAMES)
def test_codes_and_parameters(isa, name, rng):
    data = random_rows(name, 3, 512, rng)
    q = qb.QArray.from_bytes(data, name, (3, 512))
    codes, d, m = decoded(name, data, 512)
    group, unit = q.format.step(512), UNITS.get(name, 1)
    assert group == SEGMENTS.get(name, 32)
    zeros = 0 if q.zeros is None else np.repeat(q.zeros, group, 1).astype(int)
    assert np.array_equal(q.codes() - zeros, codes)
    assert q.codes().dtype == (np.int8 if q.format.zero is None else np.uint8)
    assert floats_equal(q.scales, d[:, ::group]) and q.scales.shape == (3, 512 // group)
    assert (q.mins is not None) == (m is not None) == (name in WITH_MIN)
    if m is not None:
        assert floats_equal(q.mins, m[:, ::group])
    assert unit == 1 or np.abs(codes).max() == unit + 1


# ---- arithmetic -----------------------------------------------------------------------------------


def reference_matrix(name, data, cols):
    codes, d, m = decoded(name, data, cols)
    group = SEGMENTS.get(name, 32)
    format = ref.Format(8, group, None if m is None else "min")
    mins = np.zeros((1, 1), np.float32) if m is None else m[:, ::group]
    return SimpleNamespace(
        format=format, levels=codes, scales=d[:, ::group], mins=mins, integers=lambda: codes.astype(np.int64)
    )


@pytest.mark.parametrize("name", NAMES)
def test_products(isa, name, rng):
    data = random_rows(name, 19, 1280, rng)
    q = qb.QArray.from_bytes(data, name, (19, 1280))
    matrix, x = reference_matrix(name, data, 1280), activations(5, 1280)
    for mode in ref.TOPS:
        want = ref.multiply(matrix, x, mode)
        assert floats_equal(qb.matmul(x, q.T, activations=mode), want)
        assert floats_equal(qb.matmul(q, x[0], activations=mode), want[0])
    with np.errstate(all="ignore"):
        assert floats_equal(qb.vecdot(q, q), ref.vecdot(matrix, matrix))
    assert floats_equal(np.ascontiguousarray(np.diagonal(q @ q.T)), qb.vecdot(q, q))


@pytest.mark.parametrize("name", ["q4_K", "q6_K", "q1_0", "mxfp4"])
def test_long_rows_and_threads(name, rng):
    """Stretches of activations end inside blocks, parts of threads inside nothing."""
    cols = 256 * 75
    data = random_rows(name, 33, cols, rng)
    q = qb.QArray.from_bytes(data, name, (33, cols))
    x = rng.standard_normal((70, cols)).astype(np.float32)
    want = ref.multiply(reference_matrix(name, data, cols), x[:2], "int24")
    for count in (1, 2):
        with qb.threads(count):
            got = x @ q.T
            assert floats_equal(got[:2], want) and floats_equal(x[69] @ q.T, got[69])
            values = blocks.values(name, data.reshape(-1, blocks.SIZES[name][1])).reshape(33, cols)
            assert floats_equal(q.dequantize(), values)


def test_products_with_affine_formats(rng):
    """Groups are all that two operands share."""
    x = rng.standard_normal((4, 256)).astype(np.float32)
    data = random_rows("q4_K", 4, 256, rng)
    a, b = qb.QArray.from_bytes(data, "q4_K", (4, 256)), qb.quantize(x, "int5_g32")
    want = ref.vecdot(reference_matrix("q4_K", data, 256), ref.quantize(x, ref.Format(5)))
    assert floats_equal(qb.vecdot(a, b), want)
    with pytest.raises(ValueError, match="q6_K and int5_g32 have different boundaries"):
        qb.vecdot(qb.QArray.from_bytes(bytes(4 * 210), "q6_K", (4, 256)), b)


@pytest.mark.parametrize("name", NAMES)
def test_compare(isa, name, rng):
    x = rng.standard_normal((5, 512)).astype(np.float32)
    q = qb.QArray.from_bytes(random_rows(name, 5, 512, rng), name, (5, 512))
    report = qb.compare(x, q)
    error = x - q.dequantize().astype(np.float64)
    assert np.isclose(report.sum_ee, np.square(error).sum(), rtol=1e-12)
    assert report.max_abs == np.abs(error).max()
    assert report.bpw == 8 * blocks.SIZES[name][1] / blocks.SIZES[name][0] == q.format.bpw(512)


# ---- quantizing -----------------------------------------------------------------------------------

FIXED = tuple(name for name in NAMES if f"_{name}" in vars(rules))


def test_quantized_rows_of_other_programs(isa, vectors):
    undefined = {"f32_subnormal", "f16_overflow_scale"}
    assert len(FIXED) == 12
    for name in FIXED:
        for x, row, want in zip(vectors["x"], vectors["row_names"], vectors[f"packed/{name}"], strict=True):
            if row not in undefined:
                assert qb.quantize(x, name).tobytes() == want.tobytes(), (name, row)


@pytest.mark.parametrize("name", FIXED)
def test_quantized_by_the_rules(isa, name, rng):
    elements = blocks.SIZES[name][0]
    x = awkward(elements, rng)
    want = rules.encode(name, x)
    assert np.array_equal(qb.quantize(x, name).buffers["blocks"], want)
    rows = x[: len(x) // 4 * 4].reshape(4, -1)  # several blocks a row, and tiles that end inside rows
    want = want[: len(x) // 4 * 4].tobytes()
    assert qb.quantize(rows, name).tobytes() == want
    assert qb.quantize(np.asfortranarray(rows), name).tobytes() == want
    assert qb.quantize(rows.T, name, axis=0).tobytes() == want
    out = qb.quantize(np.zeros(rows.shape), name)
    assert qb.quantize(rows.astype(np.float64)[:, ::-1], name, out=out) is out
    turned = np.ascontiguousarray(rows[:, ::-1]).reshape(-1, elements)
    assert out.tobytes() == rules.encode(name, turned).tobytes()
    brain = rows.astype(ml_dtypes.bfloat16)
    again = qb.quantize(brain.astype(np.float32), name)
    assert qb.quantize(brain, name).tobytes() == again.tobytes()


@pytest.mark.parametrize("name", FIXED)
def test_quantized_as_the_gguf_package_does(name, rng):
    gguf = pytest.importorskip("gguf")
    kind = getattr(gguf.GGMLQuantizationType, name.upper(), None)
    x = (rng.standard_normal((64, 1024)) * 10.0 ** rng.integers(-6, 3, (64, 1))).astype(np.float32)
    try:
        want = gguf.quants.quantize(x, kind)
    except (AttributeError, NotImplementedError, KeyError):
        pytest.skip(f"the gguf package does not quantize {name}")
    assert np.array_equal(qb.quantize(x, name).buffers["blocks"], want)


def test_quantizing_large_arrays_takes_threads(rng):
    x = rng.standard_normal((130, 4096)).astype(np.float32)
    for name in ("q4_0", "q8_0", "tq1_0"):
        want = rules.encode(name, x.reshape(-1, blocks.SIZES[name][0])).tobytes()
        for count in (1, 2, 5):
            with qb.threads(count):
                assert qb.quantize(x, name).tobytes() == want


def test_quantizing_refuses(isa):
    x = np.ones((3, 512), np.float32)
    x[1, 300] = np.nan
    with pytest.raises(ValueError, match="x at index \\(1, 300\\) is nan, not finite"):
        qb.quantize(x, "q4_0")
    assert np.isfinite(qb.quantize(x, "q8_0", nonfinite="zero").dequantize()).all()
    x[1, 300] = 1e10
    for name in FIXED:
        group = 300 // SEGMENTS.get(name, 32)
        if name in ("mxfp4", "q8_K"):
            assert np.isfinite(qb.quantize(x, name).dequantize()).all()
            continue
        with pytest.raises(ValueError, match=f"of group \\(1, {group}\\) overflows what {name} stores"):
            qb.quantize(x, name)
    x[1, 300] = 1000.0
    x[0, 32:64] = 3000.0  # a scale that a half holds, and a sum it does not
    qb.quantize(x, "q8_0")
    with pytest.raises(ValueError, match="of group \\(0, 1\\) overflows what q8_1 stores"):
        qb.quantize(x, "q8_1")
    with pytest.raises(ValueError, match="search must be"):
        qb.quantize(x, "q4_0", search="mse")
    with pytest.raises(ValueError, match="search must be"):
        qb.quantize(x, "q4_K", search="rtn")
    with pytest.raises(ValueError, match="of group \\(0, 0\\) overflows what q6_K stores"):
        qb.quantize(np.full((1, 256), 1e12), "q6_K")
    assert qb.quantize(np.zeros((0, 64)), "q8_0").nbytes == qb.quantize(np.zeros((3, 0)), "q8_0").nbytes == 0


# ---- arrays, bytes, files -------------------------------------------------------------------------


def test_bytes_are_the_blocks_and_are_shared(rng):
    data = random_rows("q4_K", 6, 512, rng)
    q = qb.QArray.from_bytes(data, "q4_K", (2, 3, 512))
    assert repr(q) == "<QArray (2, 3, 512) q4_K, 4.5 bpw, 1728 bytes>"
    assert np.shares_memory(q.buffers["blocks"], data) and q.tobytes() == data.tobytes()
    assert set(q.buffers) == {"blocks"} and q.buffers["blocks"].shape == (2, 3, 288)
    assert q[1, 2].tobytes() == data[5].tobytes() and np.shares_memory(q[1].buffers["blocks"], data)
    assert q[:, [2, 0]].tobytes() == data.reshape(2, 3, -1)[:, [2, 0]].tobytes()
    frozen = qb.QArray.from_bytes(data.tobytes(), formats.as_format("q4_K"), [6, 512])
    assert frozen.tobytes() == data.tobytes()
    turned = qb.QArray.from_bytes(data, "q4_K", (512, 6), axis=0)
    assert floats_equal(turned.dequantize(), np.ascontiguousarray(frozen.dequantize().T))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_files(tmp_path, name, suffix, rng):
    q = qb.QArray.from_bytes(random_rows(name, 3, 256, rng), name, (3, 256))
    path = tmp_path / f"model.{suffix}"
    qb.save(path, {"w": q, "t": q.T, "bias": np.zeros(3)})
    opened = qb.open(path)
    for got, want in ((opened["w"], q), (opened["t"], q.T)):
        assert (got.format, got.shape, got.axis) == (want.format, want.shape, want.axis)
        assert got.tobytes() == want.tobytes() and floats_equal(got.dequantize(), want.dequantize())
    for again in (pickle.loads(pickle.dumps(q)), copy.deepcopy(q), q.copy()):
        assert again.format == q.format and again.tobytes() == q.tobytes()


def test_files_with_rows_that_blocks_do_not_fit(tmp_path):
    path = tmp_path / "w.npz"
    text = '{"version": 1, "tensors": {"w": {"format": "q4_K", "shape": [1, 100], "axis": 1}}}'
    np.savez(path, w=np.zeros((1, 144), np.uint8), pyqbits=np.array(text.encode()))
    with pytest.raises(qb.FormatError, match="q4_K has blocks of 256 elements"):
        qb.open(path)


def test_names_and_sizes():
    assert set(NAMES) == {f.name for f in map(formats.as_format, NAMES)}
    for name, (elements, size) in blocks.SIZES.items():
        format = formats.as_format(name)
        assert (str(format), format.elements, format.block_bytes) == (name, elements, size)
        assert format is formats.as_format(name) and isinstance(format, qb.Format)
        assert pickle.loads(pickle.dumps(format)) == copy.deepcopy(format) == format
        assert format.group == SEGMENTS.get(name, 32)


def test_refusals(rng):
    data = bytes(144)
    with pytest.raises(ValueError, match="q4_K of shape \\(2, 256\\) takes 288") as caught:
        qb.QArray.from_bytes(data, "q4_K", (2, 256))
    assert "144 bytes" in str(caught.value)
    with pytest.raises(ValueError, match="q4_K has blocks of 256 elements, which do not divide") as c:
        qb.QArray.from_bytes(data, "q4_K", (1, 576))
    assert all(f"{fit}, " in str(c.value) for fit in ("q4_0", "q8_0", "iq4_nl", "mxfp4", "nvfp4"))
    assert "q6_K" not in str(c.value) and "int4_g32" in str(c.value)
    with pytest.raises(ValueError, match="rows of 100: affine formats such as int4_g32 would fit"):
        formats.as_format("q8_0").bpw(100)
    with pytest.raises(ValueError, match="int4_g32 is no block type"):
        qb.QArray.from_bytes(data, "int4_g32", (2, 256))
    with pytest.raises(TypeError, match="both a format and a shape"):
        qb.QArray.from_bytes(data, "q4_K")
    with pytest.raises(ValueError, match="shape \\(-1, 256\\) has a negative length"):
        qb.QArray.from_bytes(data, "q4_K", (-1, 256))
    with pytest.raises(ValueError, match="like q4_K"):
        formats.as_format("q4_k")


def test_arrays_of_nothing():
    q = qb.QArray.from_bytes(b"", "q6_K", (0, 256))
    assert q.dequantize().shape == (0, 256) and q.codes().shape == (0, 256) and q.tobytes() == b""
    empty = qb.QArray.from_bytes(b"", "q6_K", (3, 0))
    assert empty.dequantize().shape == (3, 0) and empty.scales.shape == (3, 0)
    assert np.array_equal(empty @ np.zeros(0), np.zeros(3))

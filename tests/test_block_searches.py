"""Searches of the block types whose codes are numbers, or come from 16; test_grids.py has the others."""

import numpy as np
import pytest
import reference_blocks as blocks
from cases import awkward

import pyqbits as qb

SEARCHED = ("q2_K", "q3_K", "q4_K", "q5_K", "q6_K", "iq4_nl", "iq4_xs", "nvfp4")

# Signal to noise in decibels of what ggml 0.25.3 makes of normal, Laplace and Student-t (5) rows of 4096.
REFERENCE_SNR = {
    "q2_K": (10.56, 9.27, 9.56), "q3_K": (16.44, 15.09, 15.10), "q4_K": (22.93, 21.47, 21.65),
    "q5_K": (28.85, 27.39, 27.55), "q6_K": (35.03, 33.30, 33.44), "iq4_nl": (22.37, 21.13, 21.09),
    "iq4_xs": (22.31, 21.06, 21.01), "nvfp4": (20.43, 20.67, 20.71),
}  # fmt: skip


@pytest.mark.parametrize("name", SEARCHED)
def test_searches_err_less_than_ggml(name):
    rng = np.random.default_rng(0)
    shape = (64, 4096)
    kinds = (rng.standard_normal(shape), rng.laplace(size=shape), rng.standard_t(5, size=shape))
    for x, reference in zip(kinds, REFERENCE_SNR[name], strict=True):
        x = x.astype(np.float32)
        plain, best = (qb.compare(x, qb.quantize(x, name, search=s)).snr_db for s in ("mse", "best"))
        assert plain > reference - 0.02  # of which row it was made of, the reference differs by as much
        assert best > plain + (0.004 if name == "nvfp4" else 0.02)  # which has few scales to choose from


CANNOT_HOLD = {("nvfp4", "outlier")}


@pytest.mark.parametrize("name", SEARCHED)
def test_searches_err_less_than_ggml_on_its_own_rows(vectors, name):
    undefined = {"f32_subnormal", "f16_overflow_scale"}
    for x, row, packed in zip(vectors["x"], vectors["row_names"], vectors[f"packed/{name}"], strict=True):
        if row in undefined or (name, row) in CANNOT_HOLD:
            continue
        other = qb.QArray.from_bytes(packed, name, (256,))
        ours = qb.compare(x, qb.quantize(x, name, search="best"))
        assert ours.sum_ee <= qb.compare(x, other).sum_ee, row


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", [*SEARCHED, "iq1_s", "iq1_m", "iq2_xs", "iq3_xxs"])
def test_best_is_never_worse_block_by_block(name, weighted, rng):
    rows = (awkward(256, rng), rng.standard_normal((60, 256)), rng.integers(-3, 4, (60, 256)))
    x = np.concatenate(rows).astype(np.float32)
    if name == "nvfp4":  # whose numbers end at 2688
        x /= 32
    weights = np.exp(rng.standard_normal(x.shape)).astype(np.float32)
    importance = weights if weighted else None
    errors = []
    for search in ("mse", "best"):
        q = qb.quantize(x, name, search=search, importance=importance)
        squares = np.square(q.dequantize().astype(np.float64) - x) * (weights if weighted else 1)
        errors.append(squares.reshape(-1, qb.formats.as_format(name).elements).sum(1))
    assert (errors[1] <= errors[0] * (1 + 1e-12)).all()


@pytest.mark.parametrize("name", SEARCHED)
def test_searches_give_the_same_bytes_everywhere(name, rng):
    x = np.concatenate([awkward(256, rng), rng.standard_normal((70, 256)).astype(np.float32)])
    x[-1] = 1e-30
    if name == "nvfp4":  # whose numbers end at 2688
        x /= 32
    weights = rng.random(x.shape).astype(np.float32) * (rng.random(x.shape) > 0.2)
    weights[3], weights[5, :64] = 0, 0
    for search in ("mse", "best"):
        for importance in (None, weights, weights[0]):
            found = set()
            for tier in qb.available_isas():
                with qb.use_isa(tier):
                    q = qb.quantize(x, name, search=search, importance=importance)
                    alone = qb.quantize(x[:3], name, search=search, importance=weights[0])
                    found.add(q.tobytes())
            with qb.threads(3):
                found.add(qb.quantize(x, name, search=search, importance=importance).tobytes())
            assert len(found) == 1 and np.isfinite(q.dequantize()).all()
            if importance is weights[0]:
                assert alone.tobytes() == q[:3].tobytes()


@pytest.mark.parametrize("name", SEARCHED)
def test_searches_weigh_errors(name, rng):
    x = rng.standard_normal((40, 512)).astype(np.float32)
    weights = np.exp(rng.standard_normal(512) * 2).astype(np.float32)
    plain, weighted = qb.quantize(x, name), qb.quantize(x, name, importance=weights)
    errors = [(np.square(q.dequantize() - x) * weights).sum() for q in (plain, weighted)]
    assert errors[1] < 0.97 * errors[0]
    assert qb.quantize(x, name, importance=np.zeros(512)).tobytes() == plain.tobytes()


@pytest.mark.parametrize("name", SEARCHED)
def test_searches_find_what_blocks_hold(name, rng):
    """Values that a block holds exactly come back nearly so: all positive, all negative, constant, zero."""
    x = np.zeros((5, 256), np.float32)
    x[0] = rng.integers(1, 4, 256) * 0.25
    x[1] = -x[0]
    x[2] = 3.5
    x[4] = -3.5
    got = qb.quantize(x, name).dequantize()
    assert np.abs(got - x).max() < 0.2 and not got[3].any()
    assert np.allclose(got[[2, 4]], x[[2, 4]], rtol=2e-3)


@pytest.mark.parametrize("weighted", [False, True])
def test_nvfp4_finds_the_best_of_all_scales(weighted, rng):
    """Against every scale that there is, each with the number nearest to every value."""
    x = (rng.standard_t(5, (120, 64)) * np.exp(rng.uniform(-5, 4, (120, 1)))).astype(np.float32)
    weights = rng.random(x.shape).astype(np.float32) if weighted else np.ones(x.shape, np.float32)
    data = np.zeros((127, 36), np.uint8)
    data[:, :4] = np.arange(127)[:, None]
    units = blocks.decode("nvfp4", data)[1][:, :1].astype(np.float64)
    numbers = np.unique(blocks.FP4)
    runs, weighed = x.astype(np.float64).reshape(-1, 16), weights.astype(np.float64).reshape(-1, 16)
    errors = []
    for unit in units[1:]:
        nearest = numbers[np.abs(runs[:, :, None] / unit - numbers).argmin(2)]
        errors.append((weighed * np.square(runs - unit * nearest)).sum(1))
    power = (weighed * runs * runs).sum(1)
    least = np.min([power, *errors], 0)
    for search, close in (("mse", 1.1), ("best", 1.005)):
        q = qb.quantize(x, "nvfp4", search=search, importance=weights if weighted else None)
        error = (weighed * np.square(runs - q.dequantize().reshape(runs.shape))).sum(1)
        assert (error / power).sum() <= close * (least / power).sum()  # runs count alike, the small ones too
        units_of = np.maximum(np.repeat(q.scales.reshape(-1, 1), 16, 1), 1e-30)
        wanted = runs / units_of
        missed = np.abs(q.codes().reshape(runs.shape) - wanted)
        assert (missed <= np.abs(numbers - wanted[:, :, None]).min(2) + 1e-4).all()


def test_nvfp4_ends_of_its_range():
    x = np.full((2, 128), 1.0, np.float32)
    x[1, 70] = 2784.0
    assert qb.quantize(x, "nvfp4").dequantize()[1, 70] == 2688
    x[1, 70] = 2785.0
    with pytest.raises(ValueError, match="of group \\(1, 4\\) overflows what nvfp4 stores"):
        qb.quantize(x, "nvfp4")
    tiny = np.full((1, 64), 2.0**-10, np.float32)
    assert np.array_equal(qb.quantize(tiny, "nvfp4").dequantize(), tiny)
    assert not qb.quantize(tiny / 64, "nvfp4").buffers["blocks"].any()

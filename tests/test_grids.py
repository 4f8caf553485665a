"""Searches of the block types whose values are points of a grid: iq1, iq2, iq3."""

import zlib

import numpy as np
import pytest
import reference_blocks as blocks
from cases import awkward

import pyqbits as qb

# Per type: signal to noise in decibels of what ggml 0.25.3 makes of the rows of `kinds`, each without
# importance (where it asks for one: ones) and with.
REFERENCE = {
    "iq1_s": (6.31, 7.04, 5.32, 6.24, 5.26, 6.07), "iq1_m": (6.87, 8.05, 6.37, 7.57, 6.22, 7.35),
    "iq2_xxs": (9.37, 10.51, 8.37, 9.48, 8.57, 9.69), "iq2_xs": (10.52, 11.75, 9.60, 10.58, 9.86, 10.87),
    "iq2_s": (11.65, 12.96, 9.60, 11.23, 10.26, 11.77), "iq3_xxs": (13.41, 16.22, 12.21, 15.39, 12.81, 15.65),
    "iq3_s": (15.68, 18.50, 13.99, 17.16, 14.88, 17.43),
}  # fmt: skip
OUTERMOST = {"iq1_s": 9, "iq1_m": 9, "iq2_xxs": 43, "iq2_xs": 43, "iq2_s": 43, "iq3_xxs": 62, "iq3_s": 15}
NAMES = tuple(REFERENCE)
EVEN = ("iq2_xxs", "iq2_xs", "iq3_xxs")  # types whose minus signs come in even numbers
SEARCHES = ("mse", "best")


def weighted_snr(x, q, weights):
    error = np.square(q.dequantize().astype(np.float64) - x) * weights
    return 10 * np.log10((np.square(x.astype(np.float64)) * weights).sum() / error.sum())


def least_errors(name, x, scales, weights):
    """The least error of every group of 8 with given scales: all points, signs and moves that there are.

    x, weights: [blocks, 256]; scales: [blocks, segments]. Of iq1, [.., 2]: moved up, and down.
    """
    v = x.astype(np.float64).reshape(-1, 32, 8)
    w = weights.astype(np.float64).reshape(v.shape)
    d = np.repeat(scales.astype(np.float64), 32 // scales.shape[1], 1)[:, :, None]
    grid = blocks.GRIDS["iq1_s" if name.startswith("iq1") else name].astype(np.float64)
    dims = grid.shape[1]

    def least(values):  # of runs of as many values as a point has
        parts = values.reshape(len(v), 32, 8 // dims, 1, dims) - d[..., None, None] * grid
        return (w.reshape(len(v), 32, 8 // dims, 1, dims) * np.square(parts)).sum(-1).min(-1).sum(-1)

    if name.startswith("iq1"):
        grid *= 8
        grid += 1
        up = least(v)
        grid -= 2
        return np.stack([up, least(v)], -1)
    right = least(np.abs(v))
    if name not in EVEN:
        return right
    wrong = [least(np.where(np.arange(8) == i, -1, 1) * np.abs(v)) for i in range(8)]
    return np.where((v < 0).sum(-1) % 2, np.min(wrong, 0), right)


def plain_error(name, x, weights):
    """What the nearest points err by if scales put the largest values at the outermost level."""
    segments = 256 // qb.formats.as_format(name).group
    most = np.abs(x).reshape(-1, segments, 256 // segments).max(2) / OUTERMOST[name]
    outermost = 15 if name.startswith("iq1") else 31
    unit = (most.max(1, keepdims=True) / outermost).astype(np.float16).astype(np.float64)
    steps = np.clip(2 * np.rint((most / unit - 1) / 2) + 1, 1, outermost)
    errors = least_errors(name, x, unit * steps, weights)
    if name == "iq1_s":
        errors = errors.reshape(-1, 8, 4, 2).sum(2)
    return (errors.min(-1) if name.startswith("iq1") else errors).sum(1)


def kinds():
    rng = np.random.default_rng(0)
    shape = (4, 1536)
    weights = np.exp(rng.standard_normal(1536)).astype(np.float32)
    values = (rng.standard_normal(shape), rng.laplace(size=shape), rng.standard_t(5, size=shape))
    return [x.astype(np.float32) for x in values], weights


@pytest.mark.parametrize("name", NAMES)
def test_err_less_than_ggml(name):
    values, weights = kinds()
    cases = [(x, importance) for x in values for importance in (None, weights)]
    for (x, importance), reference in zip(cases, REFERENCE[name], strict=True):
        found = [qb.quantize(x, name, search=s, importance=importance) for s in SEARCHES]
        mse, best = (weighted_snr(x, q, 1 if importance is None else importance) for q in found)
        assert reference < mse < best


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_points_are_the_best_for_the_stored_scales(name, weighted, rng):
    x = (rng.standard_t(5, (20, 256)) * np.exp(rng.uniform(-5, 5, (20, 1)))).astype(np.float32)
    weights = rng.random(x.shape).astype(np.float32) if weighted else np.ones(x.shape, np.float32)
    energy = (weights * x * x).sum(1)
    total = (plain_error(name, x, weights) / energy).mean()
    for search in SEARCHES:
        q = qb.quantize(x, name, search=search, importance=weights if weighted else None)
        errors = (weights * np.square(q.dequantize().astype(np.float64) - x)).reshape(20, 32, 8).sum(2)
        least = least_errors(name, x, q.scales, weights)
        if name == "iq1_s":  # four groups are moved together
            errors, least = errors.reshape(20, 8, 4).sum(2), least.reshape(20, 8, 4, 2).sum(2)
        least = least.min(-1) if name.startswith("iq1") else least
        nearest = errors <= least * (1 + 1e-4) + 1e-9 * np.square(x).max()
        some = 0.85 if name == "iq1_s" else 0.95
        share, row, all_rows = (some, 1.15, 1.015) if search == "mse" else (0.99, 1.05, 1.005)
        assert nearest.mean() > share  # "mse" looks at some of the points only
        above = errors.sum(1) / least.sum(1)
        assert above.max() < row and above.mean() < all_rows
        assert (errors.sum(1) / energy).mean() < total
        total = (errors.sum(1) / energy).mean()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bytes_everywhere(name, rng):
    x = np.concatenate([awkward(256, rng)[::3], rng.standard_normal((20, 256)).astype(np.float32)])
    x[-1] = 1e-30
    weights = rng.random(x.shape).astype(np.float32) * (rng.random(x.shape) > 0.2)
    weights[3], weights[5, :64] = 0, 0
    for search in SEARCHES:
        for importance in (None, weights, weights[0]):
            found = set()
            for tier in qb.available_isas():
                with qb.use_isa(tier):
                    q = qb.quantize(x, name, search=search, importance=importance)
                    found.add(q.tobytes())
                    alone = qb.quantize(x[5], name, search=search, importance=q_weights(importance, 5))
                    assert alone.tobytes() == q[5].tobytes()
            with qb.threads(3):
                found.add(qb.quantize(x, name, search=search, importance=importance).tobytes())
            assert len(found) == 1 and np.isfinite(q.dequantize()).all()


def q_weights(importance, row):
    return importance if importance is None or importance.ndim == 1 else importance[row]


@pytest.mark.parametrize("name", NAMES)
def test_errors_are_weighed(name, rng):
    x = rng.standard_normal((10, 512)).astype(np.float32)
    weights = np.exp(rng.standard_normal(512) * 2).astype(np.float32)
    plain, weighted = qb.quantize(x, name), qb.quantize(x, name, importance=weights)
    errors = [(np.square(q.dequantize() - x) * weights).sum() for q in (plain, weighted)]
    assert errors[1] < 0.9 * errors[0]
    assert qb.quantize(x, name, importance=np.zeros(512)).tobytes() == plain.tobytes()
    assert qb.quantize(x, name, importance=np.full(512, 8)).tobytes() == plain.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_what_a_block_holds_is_found(name, rng):
    """Values that a block of the type stands for lose little, and zeros nothing."""
    x = qb.quantize(rng.standard_normal((8, 256)).astype(np.float32), name).dequantize()
    assert qb.compare(x, qb.quantize(x, name, search="best")).snr_db > 25
    zeros = qb.quantize(np.array([[0.0] * 256, [-0.0] * 256]), name)
    assert not zeros.dequantize().any() and not zeros.scales.any()
    constant = qb.quantize(np.full((1, 256), -3.5), name, search="best").dequantize()
    assert np.abs(constant + 3.5).max() < 0.01


@pytest.mark.parametrize("name", NAMES)
def test_refusals(isa, name):
    x = np.ones((3, 512), np.float32)
    group = 256 // qb.formats.as_format(name).group
    for value in (1e9, 3e38, -3e38):
        x[1, 300] = value
        with pytest.raises(ValueError, match=rf"of group \(1, {group}\) overflows what {name} stores"):
            qb.quantize(x, name)
    x[1, 300] = np.nan
    with pytest.raises(ValueError, match=r"x at index \(1, 300\) is nan, not finite"):
        qb.quantize(x, name)
    assert np.isfinite(qb.quantize(x, name, nonfinite="zero").dequantize()).all()
    with pytest.raises(ValueError, match="search must be"):
        qb.quantize(x, name, search="rtn")
    with pytest.raises(ValueError, match=f"{name} has blocks of 256 elements, which do not divide"):
        qb.quantize(np.ones((2, 576)), name)


GOLDEN = {  # CRC-32 of the blocks of the rows below, "mse" and "best"
    "iq1_s": (0xA5243858, 0x00863360),
    "iq1_m": (0x9C9E02AC, 0xBF1C2452),
    "iq2_xxs": (0x29333512, 0x2D903145),
    "iq2_xs": (0xA61C74E1, 0x58CA3B50),
    "iq2_s": (0xF3A1F208, 0xBD449FB8),
    "iq3_xxs": (0x2ADE9079, 0xD38E1B4F),
    "iq3_s": (0x3FBB05E2, 0xD1D5CC19),
}


@pytest.mark.parametrize("name", NAMES)
def test_bytes_do_not_change(name):
    i = np.arange(4 * 512, dtype=np.int64)
    x = (((i * 7919 % 1009 - 504) / 300.0) ** 3).astype(np.float32).reshape(4, 512)
    weights = (1 + i % 7).astype(np.float32).reshape(x.shape)
    for search, importance, want in zip(SEARCHES, (None, weights), GOLDEN[name], strict=True):
        assert zlib.crc32(qb.quantize(x, name, search=search, importance=importance).tobytes()) == want

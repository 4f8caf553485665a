"""The searches: never worse than round to nearest in any group, as good as they should be, deterministic."""

from itertools import product

import numpy as np
import pytest
import reference as ref
from cases import KINDS, SCALES, WIDTHS, adversarial
from hypothesis import given, settings
from hypothesis import strategies as st

import pyqbits

SEARCHES = ("mse", "best")
ORDER = 1 + 1e-13  # long groups are summed in another order than here


def group_errors(x, q, format, weights=None):
    """(Weighted) squared error of every group, summed in double in index order; zero weights are ones."""
    error = x.astype(np.float64) - q.dequantize()
    error *= error
    step = format.step(x.shape[1])
    pad = -x.shape[1] % step
    if weights is not None:
        weights = np.broadcast_to(np.asarray(weights, np.float64), x.shape)
        if format.group == "tensor":
            live = np.full(x.shape, weights.any())
        else:
            parts = np.pad(weights, ((0, 0), (0, pad))).reshape(len(x), -1, step)
            live = np.repeat(parts.any(axis=2), step, axis=1)[:, : x.shape[1]]
        error *= np.where(live, weights, 1.0)
    if format.group == "tensor":
        return ref.ordered_sum(error.ravel())
    return ref.ordered_sum(np.pad(error, ((0, 0), (0, pad))).reshape(len(x), -1, step))


def quantized_with(x, format, search, importance=None):
    return pyqbits.quantize(x, format.name, search=search, importance=importance)


@pytest.mark.parametrize(("zero", "bits"), list(product(KINDS, WIDTHS)))
def test_never_worse_in_any_group(zero, bits):
    cases = ((1, 70), (3, 70), (16, 90), (32, 144), (100, 250), ("row", 144), ("row", 513), ("tensor", 90))
    for i, (group, cols) in enumerate(cases):
        format = ref.Format(bits, group, zero, SCALES[i % 3])
        x = adversarial(cols, format.scale, 2 ** (bits - 1))
        rng = np.random.default_rng(i)
        weights = np.where(rng.random(x.shape) < 0.3, 0, rng.random(x.shape) ** 4).astype(np.float32)
        weights[2:4] = 0
        for importance in (None, weights, weights[0]):
            floor = group_errors(x, quantized_with(x, format, "rtn"), format, importance)
            for search in SEARCHES:  # nor is "best" worse than "mse"
                error = group_errors(x, quantized_with(x, format, search, importance), format, importance)
                assert (error <= floor * ORDER).all(), (format, search, importance is None)
                floor = error


@pytest.mark.parametrize("zero", KINDS)
def test_never_worse_in_long_groups(zero):
    """Groups longer than a tile take another way through the library."""
    rng = np.random.default_rng(9)
    for bits, group in ((1, "row"), (3, 3000), (4, "row"), (8, "tensor")):
        format = ref.Format(bits, group, zero)
        x = np.ascontiguousarray(adversarial(5003)[::5])
        weights = rng.random(x.shape).astype(np.float32)
        weights[1, :3000] = 0
        for importance in (None, weights):
            floor = group_errors(x, quantized_with(x, format, "rtn"), format, importance)
            for search in SEARCHES:
                got = set()
                for isa in pyqbits.available_isas():
                    with pyqbits.use_isa(isa):
                        q = quantized_with(x, format, search, importance)
                    got.add(q.tobytes())
                assert len(got) == 1, (format, search)
                error = group_errors(x, q, format, importance)
                assert (error <= floor * ORDER).all(), (format, search, importance is None)


@settings(max_examples=40)
@given(
    values=st.lists(st.floats(-30000, 30000, width=32), min_size=1, max_size=70),
    bits=st.integers(1, 8),
    zero=st.sampled_from(KINDS),
    group=st.integers(1, 40),
    scale=st.sampled_from(SCALES),
)
def test_never_worse_on_any_values(values, bits, zero, group, scale):
    format = ref.Format(bits, group, zero, scale)
    x = np.array([values], np.float32)
    floor = group_errors(x, quantized_with(x, format, "rtn"), format)
    for search in SEARCHES:
        assert (group_errors(x, quantized_with(x, format, search), format) <= floor * ORDER).all()


# Signal-to-noise ratios in dB of searches on Gaussian rows, groups of 32, from a published-method
# comparison: symmetric with a least-squares scale search, minimum with a 12 x 12 search.
QUALITY = {("int", 2): 9.52, ("int", 3): 15.79, ("int", 4): 21.83, ("int", 5): 27.93, ("int", 8): 46.42,
           ("uint", 2): 10.58, ("uint", 3): 16.85, ("uint", 4): 23.19, ("uint", 5): 29.42}  # fmt: skip


def snr(x, name, search):
    return pyqbits.compare(x, pyqbits.quantize(x, name, search=search)).snr_db


@pytest.mark.parametrize(("kind", "bits"), list(QUALITY))
def test_quality_on_gaussian_rows(kind, bits):
    x = np.random.default_rng(11).standard_normal((64, 4096)).astype(np.float32)
    name, target = f"{kind}{bits}_g32", QUALITY[kind, bits]
    rtn, mse, best = (snr(x, name, search) for search in ("rtn", *SEARCHES))
    assert rtn < mse <= best + 1e-9
    assert mse >= target - 0.15, (rtn, mse, best)
    assert best >= target, (rtn, mse, best)


GAINING = (
    "int4_g128", "uint4_g128", "uint4_g32_z", "uint2_g64_z", "int3_row", "uint4_tensor", "int1_g32",
    "uint1_g32", "int6_g32", "uint8_g32",
)  # fmt: skip


@pytest.mark.parametrize("name", GAINING)
def test_searches_gain(name):
    """On ordinary values each search is better than the one before it, as a whole."""
    rng = np.random.default_rng(12)
    for x in (rng.standard_normal((16, 512)), rng.laplace(size=(16, 512))):
        rtn, mse, best = (snr(x.astype(np.float32), name, search) for search in ("rtn", *SEARCHES))
        optimal = name == "int1_g32"  # the mean magnitude is the least-squares scale already
        assert rtn <= mse <= best + 1e-9 if optimal else rtn < mse <= best + 1e-9


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize(
    "name", ["int4_g32", "uint3_g20", "uint4_g32_z", "int2_row", "uint5_tensor", "uint1_g16"]
)
def test_importance(name, search):
    rng = np.random.default_rng(13)
    x = rng.standard_normal((20, 160)).astype(np.float32)
    plain = pyqbits.quantize(x, name, search=search)

    def bytes_with(importance):
        return pyqbits.quantize(x, name, search=search, importance=importance).tobytes()

    assert bytes_with(np.ones(160)) == plain.tobytes()
    assert bytes_with(np.zeros(160)) == plain.tobytes()  # nothing matters: everything does
    assert bytes_with(np.float32(0)) == plain.tobytes()
    assert bytes_with(np.full((20, 1), 4.0)) == plain.tobytes()  # a power of two changes no rounding
    column = rng.random(160).astype(np.float32)
    whole = np.broadcast_to(column, x.shape)
    assert bytes_with(column) == bytes_with(whole) == bytes_with(np.ascontiguousarray(whole))
    assert bytes_with(column) == bytes_with(column.astype(np.float64)) != plain.tobytes()
    # What matters is kept better than by the plain search: errors there go down in total.
    weights = np.where(rng.random(x.shape) < 0.2, 100, 1).astype(np.float32)
    error = [((q.dequantize() - x) ** 2 * weights).sum() for q in
             (plain, pyqbits.quantize(x, name, search=search, importance=weights))]  # fmt: skip
    assert error[1] < error[0]


def test_rtn_ignores_importance(isa):
    x = np.random.default_rng(1).standard_normal((3, 64)).astype(np.float32)
    plain = pyqbits.quantize(x, "int4_g32", search="rtn")
    assert pyqbits.quantize(x, "int4_g32", search="rtn", importance=x * x).tobytes() == plain.tobytes()
    assert pyqbits.quantize(x, "int4_g32").tobytes() == plain.tobytes()


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("search", ["rtn", *SEARCHES])
def test_bad_importance(isa, bad, search):
    x = np.ones((6, 40), np.float32)
    weights = np.ones((6, 40))
    weights[4, 33] = weights[5, 0] = bad
    with pytest.raises(ValueError, match=r"importance.*\(4, 33\)|\(4, 33\).*importance"):
        pyqbits.quantize(x, "int4_g32", search=search, importance=weights)
    with pytest.raises(ValueError, match="importance"):
        pyqbits.quantize(x, "int4_g32", search=search, importance=np.ones(39))


def test_unknown_search_lists_the_legal_ones():
    with pytest.raises(ValueError, match=r"rtn.*mse.*best"):
        pyqbits.quantize(np.ones((2, 8), np.float32), "int4_g32", search="fast")


@pytest.mark.parametrize("zero", KINDS)
def test_deterministic_over_tiers_and_neighbours(zero):
    """A group's bytes depend on the group alone: not on the tier, nor on what is quantized beside it."""
    for (bits, group), search in product(
        ((1, 32), (2, "row"), (4, 3), (4, 32), (8, 100), (3, "tensor")), SEARCHES
    ):
        format = ref.Format(bits, group, zero)
        x = adversarial(144)
        weights = np.abs(adversarial(144)[::-1])
        for importance in (None, weights):
            got = set()
            for isa in pyqbits.available_isas():
                with pyqbits.use_isa(isa):
                    got.add(quantized_with(x, format, search, importance).tobytes())
            assert len(got) == 1, (format, search)
            if group == "tensor":
                continue
            whole = quantized_with(x, format, search, importance)
            for row in (0, 10, 22):
                alone = quantized_with(
                    x[row], format, search, None if importance is None else importance[row]
                )
                assert np.array_equal(alone.codes(), whole.codes()[row]), (format, search, row)
                assert np.array_equal(alone.scales, whole.scales[row])


@pytest.mark.parametrize("search", SEARCHES)
def test_exact_values_stay_exact(search):
    """What round to nearest represents without error, a search does too."""
    rng = np.random.default_rng(4)
    for zero, bits in product(KINDS, range(2, 9)):
        half = 2 ** (bits - 1)
        levels = rng.integers(0, 2**bits, (9, 64))
        levels[:, 0], levels[:, 1] = 0, 2**bits - 1
        x = (levels - half if zero is None else levels - 1 if zero == "point" else levels + 3) * 0.25
        for group in (64, "row"):
            q = quantized_with(x.astype(np.float32), ref.Format(bits, group, zero), search)
            assert np.array_equal(q.dequantize(), x)

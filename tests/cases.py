"""Inputs and formats shared by the numeric tests: what tends to break quantizers, in every format."""

from functools import lru_cache

import numpy as np
import reference as ref

GROUPS = (1, 3, 8, 16, 20, 32, 40, 64, 100, 128, 256, 300, "row", "tensor")
KINDS = (None, "min", "point")
SCALES = tuple(ref.SCALES)
WIDTHS = range(1, 9)

# Half of the largest value whose range still fits the scale type, so that no format refuses it.
HUGE = {"float16": 32000.0, "bfloat16": 1.6e38, "float32": 1.6e38}


def floats_equal(a, b):
    """The same bits, so that -0 differs from +0 and NaN payloads count."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


@lru_cache(maxsize=64)
def adversarial(cols, scale="float16", half=8):
    """Rows that hit every branch of the rules; more than 16, so that lanes and their remainder are used."""
    rng = np.random.default_rng(cols)
    k = np.arange(cols)
    normal = rng.standard_normal((4, cols))
    sign = np.where(k % 2, -1.0, 1.0)
    rows = [
        normal[0],
        normal[1] ** 3,
        np.zeros(cols),
        np.where(k % 3, -0.0, 0.0),
        np.full(cols, 0.3),
        np.full(cols, -7.1),
        sign,  # ties of the extreme, the positive one first
        -sign * 3.3,  # and the negative one
        (k % (2 * half + 1) - half) / 2,  # values halfway between codes
        -(k % (2 * half)) - 0.5,
        np.where(k == cols // 2, 1000.0, normal[2]),  # one outlier
        np.where(k == cols - 1, -900.0, 0.0),
        np.where(k < cols // 2, 0.0, normal[3]),  # whole groups of zeros
        1e-44 * (k % 100),  # denormals
        sign * 1e-40,
        np.full(cols, 6e-8) * (k % 5),  # denormal as float16
        sign * 1e-30,
        HUGE[scale] * (1 - k / (2.0 * cols)),
        HUGE[scale] * np.sin(k),
        rng.random(cols) + 100,  # far from zero, positive
        -rng.random(cols) - 100,
        np.sort(normal[0]),
        np.float32(0.1) + k * 2.0**-27,  # neighbours
    ]
    x = np.array(rows).astype(np.float32)
    x.flags.writeable = False
    return x


@lru_cache(maxsize=2048)
def quantized(format, cols, half=8):
    """The adversarial matrix and its round-to-nearest by the reference, the same for every tier."""
    x = adversarial(cols, format.scale, half)
    return x, ref.quantize(x, format)


def activations(count, cols, seed=0):
    """Columns to multiply with: ordinary ones and the awkward."""
    rng = np.random.default_rng((seed, count, cols))
    x = rng.standard_normal((count, cols)).astype(np.float32)
    k = np.arange(cols)
    awkward = [
        np.zeros(cols),
        np.where(k % 5, 1e-31, -0.0),  # below the least amplitude
        np.where(k == cols // 3, 1e30, 1e-3),
        np.where(k % 7, 1e-42, -2e-39),
        np.where(k % 2, -3.0, 3.0),  # every digit extreme
        2.0 ** (k % 60 - 30),
        np.full(cols, 2.0**-100),
    ]
    for i, row in enumerate(awkward[: max(count - 2, 0)]):
        x[i + 1] = row
    return x


def awkward(elements, rng):
    """Blocks that hit the rules' branches: [count, elements], finite, with scales that halves hold."""
    k = np.arange(elements)
    sign = np.where(k % 2, -1.0, 1.0)
    steps = rng.integers(-16, 17, (40, elements)) / 4  # ties of every rule
    rows = [
        *rng.standard_normal((40, elements)),
        *steps,
        *(steps * 0.37),
        *np.exp(rng.uniform(-90, 9, (20, elements))) * rng.choice([1, -1], (20, elements)),
        *(2.0 ** rng.integers(-9, 9, (20, 1)) * (1 - rng.integers(0, 50, (20, elements)) * 2.0**-24)),
        *(2.0 ** rng.integers(-120, 9, (20, 1)) * (1 - rng.integers(0, 50, (20, elements)) * 2.0**-24)),
        sign, -sign, sign * 0, np.zeros(elements), np.where(k % 3, -0.0, 0.0), np.full(elements, -3.3),
        np.where(k == elements - 1, -900.0, 0.0), np.where(k == 3, 900.0, 1e-3),
        1e-44 * (k % 100), sign * 1e-40, np.full(elements, 1e-45), sign * 2.0**-126, 6e-8 * k,
        65504 * (k % 7 - 3) / 8.0, rng.random(elements) + 100, -rng.random(elements) - 100,
    ]  # fmt: skip
    return np.array(rows).astype(np.float32)

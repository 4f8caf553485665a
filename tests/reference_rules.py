"""Quantizers of the block types that follow fixed rules, from the text of csrc/README.md and without pyqbits.

`encode(name, x)` takes float32 [count, elements of a block] and gives the bytes [count, bytes of a block].
"""

import numpy as np
from reference_blocks import FP4, SIZES

F = np.float32


def encode(name, x):
    with np.errstate(all="ignore"):
        out = np.concatenate([np.asarray(p).reshape(len(x), -1) for p in globals()[f"_{name}"](x)], 1)
    assert out.dtype == np.uint8 and out.shape[1] == SIZES[name][1]
    return out


def half(d):
    return d.astype(np.float16).astype("<f2").reshape(-1, 1).view(np.uint8)


def extreme(x):
    found = np.take_along_axis(x, np.abs(x).argmax(1)[:, None], 1)
    return np.where(found == 0, F(0), found)


def inverse(d):
    inv = F(1) / d
    return np.where(np.isfinite(inv), inv, F(0))


def half_away(v):
    return np.copysign(np.floor(np.abs(v.astype(np.float64)) + 0.5), v).astype(int)


def halves(codes):
    """Codes of 32: the first 16 in low nibbles, the others in high ones."""
    return (codes[:, :16] & 15 | (codes[:, 16:] & 15) << 4).astype(np.uint8)


def fifth_bits(codes):
    return np.packbits(codes >> 4 & 1, axis=1, bitorder="little")


def _offset(x, bits):
    middle = 2 ** (bits - 1)
    d = extreme(x) / F(-middle)
    return d, np.minimum((x * inverse(d) + F(middle + 0.5)).astype(int), 2 * middle - 1)


def _q4_0(x):
    d, codes = _offset(x, 4)
    return half(d), halves(codes)


def _q5_0(x):
    d, codes = _offset(x, 5)
    return half(d), fifth_bits(codes), halves(codes)


def _least(x, top):
    least = np.take_along_axis(x, x.argmin(1)[:, None], 1)
    most = np.take_along_axis(x, x.argmax(1)[:, None], 1)
    d = (most - least) / F(top)
    return d, least, np.minimum(((x - least) * inverse(d) + F(0.5)).astype(int), top)


def _q4_1(x):
    d, least, codes = _least(x, 15)
    return half(d), half(least), halves(codes)


def _q5_1(x):
    d, least, codes = _least(x, 31)
    return half(d), half(least), fifth_bits(codes), halves(codes)


def _bytes(x):
    d = np.abs(x).max(1, keepdims=True) / F(127)
    return d, half_away(x * inverse(d))


def _q8_0(x):
    d, codes = _bytes(x)
    return half(d), codes.astype(np.int8).view(np.uint8)


def _q8_1(x):
    d, codes = _bytes(x)
    return half(d), half(d * codes.sum(1, keepdims=True).astype(F)), codes.astype(np.int8).view(np.uint8)


def _q8_K(x):
    scale = F(-127) / extreme(x)
    scale = np.where(np.isfinite(scale), scale, F(0))
    codes = np.minimum(np.rint(x * scale), 127).astype(np.int8)
    d = np.where(scale == 0, F(0), F(1) / scale).astype("<f4")
    sums = codes.reshape(len(x), 16, 16).sum(2).astype("<i2")
    return d.view(np.uint8), codes.view(np.uint8), sums.view(np.uint8)


def _q1_0(x):
    total = np.zeros((len(x), 1), F)
    for column in np.abs(x).T:
        total += column[:, None]
    return half(total / F(128)), np.packbits(x >= 0, axis=1, bitorder="little")


def _trits(x):
    d = np.abs(x).max(1, keepdims=True)
    return d, half_away(x * inverse(d)) + 1


def _quarters(codes, stride):
    layers = codes.reshape(len(codes), -1, 4, stride) << 2 * np.arange(4)[:, None]
    return layers.sum(2).astype(np.uint8)


def _q2_0(x):
    d, codes = _trits(x)
    return half(d), _quarters(codes, 1)


def _tq2_0(x):
    d, codes = _trits(x)
    return _quarters(codes, 32), half(d)


def _tq1_0(x):
    d, codes = _trits(x)
    parts = []
    for first, stride, digits in ((0, 32, 5), (160, 16, 5), (240, 4, 4)):
        run = codes[:, first : first + stride * digits].reshape(len(x), digits, stride)
        q = (run * 3 ** np.arange(4, 4 - digits, -1)[:, None]).sum(1)
        parts.append(((q * 256 + 242) // 243).astype(np.uint8))
    return *parts, half(d)


def _mxfp4(x):
    amax = np.abs(x).max(1, keepdims=True)
    exponent = np.floor(np.log2(amax.astype(np.float64)).astype(F))
    e = np.where(amax == 0, 0, np.clip(exponent - 2 + 127, 0, 254)).astype(int)
    values = FP4 * np.exp2(e - 128.0)[:, :, None]
    codes = np.abs(x[:, :, None].astype(np.float64) - values).argmin(2)
    return e.astype(np.uint8), halves(codes)

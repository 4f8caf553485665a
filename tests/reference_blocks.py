"""Decoders of block types, written from their published layouts alone, value by value and without pyqbits.

`decode(name, blocks)` takes bytes [count, bytes of a block] and gives (codes, d, m): per value, integers
(twice the numbers of fp4, eight times those of iq1), and the float32 scale and minimum: value = d*code + m.
"""

from pathlib import Path

import numpy as np

F32 = np.float32
IQ4 = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113])
FP4 = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12])  # doubled

# name: elements and bytes of a block
SIZES = {
    "q1_0": (128, 18), "q2_0": (64, 18), "q4_0": (32, 18), "q4_1": (32, 20), "q5_0": (32, 22),
    "q5_1": (32, 24), "q8_0": (32, 34), "q8_1": (32, 36), "q2_K": (256, 84), "q3_K": (256, 110),
    "q4_K": (256, 144), "q5_K": (256, 176), "q6_K": (256, 210), "q8_K": (256, 292), "iq1_s": (256, 50),
    "iq1_m": (256, 56), "iq2_xxs": (256, 66), "iq2_xs": (256, 74), "iq2_s": (256, 82), "iq3_xxs": (256, 98),
    "iq3_s": (256, 110), "iq4_nl": (32, 18), "iq4_xs": (256, 136), "tq1_0": (256, 54), "tq2_0": (256, 66),
    "mxfp4": (32, 17), "nvfp4": (64, 36),
}  # fmt: skip

with np.load(Path(__file__).resolve().parent / "data" / "ggml_blocks.npz") as _file:
    GRIDS = {key[5:]: _file[key].astype(int) for key in _file.files if key.startswith("grid/")}


def half(b, at):
    """The float16 at a byte offset, per block, as a column of float32."""
    return np.ascontiguousarray(b[:, at : at + 2]).view("<f2").astype(F32)


def bits(b, at, width):
    """For arrays of byte offsets and bit positions (one per value): the bits [at, at + width) of a byte."""
    where, low = at
    return (b[:, where].astype(int) >> low) & ((1 << width) - 1)


def nibble_halves(i, at, stride=16):
    """Where value i lies if the first half of each 2*stride is in low nibbles, the second in high ones."""
    run, j = i // (2 * stride), i % (2 * stride)
    return at + run * stride + j % stride, j // stride * 4


def quarter_bits(i, at):
    """Two bits of value i where each 32 bytes hold 128 values in four layers."""
    return at + i // 128 * 32 + i % 32, i % 128 // 32 * 2


def signs(index):
    """Seven sign bits and one of even parity, as -1 and 1 along a new last axis."""
    seven = index[..., None] >> np.arange(7) & 1
    all8 = np.concatenate([seven, seven.sum(-1, keepdims=True) % 2], -1)
    return 1 - 2 * all8


def decode(name, blocks):
    b = np.asarray(blocks)
    n, size = SIZES[name]
    assert b.ndim == 2 and b.shape[1] == size
    with np.errstate(all="ignore"):
        codes, d, m = globals()[f"_{name}"](b, np.arange(n))
        wide = np.broadcast_to(d, (len(b), d.shape[1]))
        d = np.repeat(wide, n // wide.shape[1], 1)
        m = None if m is None else np.repeat(m, n // m.shape[1], 1)
    return codes, d, m


def values(name, blocks):
    codes, d, m = decode(name, blocks)
    with np.errstate(all="ignore"):
        product = d * codes.astype(F32)
        return product if m is None else product + m


def _q1_0(b, i):
    return 2 * bits(b, (2 + i // 8, i % 8), 1) - 1, half(b, 0), None


def _q2_0(b, i):
    return bits(b, (2 + i // 4, i % 4 * 2), 2) - 1, half(b, 0), None


def _q4_0(b, i):
    return bits(b, nibble_halves(i, 2), 4) - 8, half(b, 0), None


def _q4_1(b, i):
    return bits(b, nibble_halves(i, 4), 4), half(b, 0), half(b, 2)


def _q5_0(b, i):
    return bits(b, nibble_halves(i, 6), 4) + 16 * bits(b, (2 + i // 8, i % 8), 1) - 16, half(b, 0), None


def _q5_1(b, i):
    return bits(b, nibble_halves(i, 8), 4) + 16 * bits(b, (4 + i // 8, i % 8), 1), half(b, 0), half(b, 2)


def _q8_0(b, i):
    return b[:, 2 + i].view(np.int8).astype(int), half(b, 0), None


def _q8_1(b, i):
    return b[:, 4 + i].view(np.int8).astype(int), half(b, 0), None


def _q8_K(b, i):
    d = np.ascontiguousarray(b[:, :4]).view("<f4")
    return b[:, 4 + i].view(np.int8).astype(int), d, None


def _q2_K(b, i):
    scales = b[:, :16]
    d, m = half(b, 80) * (scales & 15).astype(F32), half(b, 82) * (scales >> 4).astype(F32)
    return bits(b, quarter_bits(i, 16), 2), d, -m


def _q3_K(b, i):
    codes = bits(b, quarter_bits(i, 32), 2) + 4 * bits(b, (i % 32, i // 32), 1) - 4
    j = np.arange(16)
    low = bits(b, (96 + j % 8, j // 8 * 4), 4)
    high = bits(b, (104 + j % 4, j // 4 * 2), 2)
    return codes, half(b, 108) * (low + 16 * high - 32).astype(F32), None


def _six_bits(b):
    s = b[:, 4:16].astype(int)
    scale = np.concatenate([s[:, :4] & 63, s[:, 8:] & 15 | s[:, :4] >> 6 << 4], 1)
    least = np.concatenate([s[:, 4:8] & 63, s[:, 8:] >> 4 | s[:, 4:8] >> 6 << 4], 1)
    return half(b, 0) * scale.astype(F32), -(half(b, 2) * least.astype(F32))


def _q4_K(b, i):
    return bits(b, nibble_halves(i, 16, 32), 4), *_six_bits(b)


def _q5_K(b, i):
    return bits(b, nibble_halves(i, 48, 32), 4) + 16 * bits(b, (16 + i % 32, i // 32), 1), *_six_bits(b)


def _q6_K(b, i):
    low = bits(b, nibble_halves(i, 0, 64), 4)
    codes = low + 16 * bits(b, quarter_bits(i, 128), 2) - 32
    return codes, half(b, 208) * b[:, 192:208].view(np.int8).astype(F32), None


def _iq4_nl(b, i):
    return IQ4[bits(b, nibble_halves(i, 2), 4)], half(b, 0), None


def _iq4_xs(b, i):
    j = np.arange(8)
    level = bits(b, (4 + j // 2, j % 2 * 4), 4) + 16 * bits(b, (2 + j // 4, j % 4 * 2), 2) - 32
    return IQ4[bits(b, nibble_halves(i, 8), 4)], half(b, 0) * level.astype(F32), None


def _mxfp4(b, i):
    d = np.exp2(b[:, :1].astype(np.float64) - 128).astype(F32)
    return FP4[bits(b, nibble_halves(i, 1), 4)], d, None


def _nvfp4(b, i):
    u = b[:, :4].astype(int)
    e, f = u >> 3 & 15, u & 7
    scale = np.where(e == 0, f * 2.0**-9, (1 + f / 8) * np.exp2(e - 7.0))
    return FP4[bits(b, nibble_halves(i, 4, 8), 4)], np.where(u == 0x7F, 0, scale / 2).astype(F32), None


def _tq1_0(b, i):
    where = np.where(i < 160, i % 32, np.where(i < 240, 32 + i % 16, 48 + i % 4))
    digit = np.where(i < 160, i // 32, np.where(i < 240, (i - 160) // 16, (i - 240) // 4))
    return (b[:, where].astype(int) * 3**digit % 256 * 3 >> 8) - 1, half(b, 52), None


def _tq2_0(b, i):
    return bits(b, quarter_bits(i, 0), 2) - 1, half(b, 64), None


# Groups of 8 values: 32 in a block.


def _eights(name, index, sign):
    return (GRIDS[name][index] * sign).reshape(len(index), -1)


def _nibbles(b, at, count):
    j = np.arange(count)
    return bits(b, (at + j // 2, j % 2 * 4), 4)


def _words(b, at, stop, dtype):
    return np.ascontiguousarray(b[:, at:stop]).view(dtype).astype(int)


def _iq2_xxs(b, i):
    words = _words(b, 2, 66, "<u4")
    index = (words[:, ::2, None] >> 8 * np.arange(4) & 255).reshape(len(b), 32)
    sign = (words[:, 1::2, None] >> 7 * np.arange(4) & 127).reshape(len(b), 32)
    d = half(b, 0) * (F32(0.5) + (words[:, 1::2] >> 28).astype(F32)) * F32(0.25)
    return _eights("iq2_xxs", index, signs(sign)), d, None


def _iq2_xs(b, i):
    q = _words(b, 2, 66, "<u2")
    d = half(b, 0) * (F32(0.5) + _nibbles(b, 66, 16).astype(F32)) * F32(0.25)
    return _eights("iq2_xs", q & 511, signs(q >> 9)), d, None


def _iq2_s(b, i):
    g = np.arange(32)
    index = b[:, 2:34].astype(int) + 256 * bits(b, (66 + g // 4, g % 4 * 2), 2)
    sign = 1 - 2 * (b[:, 34:66, None].astype(int) >> np.arange(8) & 1)
    d = half(b, 0) * (F32(0.5) + _nibbles(b, 74, 16).astype(F32)) * F32(0.25)
    return _eights("iq2_s", index, sign), d, None


def _iq3_xxs(b, i):
    words = _words(b, 66, 98, "<u4")
    sign = signs((words[:, :, None] >> 7 * np.arange(4) & 127).reshape(len(b), 32)).reshape(len(b), 64, 4)
    d = half(b, 0) * (F32(0.5) + (words >> 28).astype(F32)) * F32(0.5)
    return _eights("iq3_xxs", b[:, 2:66].astype(int), sign), d, None


def _iq3_s(b, i):
    g = np.arange(64)
    index = b[:, 2:66].astype(int) + 256 * bits(b, (66 + g // 8, g % 8), 1)
    sign = 1 - 2 * (b[:, 74:106, None].astype(int) >> np.arange(8) & 1).reshape(len(b), 64, 4)
    d = half(b, 0) * (1 + 2 * _nibbles(b, 106, 8)).astype(F32)
    return _eights("iq3_s", index, sign), d, None


def _iq1(index, down, d):
    codes = 8 * GRIDS["iq1_s"][index] + np.where(down, -1, 1)[..., None]
    return codes.reshape(len(index), -1), d / F32(8), None


def _iq1_s(b, i):
    high = _words(b, 34, 50, "<u2")
    index = b[:, 2:34].astype(int) + 256 * (high[:, :, None] >> 3 * np.arange(4) & 7).reshape(len(b), 32)
    return _iq1(index, np.repeat(high >> 15, 4, 1), half(b, 0) * (2 * (high >> 12 & 7) + 1).astype(F32))


def _iq1_m(b, i):
    high, words = _nibbles(b, 32, 32), _words(b, 48, 56, "<u2")
    bits16 = sum((words[:, k] >> 12) << 4 * k for k in range(4)).astype(np.uint16)
    scale = bits16.view(np.float16).astype(F32)[:, None]
    levels = (words[:, :, None] >> 3 * np.arange(4) & 7).reshape(len(b), 16)
    return _iq1(b[:, :32].astype(int) + 256 * (high & 7), high >> 3, scale * (2 * levels + 1).astype(F32))

"""The numerical definition of ``csrc/README.md`` in NumPy, written from that text and from nothing else.

It is the check on the C library: slow, plain, and independent of it. Bits are taken apart by
``np.unpackbits``; every float operation is one NumPy operation on float32 (which rounds once); the fused
multiply-add is made exact by rounding to odd in double. Nothing here imports ``pyqbits``.

A quantized matrix is a :class:`Quantized`: levels (codes as unsigned numbers) and float32 parameters, all
of them two-dimensional: rows x cols and rows x groups (1 x 1 for one scale per tensor).
"""

from dataclasses import dataclass

import ml_dtypes
import numpy as np

F = np.float32
NAN = np.array(0x7FC00000, np.uint32).view(F)
TOPS = {"int8": 0x7F, "int16": 0x7F7F, "int24": 0x7F7F7F}
SCALES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": F}


class ScaleRangeError(ValueError):
    """A scale or minimum is infinite in its type; ``index``: the first element of its group, row-major."""

    def __init__(self, index):
        super().__init__(f"scale of the group that starts at element {index} overflows")
        self.index = index


@dataclass(frozen=True)
class Format:
    """bits 1..8; group a positive integer, "row" or "tensor"; zero None, "min" or "point"."""

    bits: int
    group: int | str = 32
    zero: str | None = None
    scale: str = "float16"

    @property
    def name(self):
        """The library's name of the format."""
        group = f"g{self.group}" if isinstance(self.group, int) else self.group
        suffix = {"float16": "", "bfloat16": "_bf16", "float32": "_f32"}[self.scale]
        point = "_z" if self.zero == "point" else ""
        return f"{'u' if self.zero else ''}int{self.bits}_{group}{point}{suffix}"

    @property
    def half(self):
        return 2 ** (self.bits - 1)

    def step(self, cols):
        """Elements that share a scale, within one row."""
        return max(cols, 1) if self.group in ("row", "tensor") else self.group

    def groups(self, cols):
        """[start, stop) of every group of a row."""
        step = self.step(cols)
        return [(start, min(start + step, cols)) for start in range(0, cols, step)]

    def store(self, x):
        """T(x), widened back."""
        return x.astype(SCALES[self.scale]).astype(F)


@dataclass
class Quantized:
    format: Format
    levels: np.ndarray  # [rows][cols]; symmetric codes + 2^(b-1), one bit symmetric: 0 and 1
    scales: np.ndarray  # [rows][groups]
    mins: np.ndarray  # zeros where the format has none, and so
    zeros: np.ndarray

    @property
    def codes(self):
        """Codes as the library shows them: two's complement numbers where symmetric (0 and 1 for one bit)."""
        symmetric = self.format.zero is None and self.format.bits > 1
        return self.levels - self.format.half if symmetric else self.levels

    def integers(self):
        """q - z as exact integers: what the scale multiplies."""
        if self.format.zero is None:
            return 2 * self.levels - 1 if self.format.bits == 1 else self.levels - self.format.half
        if self.format.zero == "point":
            return self.levels - self.spread(self.zeros)
        return self.levels

    def spread(self, parameter):
        """A parameter per group as one per element."""
        rows, cols = self.levels.shape
        if self.format.group == "tensor":
            return np.broadcast_to(parameter, (rows, cols))
        return np.repeat(parameter, self.format.step(cols), axis=1)[:, :cols]

    def stored(self):
        """The arrays on disk: packed codes, scales, and minima or packed zero points where it has them."""
        scale = SCALES[self.format.scale]
        arrays = {"": pack(self.codes, self.format.bits), ".scales": self.scales.astype(scale)}
        if self.format.zero == "min":
            arrays[".mins"] = self.mins.astype(scale)
        elif self.format.zero == "point":
            arrays[".zeros"] = pack(self.zeros, self.format.bits)
        return arrays


# ---- streams of bits -------------------------------------------------------------------------------------


def pack(codes, bits):
    """Dense LSB-first streams along the last axis; negative codes in two's complement modulo 2^bits."""
    low = (np.asarray(codes).astype(np.int64) & (2**bits - 1)).astype(np.uint8)
    planes = np.unpackbits(low[..., None], axis=-1, count=bits, bitorder="little")
    return np.packbits(planes.reshape(*low.shape[:-1], low.shape[-1] * bits), axis=-1, bitorder="little")


def unpack(stream, bits, count, signed=False):
    planes = np.unpackbits(stream, axis=-1, count=count * bits, bitorder="little")
    codes = planes.reshape(*stream.shape[:-1], count, bits).astype(np.int64) @ (1 << np.arange(bits))
    return np.where(codes >= 2 ** (bits - 1), codes - 2**bits, codes) if signed else codes


# ---- exact helpers ---------------------------------------------------------------------------------------


def floats(x):
    """Any input dtype as float32: 16-bit types widen, float64 rounds."""
    with np.errstate(over="ignore"):
        return np.asarray(x).astype(F)


def fma(a, b, c):
    """float32 a*b + c, rounded once.

    The product of two floats is exact in double. Its sum with c is rounded to odd (the inexact result with
    an odd last bit, found from the exact error of the addition); with 29 more bits than a float has, the
    final narrowing, also to a denormal, then rounds as if from the exact sum.
    """
    a, b, c = (np.asarray(v, F).astype(np.float64) for v in (a, b, c))
    with np.errstate(over="ignore", invalid="ignore"):
        p = a * b
        s = p + c
        t = s - p
        error = (p - (s - t)) + (c - t)
        even = (s.view(np.int64) & 1) == 0
        odd = np.nextafter(s, np.where(error > 0, np.inf, -np.inf))
        return np.where((error != 0) & even & np.isfinite(s), odd, s).astype(F)


def ordered_sum(x):
    """Sum along the last axis in double, strictly in index order."""
    return np.cumsum(x, axis=-1, dtype=np.float64)[..., -1]


def clamp(t, lo, hi):
    """Clamped to [lo, hi], both float32; a NaN gives lo."""
    t = np.where(t > lo, t, lo)
    return np.where(t < hi, t, hi)


# ---- round to nearest ------------------------------------------------------------------------------------


def quantize(x, format):
    """Round-to-nearest of a matrix of finite values."""
    x = floats(x)
    rows, cols = x.shape
    if format.group == "tensor":
        x, step = x.reshape(1, -1), max(x.size, 1)
    else:
        step = format.step(cols)
    whole = x.shape[1] // step * step
    parts = [_groups(x[:, :whole], step, format), _groups(x[:, whole:], x.shape[1] - whole, format)]
    levels, d, m, z = (np.concatenate(pair, axis=1) for pair in zip(*parts, strict=True))
    outermost = F(format.half if format.zero is None else 2**format.bits - 1)
    with np.errstate(over="ignore", invalid="ignore"):
        refused = ~np.isfinite(d * outermost + m)
    for row, group in np.argwhere(refused):
        raise ScaleRangeError(int(row * cols + group * step))
    return Quantized(format, levels.reshape(rows, cols), d, m, z)


def _groups(x, step, format):
    """Levels and parameters of rows that are whole groups of `step` elements."""
    if not x.size:
        return np.zeros(x.shape, np.int64), *np.zeros((3, len(x), 0), F)
    levels, *parameters = _rtn(x.reshape(-1, step), format)
    return levels.reshape(x.shape), *(p.reshape(len(x), -1) for p in parameters)


def _rtn(x, format):
    """Levels and parameters d, m, z of groups, one a row."""
    bits, half, top = format.bits, F(format.half), F(2**format.bits - 1)
    lo, hi = x.min(axis=1) + F(0), x.max(axis=1) + F(0)
    m = np.zeros_like(lo)
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        if format.zero is None and bits == 1:
            d = format.store((ordered_sum(np.abs(x)) / x.shape[1]).astype(F))
        elif format.zero is None:
            extreme = x[np.arange(len(x)), np.abs(x).argmax(axis=1)]
            d = format.store(extreme / -half)
        elif format.zero == "min" and bits == 1:
            d, m = _two_levels(x, lo, hi, format)
        elif format.zero == "min":
            m = format.store(lo)
            d = format.store((hi - m) / top)
        else:
            d = format.store((np.maximum(hi, F(0)) - np.minimum(lo, F(0))) / top)
        inv = F(1) / d
        live = (d != 0) & np.isfinite(inv)
        inv, d = np.where(live, inv, F(0)), np.where(live, d, F(0))
        z = np.zeros_like(lo)
        if format.zero is None and bits == 1:
            level = (x >= 0).astype(F)
        elif format.zero is None:
            level = clamp(np.rint(x * inv[:, None]), -half, half - F(1)) + half
        elif format.zero == "min":
            level = clamp(np.rint((x - m[:, None]) * inv[:, None]), F(0), top)
        else:
            z = clamp(np.rint(-np.minimum(lo, F(0)) * inv), F(0), top)
            level = clamp(np.rint(x * inv[:, None]) + z[:, None], F(0), top)
    zero_level = F(format.half) if format.zero is None and bits > 1 else F(0)
    level = np.where(live[:, None], level, zero_level)
    return level.astype(np.int64), d, m, z


def _two_levels(x, lo, hi, format):
    """Scale and minimum of one bit with a minimum: the means of the values below the mean and of the rest.

    Where none is below (all equal, or so close that the mean rounds to the least), the range.
    """

    def mean(mask):
        return (ordered_sum(np.where(mask, x, 0.0)) / mask.sum(axis=1)).astype(F)

    below = x < mean(np.ones(x.shape, bool))[:, None]
    split = below.any(axis=1)
    m = format.store(np.where(split, mean(below), lo))
    return format.store(np.where(split, mean(~below), hi) - m), m


def dequantize(q):
    with np.errstate(over="ignore"):
        value = q.spread(q.scales) * q.integers().astype(F)
        return value + q.spread(q.mins) if q.format.zero == "min" else value


# ---- arithmetic ------------------------------------------------------------------------------------------


def segments(format, cols):
    """(start, stop, group, block start, block stop) of every segment of a row, in order."""
    found = []
    step = format.step(cols)
    block = step * -(-32 // step) if step < 32 else min(step, 256)
    for group, (first, last) in enumerate(format.groups(cols)):
        for start in range(first, last, block):
            base = start - start % block if step < 32 else start
            found.append(
                (start, min(start + block, last), group, base, min(base + block, cols if step < 32 else last))
            )
    return found


def split(block, top):
    """dx [n] and integers xq [n][k] of one activation block [n][k]."""
    amax = np.abs(block).max(axis=1)
    live = amax >= F(2.0**-100)
    dx = np.where(live, amax / F(top), F(0))
    inv = F(1) / np.where(live, dx, F(1))
    xq = clamp(np.rint(block * inv[:, None]), F(-top), F(top))
    return dx, np.where(live[:, None], xq, F(0)).astype(np.int64)


def digits(xq, planes):
    """Balanced base-256 digits in [-128, 127], lowest first."""
    out = []
    for _ in range(planes):
        low = (xq + 128) % 256 - 128
        out.append(low)
        xq = (xq - low) // 256
    return out


def multiply(q, x, activations="int24"):
    """out[n][m] = sum over k of q[m][k] * x[n][k]."""
    x = floats(x)
    top = TOPS[activations]
    planes = list(TOPS).index(activations) + 1
    rows, cols = q.levels.shape
    weights = q.integers().astype(np.float64)  # products and sums of integers below 2^53 are exact
    bad = ~np.isfinite(x).all(axis=1)
    x = np.where(bad[:, None], F(0), x)
    scales, mins = (np.broadcast_to(p, (rows, len(q.format.groups(cols)))) for p in (q.scales, q.mins))
    acc = np.zeros((len(x), rows), F)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for start, stop, group, first, last in segments(q.format, cols):
            dx, xq = split(x[:, first:last], top)
            xq = xq[:, start - first : stop - first]
            a = [plane.astype(np.float64) @ weights[:, start:stop].T for plane in digits(xq, planes)]
            if planes == 1:
                t = a[0].astype(F)
            elif planes == 2:
                t = (256 * a[1] + a[0]).astype(F)
            else:
                t = fma(F(256), (256 * a[2] + a[1]).astype(F), a[0].astype(F))
            acc = fma(scales[:, group] * dx[:, None], t, acc)
            if q.format.zero == "min":
                acc = fma(mins[:, group], (dx * xq.sum(axis=1).astype(F))[:, None], acc)
    acc[bad] = NAN
    return np.where(np.isnan(acc), NAN, acc)


def vecdot(a, b):
    """Dot products of the rows of a with the rows of b, one to one."""
    rows, cols = a.levels.shape
    qa, qb = (q.integers().astype(np.float64) for q in (a, b))
    total = np.zeros(rows)
    for group, (first, last) in enumerate(a.format.groups(cols)):
        da, ma, db, mb = (
            np.broadcast_to(p, (rows, len(a.format.groups(cols))))[:, group].astype(np.float64)
            for p in (a.scales, a.mins, b.scales, b.mins)
        )
        for start in range(first, last, 256):
            stop = min(start + 256, last)
            pa, pb = qa[:, start:stop], qb[:, start:stop]
            total = total + (da * db) * (pa * pb).sum(axis=1)
            if "min" in (a.format.zero, b.format.zero):
                total = total + ((da * mb) * pa.sum(axis=1) + (db * ma) * pb.sum(axis=1))
                total = total + (ma * mb) * (stop - start)
    with np.errstate(over="ignore"):
        return total.astype(F)


def compare(x, q):
    """Sums of x*x and of squared errors, largest |error| and the first index that has it."""
    value = dequantize(q).astype(np.float64)
    x = floats(x).astype(np.float64)
    error = x - value
    sums = np.zeros(2)
    run = max(1, -(-len(x) // 64))
    for first in range(0, len(x), run):
        both = [part[first : first + run].ravel() for part in (x * x, error * error)]
        lanes = np.zeros((2, -(-max(both[0].size, 1) // 16) * 16))
        lanes[:, : both[0].size] = both
        sums += [ordered_sum(ordered_sum(lane.reshape(-1, 16).T)) for lane in lanes]
    worst = int(np.abs(error).argmax()) if x.size else 0
    return *sums, float(np.abs(error.ravel()[worst])) if x.size else 0.0, worst

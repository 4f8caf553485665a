"""The picture of `pyqbits compare --plot`: how errors are distributed, and the SNR of each tensor."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ModuleNotFoundError:
    raise ValueError("--plot needs matplotlib: pip install 'pyqbits[plot]'") from None

if TYPE_CHECKING:
    from .compare import Pair

BINS = 201
INCHES_PER_BAR = 0.16


def draw(pairs: Sequence["Pair"], path: Path) -> None:
    """Write the picture as whatever kind of file the name's ending says."""
    from .compare import parts

    edges = np.linspace(-1, 1, BINS + 1) * max(reach(pair) for pair in pairs)
    counts = np.zeros(BINS)
    for pair in pairs:
        for x, q in parts(pair.original, pair.quantized):
            error = np.asarray(q, np.float32) - np.asarray(x, np.float32)
            counts += np.histogram(error / scale(pair), edges)[0]
    figure = Figure(figsize=(12, max(4, 1 + INCHES_PER_BAR * len(pairs))), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.stairs(counts / counts.sum(), edges, fill=True)
    left.set(yscale="log", xlabel="error / rms of the tensor", ylabel="share of values", title="Errors")
    places = np.arange(len(pairs))
    right.barh(places, [min(pair.errors.snr_db, 200) for pair in pairs])
    right.set_yticks(places, [pair.name for pair in pairs], fontsize=6)
    right.set(xlabel="dB", title="SNR per tensor")
    right.margins(y=0.01)
    right.invert_yaxis()
    figure.savefig(path, dpi=150)


def scale(pair: "Pair") -> float:
    """The root mean square of a tensor's values; 1 for a tensor of zeros."""
    return float(np.sqrt(pair.errors.sum_xx / pair.errors.size)) or 1.0


def reach(pair: "Pair") -> float:
    """The largest error in that unit; tiny where there is none, so that the axis has a length."""
    return max(pair.errors.max_abs / scale(pair) * 1.001, 1e-9)

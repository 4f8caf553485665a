"""`python -m benchmarks.picture`: the README's picture of products.

    python -m benchmarks.picture results/peers.json -o benchmarks/results/products.png

It is drawn from figures of `python -m benchmarks.peers`: left, the time of one column against the bits that a
weight takes; right, the rate against the number of columns.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.peers.measure import Row

INK, GRID = "#333333", "#e2e2e2"
OURS = {"int8": "#d1495b", "int16": "#e09f3e", "int24": "#7b2d8b"}
PEERS = {
    "ggml": ("#2e6f95", "o"),
    "ONNX Runtime": ("#3a7d44", "s"),
    "OpenVINO": ("#7f5539", "D"),
    "PyTorch": ("#6c7a93", "^"),
    "NumKong": ("#111111", "v"),
    "NumPy": ("#888888", "x"),
}
LEFT_OUT = ("bitsandbytes",)  # many times slower than the others; the tables have it
RATE_OF = ("int4_g32", "q4_0", "q4_K", "int8_row x86", "float32")
LABEL_STEP = 0.045  # of the axis


def draw(rows: list[Row], file: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    style = {"font.size": 9, "axes.edgecolor": INK, "text.color": INK, "svg.hashsalt": "pyqbits"}
    with pyplot.rc_context(style):
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
        draw_times(left, rows)
        draw_rates(right, rows)
        for axes in (left, right):
            axes.grid(color=GRID, linewidth=0.6)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(file, dpi=110)


def draw_times(axes: object, rows: list[Row]) -> None:
    """N = 1: our lines over the widths, a mark for each peer, and what reading the weights takes."""
    for activations, color in OURS.items():
        names = {f"int{bits}_g32 {activations}" for bits in range(1, 9)}
        line = sorted((row.bpw, milliseconds(row)) for row in rows if row.name in names)
        axes.plot(
            *zip(*line, strict=True), color=color, marker=".", label=f"pyqbits, {activations} activations"
        )
    for library, (color, marker) in PEERS.items():
        points = [(row.bpw, milliseconds(row)) for row in rows if row.library == library and row.bpw < 16]
        if points:
            axes.scatter(*zip(*points, strict=True), 22, color=color, marker=marker, label=library, zorder=3)
    whole = milliseconds(rows[0])
    widths = [min(line)[0], max(line)[0]]
    label = "reading alone, as fast as NumPy's\nfloat32 product reads"
    axes.plot(
        widths, [whole * bpw / 32 for bpw in widths], color=INK, linewidth=0.8, linestyle=":", label=label
    )
    axes.set_ylim(0)
    axes.set_xlabel("bits per weight, scales counted")
    axes.set_ylabel("milliseconds")
    title = f"{rows[0].m} x {rows[0].k} weights from memory, N = 1 (NumPy float32: {whole:.1f} ms)"
    axes.set_title(title, loc="left", fontsize=9.5)
    axes.legend(fontsize=8, frameon=False)


def draw_rates(axes: object, rows: list[Row]) -> None:
    """Rate against the batch: 4-bit weights in groups of 32, and 8-bit and float peers."""
    ends: list[tuple[float, str, str]] = []
    for row in rows:
        if row.library in LEFT_OUT or not any(row.name.startswith(name) for name in RATE_OF):
            continue
        rates = [row.gmacs(place) for place in range(len(row.n))]
        if row.library == "pyqbits":
            color, style = OURS[row.name.split()[1]], {"linewidth": 2.2, "marker": "."}
        else:
            color, marker = PEERS[row.library]
            style = {"linewidth": 1, "marker": marker, "markersize": 4}
        axes.plot(row.n, rates, color=color, **style)
        ends.append((rates[-1], str(row), color))
    axes.set_xscale("log", base=2)
    axes.set_xticks(rows[0].n, [str(n) for n in rows[0].n])
    axes.set_ylim(0)
    axes.set_xlabel("batch N (rows of X in X @ p.T)")
    axes.set_ylabel("GMAC/s")
    axes.set_title("Rate by batch, 4 bits and others", loc="left", fontsize=9.5)
    label_ends(axes, rows[0].n[-1], ends)


def label_ends(axes: object, x: float, ends: list[tuple[float, str, str]]) -> None:
    """Names of lines right of their ends, moved up where they would overlap."""
    step = LABEL_STEP * axes.get_ylim()[1]
    height = -step
    for end, text, color in sorted(ends):
        height = max(end, height + step)
        axes.annotate(
            *(text, (x, height)),
            xytext=(7, 0),
            textcoords="offset points",
            color=color,
            fontsize=8,
            va="center",
            annotation_clip=False,
        )


def milliseconds(row: Row) -> float:
    return 1e3 * row.best[row.n.index(1)]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.picture", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("figures", type=Path, nargs="+", help="what `python -m benchmarks.peers --json` wrote")
    add("-o", "--output", type=Path, required=True, help="a .png or .svg file")
    add("--shape", default="4096x4096", help="of the weights (default: %(default)s)")
    add("--threads", type=int, default=1, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    rows = [Row(**one) for file in options.figures for one in json.loads(file.read_text())["results"]]
    chosen = [row for row in rows if (f"{row.m}x{row.k}", row.threads) == (options.shape, options.threads)]
    if not chosen:
        parser.error(f"no figures of {options.shape} on {options.threads} threads in these files")
    draw(chosen, options.output)


if __name__ == "__main__":
    main()

"""What commands print: tables that fit the terminal, JSON for machines, a progress bar for people."""

import json
import math
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.text import Text

PIPE_WIDTH = 200  # lines for grep rather than for eyes


def console() -> Console:
    """Standard output; as wide as COLUMNS or the terminal says, and wide where there is no terminal."""
    out = Console(highlight=False, markup=False, emoji=False)
    if not out.is_terminal and "COLUMNS" not in os.environ:
        out.width = PIPE_WIDTH
    return out


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar of bytes on standard error, gone at the end; yields the function that advances it."""
    bar = Progress(
        TextColumn("quantizing"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    bar.disable = not bar.console.is_terminal
    with bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)


def plain(text: str) -> str:
    """Text with what could control a terminal made visible."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def show(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    text: Collection[str] = ("shape",),
    footer: int = 0,
) -> None:
    """Print rows under column heads; the last `footer` rows are set apart.

    The first column and those named in `text` are set left, the others, numbers, right. Where the first
    column, a name, and the rest do not fit side by side, each name gets a line of its own above the rest.
    """
    out = console()
    rows = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    stacked = sum(widths) + 2 * (len(widths) - 1) > out.width
    if title:
        out.print(Text(plain(title), style="bold"))
    for number, row in enumerate([columns, *rows]):
        style = "bold" if number == 0 or number > len(rows) - footer else ""
        if footer and number == len(rows) - footer + 1:
            out.print()
        cells = [
            cell.ljust(width) if i == 0 or column in text else cell.rjust(width)
            for i, (cell, column, width) in enumerate(zip(row, columns, widths, strict=True))
        ]
        for line in _lines(row[0], cells, stacked):
            out.print(Text(line, style=style), soft_wrap=True)


def _lines(name: str, cells: Sequence[str], stacked: bool) -> list[str]:
    if not stacked:
        return ["  ".join(cells).rstrip()]
    rest = ("  " + "  ".join(cells[1:])).rstrip()
    return [name + rest[len(name) :]] if rest[: len(name) + 1].isspace() else [name, rest]


def note(text: str) -> None:
    console().print(plain(text), soft_wrap=True)


def show_json(value) -> None:
    """Print JSON; infinities become null, since JSON has none."""

    def finite(item):
        if isinstance(item, float) and not math.isfinite(item):
            return None
        if isinstance(item, dict):
            return {key: finite(entry) for key, entry in item.items()}
        if isinstance(item, list | tuple):
            return [finite(entry) for entry in item]
        return item

    print(json.dumps(finite(value), indent=1))


# ---- numbers --------------------------------------------------------------------------------------------


def megabytes(count: int) -> str:
    value = count / 1e6
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 1000 else f"{value:.0f}"


def shape(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes)) or "()"


def decibels(report) -> str:
    return f"{report.snr_db:.1f}"


def relative(report) -> str:
    return f"{report.relative_rmse:.3g}"


def bits(value: float) -> str:
    return f"{value:.2f}"


def number(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def rate(count: float, seconds: float) -> str:
    return f"{count / 1e6 / seconds:.0f}" if seconds > 0 else "-"

"""Tables of measured rows: times, errors, and who is faster at no larger error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from benchmarks.peers.measure import Row

OURS = "pyqbits"
LEEWAY = 1.02  # errors closer than this are the same
Table = list[list[str]]

SHOWN: dict[str, Callable[[Row, int], str]] = {
    "time": lambda row, place: duration(row.best[place]),
    "ratio": lambda row, place: f"{row.ratio[place]:.3g}",
    "rate": lambda row, place: f"{row.gmacs(place):.3g}",
}
UNITS = {"time": "us, or ms where said", "ratio": "times NumPy float32's speed", "rate": "GMAC/s"}


def duration(seconds: float) -> str:
    return f"{seconds * 1e6:.0f}" if seconds < 0.01 else f"{seconds * 1e3:.0f} ms"


def groups(rows: list[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Rows of one shape and number of threads, with a title."""
    for key in dict.fromkeys((row.m, row.k, row.threads) for row in rows):
        m, k, threads = key
        title = f"{m}x{k}, {threads} thread{'s' if threads > 1 else ''}"
        yield title, [row for row in rows if (row.m, row.k, row.threads) == key]


def speeds(rows: list[Row], what: str) -> Table:
    """A line a method by bits per weight; the errors are the worst of all batches."""
    batches = sorted({n for row in rows for n in row.n})
    lines = [["method", "bpw", "error", "own error", *(f"N={n}" for n in batches)]]
    for row in sorted(rows, key=lambda row: (row.bpw, str(row))):
        shown = {n: SHOWN[what](row, place) for place, n in enumerate(row.n)}
        errors = (f"{max(values):.2g}" for values in (row.error, row.own_error))
        lines.append([str(row), f"{row.bpw:.2f}", *errors, *(shown.get(n, "") for n in batches)])
    return lines


def standing(rows: list[Row]) -> Table:
    """How many times as long each peer takes as our fastest method whose error is no larger."""
    batches = sorted({n for row in rows for n in row.n})
    lines = [["peer", "bpw", "error", *(f"N={n}" for n in batches)]]
    for peer in sorted((row for row in rows if row.library != OURS), key=lambda row: row.bpw):
        found = {n: lead(peer, n, rows) for n in peer.n}
        cells = [f"{found[n]:.2f}" if found.get(n) else "" for n in batches]
        if any(cells):
            lines.append([str(peer), f"{peer.bpw:.2f}", f"{max(peer.error):.2g}", *cells])
    return lines


def lead(peer: Row, n: int, rows: Iterable[Row]) -> float | None:
    """The peer's time over ours, None where none of our methods is as accurate."""
    place = peer.n.index(n)
    ours = [
        row.best[row.n.index(n)]
        for row in rows
        if row.library == OURS and n in row.n and row.error[row.n.index(n)] <= LEEWAY * peer.error[place]
    ]
    return peer.best[place] / min(ours) if ours else None


def markdown(table: Table) -> str:
    head, *lines = table
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def show(title: str, table: Table) -> None:
    """Prints with rich on a terminal where it is there, as Markdown elsewhere."""
    try:
        from rich.console import Console
        from rich.table import Table as Grid
    except ImportError:
        console = None
    else:
        console = Console()
    if console is None or not console.is_terminal:
        print(f"\n{title}\n\n{markdown(table)}")
        return
    grid = Grid(title=title, title_justify="left")
    for column, name in enumerate(table[0]):
        grid.add_column(name, justify="right" if column else "left", no_wrap=True)
    for line in table[1:]:
        grid.add_row(*line)
    console.print(grid)

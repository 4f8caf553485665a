"""Results of comparisons as records (for JSON) and as a Markdown table."""

from __future__ import annotations

import dataclasses
import json

from benchmarks import timing
from benchmarks.cases import Case

NAMES = ("operation", "what", "size", "reference")


def record(case: Case, isa: str, result: timing.Result) -> dict:
    """Everything about one comparison; times and ratios to six digits."""
    figures = {name: rounded(value) for name, value in dataclasses.asdict(result).items()}
    return {**{name: getattr(case, name) for name in NAMES}, "isa": isa, **figures}


def rounded(value: float) -> float:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def to_json(about: dict, records: list[dict]) -> str:
    """What the records are about, and the records, a line each."""
    lines = ",\n".join(json.dumps(one) for one in records)
    return f'{{"about": {json.dumps(about)},\n"results": [\n{lines}\n]}}\n'


def table(records: list[dict], isas: list[str]) -> str:
    """A Markdown table: one row a case, one column a tier."""
    head = ["operation", "what", "size", "ratio to", *isas]
    rows: dict[tuple, list[str]] = {}
    for one in records:
        key = tuple(one[name] for name in NAMES)
        spread = f"{one['low']:.2f}..{one['high']:.2f}"
        rows.setdefault(key, []).append(f"{one['ratio']:.2f} ({spread}) {duration(one['seconds'])}")
    lines = [head, ["---"] * len(head), *([*key, *cells] for key, cells in rows.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def duration(seconds: float) -> str:
    for unit, name in ((1e-6, "us"), (1e-3, "ms")):
        if seconds < 1000 * unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"

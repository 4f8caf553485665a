"""What became of the tensors of a model: a table for people, JSON for machines."""

import dataclasses
import math
from collections import Counter
from pathlib import Path

from pyqbits import ErrorReport

from ..gguf.types import TYPES
from . import models, tables
from .reports import combined


@dataclasses.dataclass
class Result:
    """What became of a tensor. `errors` is None where it was copied."""

    name: str
    shape: tuple[int, ...]
    format: str
    bpw: float
    before: int
    after: int
    errors: ErrorReport | None
    seconds: float


def report(results: list[Result], model: models.Model, outputs: list[Path], *, json: bool) -> None:
    """A row for each quantized tensor, one for the copied ones, and one for everything."""
    quantized = [result for result in results if result.errors]
    copied = [result for result in results if not result.errors]
    reports = [result.errors for result in results if result.errors]
    total = Result(
        "total", (), "", 0.0,
        sum(path.stat().st_size for path in model.files), sum(path.stat().st_size for path in outputs),
        combined(reports) if reports else None, sum(result.seconds for result in results),
    )  # fmt: skip
    values = sum(math.prod(result.shape) for result in results)
    total.bpw = total.after * 8 / values if values else 0.0
    if json:
        records = {"tensors": [record(result) for result in results], "total": record(total)}
        tables.show_json({**records, "outputs": [str(path) for path in outputs]})
        return
    rows = [cells(result) for result in quantized]
    if copied:
        count = f"{len(copied)} tensor{'s' * (len(copied) > 1)} copied"
        size, seconds = sum(result.before for result in copied), sum(result.seconds for result in copied)
        rows.append(cells(Result(count, (), "", 0.0, size, size, None, seconds)))
    rows.append(cells(total))
    heads = ["tensor", "shape", "format", "bpw", "MB", "to MB", "SNR dB", "rel. rmse", "s", "MB/s"]
    tables.show("", heads, rows, footer=1 + bool(copied))
    where = outputs[0].parent if model.index else outputs[0]
    ratio, what = total.before / total.after, "smaller"
    if ratio < 1:
        ratio, what = 1 / ratio, "larger"
    tables.note(f"wrote {where}: {ratio:.2f} times {what}")


def show_fallbacks(fallbacks: Counter[tuple[str, str]]) -> None:
    """Say which types could not be had, since their blocks do not divide rows, and what took their place."""
    for (asked, got), count in fallbacks.items():
        tensors, block = f"{count} tensor{'s' * (count > 1)}", TYPES[asked].block
        tables.note(f"{got} instead of {asked}: {tensors}, of rows that are no multiple of {block}")


def cells(result: Result) -> list[str]:
    errors = result.errors
    return [
        result.name,
        tables.shape(result.shape) if result.shape else "",
        result.format,
        tables.bits(result.bpw) if result.bpw else "",
        tables.megabytes(result.before),
        tables.megabytes(result.after),
        tables.decibels(errors) if errors else "",
        tables.relative(errors) if errors else "",
        f"{result.seconds:.3f}" if result.seconds < 100 else f"{result.seconds:.0f}",
        tables.rate(result.before, result.seconds),
    ]


def record(result: Result) -> dict:
    """A result for machines."""
    fields = dataclasses.asdict(result)
    errors = fields.pop("errors")
    if errors:
        fields |= {key: getattr(result.errors, key) for key in ("snr_db", "relative_rmse", "rmse", "max_abs")}
    return fields

"""`pyqbits compare`: the error of a quantized model against the original, a chunk of rows at a time."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

import pyqbits
from pyqbits import ErrorReport, QArray, gguf

from . import models, tables
from .quantize import CHUNK
from .reports import combined, float_report


class Pair(NamedTuple):
    """A tensor that was quantized, or rounded to another type; its original; and its errors."""

    name: str
    original: np.ndarray | QArray
    quantized: np.ndarray | QArray
    errors: ErrorReport

    @property
    def format(self) -> str:
        return str(self.quantized.format if isinstance(self.quantized, QArray) else self.quantized.dtype)


class Differences(NamedTuple):
    pairs: list[Pair]
    identical: list[str]
    different: list[str]
    missing: list[str]


def compare_models(original: Path, quantized: Path, *, plot: Path | None, json: bool) -> None:
    """Print the errors per tensor and in total; draw them where asked."""
    if plot:
        from .plots import draw  # early, since what it needs may be missing
    found = differences(contents(original), contents(quantized))
    if not found.pairs:
        raise ValueError(f"{quantized} holds no quantized or rounded tensor that is in {original} too")
    total = combined([pair.errors for pair in found.pairs])
    if plot:
        draw(found.pairs, plot)
    if json:
        tensors = [
            {"name": p.name, "shape": p.original.shape, "format": p.format, **record(p.errors)}
            for p in found.pairs
        ]
        lists = {key: getattr(found, key) for key in ("identical", "different", "missing")}
        tables.show_json({"tensors": tensors, "total": record(total), **lists})
        return
    rows = [cells(p.name, p.original.shape, p.format, p.errors) for p in found.pairs]
    heads = ["tensor", "shape", "format", "bpw", "SNR dB", "rel. rmse", "rmse", "max error", "at"]
    tables.show("", heads, [*rows, cells("total", (), "", total)], footer=1)
    tables.note(f"{len(found.identical)} other tensors are identical")
    for what, names in (("differ", found.different), ("are missing", found.missing)):
        if names:
            tables.note(f"{len(names)} tensors {what}: {', '.join(names)}")
    if plot:
        tables.note(f"drew {plot}")


def contents(path: Path) -> Mapping[str, np.ndarray | QArray]:
    """All tensors of a model under their names."""
    found: dict[str, np.ndarray | QArray] = {}
    for file in models.find(path).files:
        with models.naming(file):
            archive = pyqbits.open(file)
        for name in archive:
            try:
                found[name] = archive[name]
            except TypeError:  # a type that NumPy has not: its bytes
                source = archive if isinstance(archive, gguf.File) else models.MappedFile(file)
                found[name] = source.raw(name)
    return found


def differences(before: Mapping, after: Mapping) -> Differences:
    found = Differences([], [], [], [name for name in before if name not in after])
    for name, y in after.items():
        x = before.get(name)
        if x is None:
            continue
        if x.shape != y.shape:
            raise ValueError(f"tensor {name!r} has shape {x.shape} in one file and {y.shape} in the other")
        if isinstance(y, QArray):
            found.pairs.append(Pair(name, x, y, errors_of(x, y)))
        elif same(x, y):
            found.identical.append(name)
        elif is_float(x) and is_float(y) and y.ndim:
            found.pairs.append(Pair(name, x, y, errors_of(x, y)))
        else:
            found.different.append(name)
    return found


def is_float(x: np.ndarray | QArray) -> bool:
    return isinstance(x, QArray) or x.dtype.kind == "f" or x.dtype.name == "bfloat16"


def errors_of(x: np.ndarray | QArray, y: np.ndarray | QArray) -> ErrorReport:
    if not x.size:
        return report_of(np.asarray(x), y)
    reports, starts = [], [0]
    for part, of_y in parts(x, y):
        reports.append(report_of(part, of_y))
        starts.append(starts[-1] + len(part))
    return combined(reports, starts)


def report_of(x: np.ndarray, y: np.ndarray | QArray) -> ErrorReport:
    return pyqbits.compare(x, y) if isinstance(y, QArray) else float_report(x, y)


def parts(x: np.ndarray | QArray, y: np.ndarray | QArray) -> Iterator[tuple[np.ndarray, np.ndarray | QArray]]:
    """Both arrays by slices of their first axis, about CHUNK bytes each; whole if groups run along it."""
    whole = any(isinstance(array, QArray) and array.axis == 0 for array in (x, y))
    step = len(x) if whole else max(1, CHUNK * len(x) // (x.size * 4))
    for start in range(0, len(x), step):
        part = x[start : start + step] if step < len(x) else x
        of_y = y[start : start + step] if step < len(x) else y
        yield part.dequantize() if isinstance(part, QArray) else part, of_y


def same(x: np.ndarray | QArray, y: np.ndarray) -> bool:
    """Whether two arrays have the same type and the same bytes."""
    if isinstance(x, QArray) or x.dtype != y.dtype:
        return False
    x, y = (array.reshape(-1).view(np.uint8) for array in (x, y))
    return all(np.array_equal(x[at : at + CHUNK], y[at : at + CHUNK]) for at in range(0, x.size, CHUNK))


def cells(name: str, shape: tuple[int, ...], format: str, errors: ErrorReport) -> list[str]:
    return [
        name,
        tables.shape(shape) if shape else "",
        format,
        tables.bits(errors.bpw),
        tables.decibels(errors),
        tables.relative(errors),
        f"{errors.rmse:.3g}",
        f"{errors.max_abs:.3g}",
        ",".join(map(str, errors.max_index or ())),
    ]


def record(errors: ErrorReport) -> dict:
    keys = ("bpw", "snr_db", "relative_rmse", "rmse", "max_abs", "max_index")
    return {key: getattr(errors, key) for key in keys}

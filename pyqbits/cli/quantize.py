"""`pyqbits quantize`: a model read through memory maps, quantized by chunks of rows, written as a stream."""

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

import pyqbits
from pyqbits import ErrorReport, FormatError

from .. import storage
from .._safetensors import DTYPE_BITS, Entry, Spec, Writer
from ..formats import Format, as_format
from ..gguf import TensorInfo
from ..gguf.types import TYPES
from . import models, tables
from .mixes import FLOATS, fitting
from .reports import combined

CHUNK = 2 << 20  # bytes of input at a time: large enough to hide the cost of calls, small enough for a cache

Advance = Callable[[int], None]


@dataclasses.dataclass(frozen=True)
class Options:
    format: Format
    search: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    nonfinite: str = "raise"

    def check(self) -> None:
        """Refuse values that the library does not know, before anything is read or written."""
        row = np.zeros(self.block)
        pyqbits.quantize(row, self.format, search=self.search, nonfinite=self.nonfinite)

    @property
    def block(self) -> int:
        """What rows must be multiples of."""
        return TYPES[self.format.name].block if self.format.name in TYPES else 1

    def selects(self, entry: Entry) -> bool:
        """Whether a tensor is to be quantized."""
        if entry.dtype not in models.FLOATS or len(entry.shape) < 2 or not entry.nbytes:
            return False
        wanted = not self.include or any(fnmatchcase(entry.name, glob) for glob in self.include)
        return wanted and not any(fnmatchcase(entry.name, glob) for glob in self.exclude)

    def format_for(self, entry: Entry) -> Format | None:
        """The format that a tensor gets; None where it is copied."""
        if not self.selects(entry):
            return None
        if entry.shape[-1] % self.block == 0:
            return self.format
        type = fitting(self.format.name, entry.shape[-1])
        return None if type in FLOATS else as_format(type)


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


def quantize_model(model: Path, output: Path, options: Options, *, force: bool, json: bool) -> None:
    """Quantize a model into `output` and print what it cost."""
    options.check()
    found = models.find(model)
    outputs = output_files(found, output, force)
    shards = [models.MappedFile(path) for path in found.files]
    check_tensors(shards, options)
    entries = [entry for shard in shards for entry in shard.entries.values()]
    total = sum(entry.nbytes for entry in entries)
    results: list[Result] = []
    with ExitStack() as stack:
        if found.index:
            stack.enter_context(directory(outputs[0].parent))
        advance = stack.enter_context(tables.progress(total))
        plans = [plan(shard, options) for shard in shards]
        check_names(specs for specs, _ in plans)
        for shard, path, (specs, metadata) in zip(shards, outputs, plans, strict=True):
            writer = stack.enter_context(Writer(path, specs, metadata))
            for entry in shard.entries.values():
                format = options.format_for(entry)
                if format:
                    results.append(quantize_tensor(shard, entry, writer, format, options, advance))
                else:
                    results.append(copy_tensor(shard, entry, writer, advance))
    if found.index:
        models.write_index(found.index, outputs)
    report(results, found, outputs, json=json)
    if not json:
        asked, chosen = str(options.format), [entry for entry in entries if options.selects(entry)]
        formats = [str(options.format_for(entry) or "nothing") for entry in chosen]
        show_fallbacks(Counter((asked, got) for got in formats if got != asked))


def output_files(model: models.Model, output: Path, force: bool) -> list[Path]:
    """Where each shard goes, refusing what would destroy something."""
    if model.index:
        if output.is_file() or output.suffix == ".safetensors":
            raise ValueError(f"{output}: the model has {len(model.files)} shards; name a directory")
        files = [output / path.name for path in model.files]
        targets = [*files, output / model.index.name]
    else:
        targets = files = [output / model.files[0].name if output.is_dir() else output]
        if files[0].suffix != ".safetensors":
            raise ValueError(f"{output}: the output must be a directory that exists or end in .safetensors")
    for target in targets:
        check_output(target, model.files, force)
    return files


def check_output(target: Path, sources: list[Path], force: bool) -> None:
    if target.exists() and any(target.samefile(source) for source in sources if source.exists()):
        raise ValueError(f"{target}: the output would replace the input")
    if target.exists() and not force:
        raise ValueError(f"{target} exists; --force overwrites it")


@contextmanager
def directory(path: Path) -> Iterator[None]:
    """Makes the last part of a path where it is missing, and takes it away again on failure."""
    missing = not path.is_dir()
    if missing:
        path.mkdir()
    try:
        yield
    except BaseException:
        if missing:
            path.rmdir()
        raise


def check_tensors(shards: list[models.MappedFile], options: Options) -> None:
    """Refuse models that are quantized already, and patterns that match nothing."""
    nothing = storage.metadata_json({})  # of files that pyqbits.save wrote plain arrays to
    for shard in shards:
        if shard.metadata.get(storage.METADATA_KEY, nothing) != nothing:
            raise FormatError(f"{shard.path}: quantized already (metadata key {storage.METADATA_KEY!r})")
    names = [name for shard in shards for name in shard.entries]
    for glob in options.include + options.exclude:
        if not any(fnmatchcase(name, glob) for name in names):
            raise ValueError(f"no tensor name matches {glob!r}")


def plan(shard: models.MappedFile, options: Options) -> tuple[list[Spec], dict[str, str]]:
    """The tensors and the metadata of the file that a shard becomes."""
    specs: list[Spec] = []
    quantized = {}
    for entry in shard.entries.values():
        format = options.format_for(entry)
        if format:
            stored = (format, entry.shape, len(entry.shape) - 1)
            quantized[entry.name] = stored
            specs += storage.tensor_specs(entry.name, *stored)
        else:
            specs.append(Spec(entry.name, entry.dtype, entry.shape))
    metadata = dict(shard.metadata)
    if quantized:
        metadata[storage.METADATA_KEY] = storage.metadata_json(quantized)
    return specs, metadata


def check_names(plans) -> None:
    names: set[str] = set()
    for spec in (spec for specs in plans for spec in specs):
        if spec.name in names:
            raise ValueError(f"two tensors would be stored under the name {spec.name!r}")
        names.add(spec.name)


def copy_tensor(shard, entry: Entry, writer: Writer, advance: Advance) -> Result:
    start, at = time.perf_counter(), 0
    for piece in shard.pieces(entry, CHUNK):
        at = writer.write(entry.name, piece, at)
        advance(piece.nbytes)
    seconds = time.perf_counter() - start
    bits = DTYPE_BITS[entry.dtype]
    return Result(entry.name, entry.shape, entry.dtype, bits, entry.nbytes, entry.nbytes, None, seconds)


def quantize_tensor(
    shard, entry: Entry, writer: Writer, format: Format, options: Options, advance: Advance
) -> Result:
    """Quantize a tensor a chunk of rows at a time; one with a single scale for everything all at once."""
    start, row, reports = time.perf_counter(), 0, []
    ends: dict[str, int] = {}
    search = options.search if options.search in format.searches else None
    for x in shard.rows(entry, entry.nbytes if format.per_tensor else CHUNK):
        q = quantize_rows(x, entry, row, format, search, options.nonfinite)
        reports.append(pyqbits.compare(x, q))
        for suffix, buffer in storage.tensor_buffers(q).items():
            ends[suffix] = writer.write(entry.name + suffix, buffer, ends.get(suffix, 0))
        row += len(x)
        advance(x.nbytes)
    seconds, after = time.perf_counter() - start, sum(ends.values())
    bpw = after * 8 / (row * entry.shape[-1])
    return Result(entry.name, entry.shape, str(format), bpw, entry.nbytes, after, combined(reports), seconds)


def quantize_rows(
    x: np.ndarray,
    entry: Entry | TensorInfo,
    row: int,
    format: Format,
    search: str | None,
    nonfinite: str,
    importance: np.ndarray | None = None,
) -> pyqbits.QArray:
    """Quantize rows of a tensor from `row` on; errors say where in the tensor something is."""
    try:
        return pyqbits.quantize(x, format, search=search, nonfinite=nonfinite, importance=importance)
    except ValueError as error:
        finite = np.isfinite(x.astype(np.float32))
        if finite.all():
            raise ValueError(f"tensor {entry.name!r}, rows from {row} on: {error}") from None
        place = np.unravel_index(row * x.shape[1] + int(finite.argmin()), entry.shape)
        index = ", ".join(str(int(i)) for i in place)
        what = x.ravel()[finite.argmin()]
        message = f"tensor {entry.name!r} holds {what} at ({index}); --nonfinite zero takes such values as 0"
        raise ValueError(message) from None


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

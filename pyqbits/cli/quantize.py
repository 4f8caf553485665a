"""`pyqbits quantize`: a model read through memory maps, quantized by chunks of rows."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator
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
from .chunks import write_all
from .mixes import FLOATS, fitting
from .results import Result, report, show_fallbacks

CHUNK = 4 << 20  # bytes of input at a time: large enough to hide the cost of calls, small enough for a cache


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


def quantize_model(model: Path, output: Path, options: Options, *, force: bool, json: bool) -> None:
    """Quantize a model into `output` and print what it cost."""
    options.check()
    found = models.find(model)
    outputs = output_files(found, output, force)
    shards = [models.MappedFile(path) for path in found.files]
    check_tensors(shards, options)
    entries = [entry for shard in shards for entry in shard.entries.values()]
    total = sum(entry.nbytes for entry in entries)
    with ExitStack() as stack:
        if found.index:
            stack.enter_context(directory(outputs[0].parent))
        advance = stack.enter_context(tables.progress(total))
        plans = [plan(shard, options) for shard in shards]
        check_names(specs for specs, _ in plans)
        tensors = []
        for shard, path, (specs, metadata) in zip(shards, outputs, plans, strict=True):
            writer = stack.enter_context(Writer(path, specs, metadata))
            for entry in shard.entries.values():
                tensors.append(Tensor(shard, entry, writer, options.format_for(entry), options))
        at_once = 1 if options.format.per_tensor else pyqbits.get_num_threads()
        results = write_all(tensors, at_once, advance)
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


@dataclasses.dataclass
class Tensor:
    """A tensor on its way from one file to another; without a format it is copied."""

    shard: models.MappedFile
    entry: Entry
    writer: Writer
    format: Format | None
    options: Options

    def chunks(self) -> Iterator[slice]:
        size = CHUNK
        if self.format:
            size = self.entry.nbytes if self.format.per_tensor else max(1, CHUNK // self.row) * self.row
        for start in range(0, self.entry.nbytes, size):
            yield slice(start, min(start + size, self.entry.nbytes))

    @property
    def row(self) -> int:
        """Bytes of one."""
        return self.entry.shape[-1] * DTYPE_BITS[self.entry.dtype] // 8

    def write(self, chunk: slice) -> ErrorReport | None:
        name, piece = self.entry.name, self.shard.raw(self.entry.name)[chunk]
        if not self.format:
            self.writer.write(name, piece, chunk.start)
            return None
        row = chunk.start // self.row
        x = piece.view(models.float_dtype(self.entry)).reshape(-1, self.entry.shape[-1])
        search = self.options.search if self.options.search in self.format.searches else None
        q = quantize_rows(x, self.entry, row, self.format, search, self.options.nonfinite)
        for suffix, buffer in storage.tensor_buffers(q).items():
            self.writer.write(name + suffix, buffer, row * (buffer.nbytes // len(x)))
        return pyqbits.compare(x, q)

    def forget(self, chunk: slice) -> None:
        self.shard.forget(self.entry.start + chunk.start, self.entry.start + chunk.stop)

    def result(self, errors: ErrorReport | None, seconds: float) -> Result:
        name, dtype, shape, before = self.entry.name, self.entry.dtype, self.entry.shape, self.entry.nbytes
        if not self.format:
            return Result(name, shape, dtype, DTYPE_BITS[dtype], before, before, None, seconds)
        specs = storage.tensor_specs(name, self.format, shape, len(shape) - 1)
        after = sum(spec.nbytes for spec in specs)
        bpw = after * 8 / math.prod(shape)
        return Result(name, shape, str(self.format), bpw, before, after, errors, seconds)


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

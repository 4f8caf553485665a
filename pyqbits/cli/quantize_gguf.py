"""`pyqbits quantize` of a GGUF file: any type to any other, by chunks of rows, metadata kept."""

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import pyqbits
from pyqbits import ErrorReport, QArray, gguf

from .._arrays import check_choice
from ..formats import Format, as_format
from ..gguf.types import DTYPES, TYPES
from . import imatrix, models, tables
from .chunks import write_all
from .mixes import FLOATS, Choice, plan
from .quantize import CHUNK, check_output, quantize_rows
from .reports import float_report
from .results import Result, report, show_fallbacks

QUANTIZATION_VERSION = 2  # of the blocks' layout

# Types whose larger values count for more where neither a search nor importance is given: a language model
# loses less by these then, at a little more error; by iq1_s and the iq3 types it does not.
BY_SIZE = ("iq4_nl", "iq4_xs", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s")


@dataclass(frozen=True)
class Settings:
    """How a type's parameters are found, and what is done about NaN and infinity."""

    search: str | None
    nonfinite: str
    importance: Path | None = None

    def check(self) -> None:
        if self.search is not None:
            check_choice(self.search, Format.searches, "search")
        check_choice(self.nonfinite, ("raise", "zero"), "nonfinite")


def quantize_gguf(
    model: Path, output: Path, choice: Choice, settings: Settings, *, force: bool, json: bool
) -> None:
    """Write a GGUF file with other types and print what it cost."""
    settings.check()
    with models.naming(model):
        source = gguf.open(model)
    if source.byteorder != "little":
        raise ValueError(f"{model}: big-endian files are read, not quantized")
    shards = source.metadata.get("split.count", 1)
    if isinstance(shards, int) and shards > 1:
        raise ValueError(
            f"{model} is one of {shards} files of a model; merge them first (llama-gguf-split --merge)"
        )
    path = output / model.name if output.is_dir() else output
    if path.suffix != ".gguf":
        raise ValueError(f"{output}: the output must be a directory that exists or end in .gguf")
    check_output(path, [model], force)
    importance = imatrix.load(settings.importance) if settings.importance else {}
    types, fallbacks = plan(source, choice._replace(weighted=bool(importance)))
    specs = [gguf.Spec(info.name, types[info.name], info.shape) for info in source.tensors.values()]
    with ExitStack() as stack:
        advance = stack.enter_context(tables.progress(sum(info.nbytes for info in source.tensors.values())))
        writer = stack.enter_context(gguf.Writer(path, specs, new_metadata(source, choice)))
        tensors = [
            Tensor(source, info, types[info.name], writer, settings, importance.get(info.name))
            for info in source.tensors.values()
        ]
        results = write_all(tensors, pyqbits.get_num_threads(), advance)
    report(results, models.Model([model], None), [path], json=json)
    if not json:
        show_fallbacks(fallbacks)
        made = [name for name, type in types.items() if type != source.tensors[name].type]
        missing = [name for name in made if types[name] not in FLOATS and name not in importance]
        if importance and missing:
            tables.note(f"no importance for {len(missing)} tensors: {', '.join(missing)}")
        elif unweighted := [types[name] for name in missing if choice.wants_importance(name, types[name])]:
            count, found = len(unweighted), ", ".join(sorted(set(unweighted)))
            tables.note(
                f"{count} tensor{'s' * (count > 1)} of {found} without --imatrix, which llama.cpp refuses: "
                "with so few bits it matters which columns are hit"
            )


def new_metadata(source: gguf.File, choice: Choice) -> gguf.Metadata:
    metadata = source.metadata.copy()
    if choice.file_type is not None:
        metadata.set("general.file_type", choice.file_type, "uint32")
    metadata.set("general.quantization_version", QUANTIZATION_VERSION, "uint32")
    return metadata


@dataclass
class Tensor:
    """A tensor on its way from one file to another."""

    source: gguf.File
    info: gguf.TensorInfo
    type: str
    writer: gguf.Writer
    settings: Settings
    importance: np.ndarray | None

    def chunks(self) -> Iterator[slice]:
        """Where it is converted, runs of rows that make about CHUNK bytes of float32."""
        size = CHUNK
        if self.type != self.info.type:
            size = max(1, CHUNK // (4 * self.info.shape[-1])) * self.row
        for start in range(0, self.info.nbytes, size):
            yield slice(start, min(start + size, self.info.nbytes))

    @property
    def row(self) -> int:
        """Bytes of one, in the file that is read."""
        return TYPES[self.info.type].row_nbytes(self.info.shape[-1])

    def write(self, chunk: slice) -> ErrorReport | None:
        piece = self.source.raw(self.info.name).reshape(-1)[chunk]
        if self.type == self.info.type:
            self.writer.write(self.info.name, piece, chunk.start)
            return None
        type, columns, row = TYPES[self.info.type], self.info.shape[-1], chunk.start // self.row
        shape = (piece.size // self.row, columns)
        if type.block > 1:
            x = QArray.from_bytes(piece, type.name, shape).dequantize()
        else:
            x = piece.view(float_dtype(type.name)).reshape(shape)
        data, errors = self.converted(x, row)
        self.writer.write(self.info.name, data, row * TYPES[self.type].row_nbytes(columns))
        return errors

    def forget(self, chunk: slice) -> None:
        self.source.forget(self.info.offset + chunk.start, self.info.offset + chunk.stop)

    def converted(self, x: np.ndarray, row: int) -> tuple[np.ndarray, ErrorReport]:
        """Rows in the new type, and how far they are off."""
        settings = self.settings
        if self.type not in FLOATS:
            format = as_format(self.type)
            search = settings.search if settings.search in format.searches else None
            weights = self.weights(row, len(x))
            if weights is None and settings.search is None and self.type in BY_SIZE:
                weights = by_size(x)
            q = quantize_rows(x, self.info, row, format, search, settings.nonfinite, weights)
            return q.buffers["blocks"], pyqbits.compare(x, q)
        if settings.nonfinite == "zero":
            x = np.where(np.isfinite(x), x, x.dtype.type(0))
        y = to_floats(x, self.type)
        if not np.isfinite(y).all():
            self.refuse(x, y, row)
        return y, float_report(x, y)

    def weights(self, row: int, count: int) -> np.ndarray | None:
        """The importance of rows: of a matrix of its own for each expert, or the same for all."""
        if self.importance is None:
            return None
        shape = self.info.shape
        matrices = math.prod(shape[:-2])
        if self.importance.shape not in ((1, shape[-1]), (matrices, shape[-1])):
            size = f"{self.importance.shape[0]} x {self.importance.shape[1]}"
            raise ValueError(f"tensor {self.info.name!r} has shape {shape}, its importance {size} values")
        if len(self.importance) == 1:
            return self.importance
        return self.importance[np.arange(row, row + count) // shape[-2]]

    def refuse(self, x: np.ndarray, y: np.ndarray, row: int) -> None:
        """Raise the error about the first number that is not finite in the new type."""
        at = np.unravel_index(np.isfinite(y).argmin(), y.shape)
        place = np.unravel_index(row * x.shape[1] + np.ravel_multi_index(at, x.shape), self.info.shape)
        index = ", ".join(str(int(i)) for i in place)
        raise ValueError(
            f"tensor {self.info.name!r} holds {x[at]} at ({index}), which {self.type} cannot hold"
        )

    def result(self, errors: ErrorReport | None, seconds: float) -> Result:
        type, before = TYPES[self.type], self.info.nbytes
        after = type.array_nbytes(self.info.shape)
        return Result(self.info.name, self.info.shape, self.type, type.bpw, before, after, errors, seconds)


def by_size(x: np.ndarray) -> np.ndarray | None:
    """Weights that grow with a value, from the root mean square of its block on; None if any overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        blocks = x.astype(np.float32).reshape(len(x), -1, 32)
        blocks[~np.isfinite(blocks)] = 0  # refused, or taken as 0
        np.square(blocks, out=blocks)
        blocks += blocks.mean(axis=2, keepdims=True)
        weights = np.sqrt(blocks, out=blocks).reshape(x.shape)
    return weights if np.isfinite(weights).all() else None


def float_dtype(type: str) -> np.dtype:
    if type != "bf16":
        return DTYPES[type]
    try:
        from ml_dtypes import bfloat16
    except ModuleNotFoundError:
        raise ValueError("bf16 needs ml_dtypes: pip install 'pyqbits[cli]'") from None
    return np.dtype(bfloat16)


def to_floats(x: np.ndarray, type: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        return x.astype(float_dtype(type))

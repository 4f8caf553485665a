"""PreparedMatrix: a quantized matrix in the order that multiplies fastest."""

import json
import mmap
import os
import sys
from contextlib import suppress
from typing import Any

import numpy as np

from . import _arrays, _indexing, _safetensors
from ._bytes import read_description
from ._native import ffi, lib
from .errors import FormatError, check
from .formats import Format
from .linalg import Operand
from .qarray import Native, QArray

VERSION = 1
BYTE_ORDER = sys.byteorder
METADATA_KEY = "pyqbits.prepared"
TENSOR = "panels"
ALIGNMENT = 64
HUGE = 4 << 20  # bytes from which on huge pages are asked for
HUGE_PAGE = 2 << 20
ROWS = 16  # of a panel
PART = 16 << 20  # bytes prepared at a time on their way to a file, or as many as a panel has


class PreparedMatrix(Operand):
    """The numbers of a two-dimensional `QArray`, laid out for many multiplies; `QArray.prepare` makes one.

    Products are those of the QArray, bit for bit, only faster: ``p @ x``, ``X @ p.T``, ``matmul(..., out=)``.
    Rows lie 16 side by side, in the format's own number of bits (groups of a multiple of 4 elements; others
    are filled up), and the last rows are filled up to 16. The bytes serve every instruction set.
    The block types iq1, iq2, iq3, tq1_0, q8_1 and q8_K keep their blocks, only in another order:
    their products take nearly as long as the QArray's.

    Attributes
    ----------
    shape : tuple of int
    axis : int
        The grouped axis: 1, and 0 for the transpose.
    format : Format
    nbytes : int
        Size of the block; ``repr`` says how much more that is than the QArray's.

    Examples
    --------
    >>> import numpy as np, pyqbits as qb
    >>> q = qb.quantize(np.random.default_rng(0).standard_normal((64, 256)), "int4_g32")
    >>> p = q.prepare()
    >>> p
    <PreparedMatrix (64, 256) int4_g32, 9216 bytes (+0.0 %)>
    >>> x = np.arange(256.0)
    >>> bool((p @ x == q @ x).all()), p.unprepare().tobytes() == q.tobytes()
    (True, True)
    """

    __slots__ = ("_axis", "_format", "_matrix", "_native", "_panels", "_shape")

    packed = False

    def __init__(self, format: Format, shape: tuple[int, int], axis: int, panels: np.ndarray) -> None:
        self._format, self._shape, self._axis, self._panels = format, shape, axis, panels
        keep = _arrays.pointer(panels)
        rows, n = shape[1 - axis], shape[axis]
        fields = {"format": format.native(n), "rows": rows, "cols": n, "panels": keep}
        struct = ffi.new("qb_prepared *", fields)
        self._native = Native(struct, (keep,), lib.qb_prepared_matmul)
        self._matrix = (axis, rows, n, struct, lib.qb_prepared_matmul_rows) if n else None

    @classmethod
    def _of(cls, q: QArray, path: str | os.PathLike | None = None) -> "PreparedMatrix":
        if q.ndim != 2:
            raise ValueError(f"prepare takes a matrix, not {q.ndim} dimensions: prepare each of a stack")
        size, rows = _block_bytes(q.format, q.shape, q.axis), q.shape[1 - q.axis]
        if path is None:
            panels = new_memory(size)
            if size:
                check(lib.qb_prepare(q.native_rows(0, rows).struct, _arrays.pointer(panels)), "prepare")
            return cls(q.format, (q.shape[0], q.shape[1]), q.axis, panels)
        with _writer(path, q.format, q.shape, q.axis) as writer:
            panel = size // max(1, -(-rows // ROWS))
            step = ROWS * max(1, PART // max(1, panel))
            panels, at = new_memory(min(size, step // ROWS * panel)), 0
            for first in range(0, rows if size else 0, step):
                some = q.native_rows(first, min(step, rows - first)).struct
                check(lib.qb_prepare(some, _arrays.pointer(panels)), "prepare")
                at = writer.write(TENSOR, panels[: size - at], at)
        return cls.load(path)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def axis(self) -> int:
        return self._axis

    @property
    def format(self) -> Format:
        return self._format

    @property
    def nbytes(self) -> int:
        return self._panels.nbytes

    @property
    def T(self) -> "PreparedMatrix":
        """The transpose, a view."""
        turned = PreparedMatrix.__new__(PreparedMatrix)
        turned._format, turned._shape, turned._axis = self._format, self._shape[::-1], 1 - self._axis
        turned._panels, turned._native = self._panels, self._native
        turned._matrix = self._matrix and (turned._axis, *self._matrix[1:])
        return turned

    def native_rows(self, first: int, count: int) -> Native:
        return self._native  # always all of them: a matrix has no leading axes

    def part_arrays(self) -> tuple[np.ndarray, ...]:
        return (self._panels,)

    def unprepare(self) -> QArray:
        """The QArray it was made from: the identical bytes."""
        q = QArray._zeros(self._format, self._shape, self._axis)
        if q.size:
            rows = self._shape[1 - self._axis]
            check(lib.qb_unprepare(self._native.struct, q.native_rows(0, rows).struct), "unprepare")
        return q

    def take(
        self, rows: Any, axis: int | None = None, dtype: Any = np.float32, out: np.ndarray | None = None
    ) -> np.ndarray:
        """The numbers of some rows, like `QArray.take`; `axis` can only be the one that is not grouped."""
        axis = 1 - self._axis if axis is None else _arrays.check_axis(axis, 2)
        if axis == self._axis:
            raise ValueError(f"axis {axis} is the grouped axis; take() gives whole rows along it")
        index = _indexing.row_indices(rows, self._shape[axis], axis)
        numbers = np.ascontiguousarray(index.reshape(-1), np.int64)
        n = self._shape[self._axis]
        found = QArray._zeros(self._format, (len(numbers), n), 1)
        if found.size:
            chosen = _arrays.pointer(numbers, ffi.typeof("int64_t[]"))
            matrix = found.native_rows(0, len(numbers)).struct
            check(lib.qb_prepared_rows(self._native.struct, chosen, len(numbers), matrix), "take")
        shape = (*index.shape, n) if axis == 0 else (n, *index.shape)
        if axis == 0:
            if out is None:
                return found.dequantize(dtype).reshape(shape)
            _arrays.check_out(out, shape, _arrays.float_dtype(dtype), self.part_arrays())
            found.dequantize(dtype, out=out.reshape(found.shape))
            return out
        values = found.dequantize(dtype).T.reshape(shape)
        if out is None:
            return values
        _arrays.check_out(out, shape, values.dtype, self.part_arrays())[...] = values
        return out

    def save(self, path: str | os.PathLike) -> None:
        """Write it to a file that `load` maps: a safetensors file with the block as its one tensor.

        The scales in it are in this machine's byte order, so only machines of the same order load it.
        """
        with _writer(path, self._format, self._shape, self._axis) as writer:
            writer.write(TENSOR, self._panels)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "PreparedMatrix":
        """Map a file that `save` wrote; it stays mapped as long as the result is in use.

        Raises
        ------
        FormatError
            The file is not one, or damaged, or of a machine of the other byte order.
        """
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise FormatError("the file is empty", 0)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        header = _safetensors.read_header(mapped)
        if METADATA_KEY not in header.metadata or TENSOR not in header.entries:
            raise FormatError("not a prepared matrix", 8)
        try:
            fields = json.loads(header.metadata[METADATA_KEY])
        except (ValueError, RecursionError):
            raise FormatError(f"the metadata {METADATA_KEY!r} is not JSON", 8) from None
        version = fields.pop("version", None) if isinstance(fields, dict) else None
        if version != VERSION:
            raise FormatError(f"version {version} of prepared matrices is not known", 8)
        order = fields.pop("byteorder", "little")
        if order != BYTE_ORDER:
            raise FormatError(f"its scales have the byte order {order!r}, this machine {BYTE_ORDER!r}", 8)
        format, shape, axis = read_description(fields, "the prepared matrix", 8)
        entry = header.entries[TENSOR]
        if len(shape) != 2 or entry.dtype != "U8" or entry.nbytes != _block_bytes(format, shape, axis):
            message = f"{entry.nbytes} bytes do not hold a {format} matrix of shape {shape}"
            raise FormatError(message, entry.start)
        panels = np.frombuffer(mapped, np.uint8, entry.nbytes, entry.start)
        return cls(format, (shape[0], shape[1]), axis, panels)

    def __repr__(self) -> str:
        rows, n = self._shape[1 - self._axis], self._shape[self._axis]
        packed = sum(part.nbytes for part in self._format.parts((rows,), n))
        more = f" ({self.nbytes / packed - 1:+.1%})".replace("%", " %") if packed else ""
        return f"<PreparedMatrix {self._shape} {self._format}, {self.nbytes} bytes{more}>"


def _writer(
    path: str | os.PathLike, format: Format, shape: tuple[int, ...], axis: int
) -> _safetensors.Writer:
    fields = {"format": str(format), "shape": list(shape), "axis": axis}
    if BYTE_ORDER != "little":
        fields["byteorder"] = BYTE_ORDER
    metadata = {METADATA_KEY: json.dumps({"version": VERSION, **fields}, separators=(",", ":"))}
    spec = _safetensors.Spec(TENSOR, "U8", (_block_bytes(format, shape, axis),))
    return _safetensors.Writer(path, [spec], metadata)


def _block_bytes(format: Format, shape: tuple[int, ...], axis: int) -> int:
    rows, n = shape[1 - axis], shape[axis]
    if not rows or not n:
        return 0
    size = lib.qb_prepared_bytes(ffi.new("qb_format *", format.native(n)), rows, n)
    if not size:
        raise MemoryError(f"a prepared matrix of shape {shape} does not fit the address space")
    return size


def new_memory(size: int) -> np.ndarray:
    """Memory that starts on a cache line; large blocks ask for huge pages."""
    if size >= HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        # Private, since shared memory gets no huge pages; what is not touched takes none at all.
        try:
            memory = mmap.mmap(-1, size + 2 * HUGE_PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError as error:
            raise MemoryError(f"no room for a prepared matrix of {size} bytes") from error
        block, alignment = np.frombuffer(memory, np.uint8), HUGE_PAGE
        whole = (size + HUGE_PAGE // 2) // HUGE_PAGE  # the last one if it is at least half full
        with suppress(OSError):  # systems without huge pages
            memory.madvise(mmap.MADV_HUGEPAGE, _start(block, alignment), whole * HUGE_PAGE)
    else:
        block, alignment = np.empty(size + ALIGNMENT, np.uint8), ALIGNMENT
    start = _start(block, alignment)
    return block[start : start + size]


def _start(block: np.ndarray, alignment: int) -> int:
    return -block.__array_interface__["data"][0] % alignment

"""QArray: an array of numbers held in a format."""

import os
from collections.abc import Iterator, Mapping
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import _arrays, _blocks, _bytes, _indexing
from ._arrays import FLOAT32, fill_rows, read_only
from ._blocks import BlockFormat
from ._bytes import parts_of
from ._native import ffi, lib
from .errors import check
from .formats import Format, Part
from .linalg import Matrix, Operand
from .packing import unpack

if TYPE_CHECKING:
    from .prepared import PreparedMatrix


class Native(NamedTuple):
    """A qb_matrix, and what keeps the memory it points to."""

    struct: Any
    keep: tuple[Any, ...]
    multiply: Any = lib.qb_matmul


class QArray(Operand):
    """An array held as packed codes and their scales.

    `quantize` makes one from numbers; this constructor takes what another tool has stored already. Codes
    are grouped along one axis, `axis`. Rows along it are stored one after another, the other axes in their
    order, whatever the position of `axis`. Nothing about a QArray changes, except by ``quantize(out=)``.
    Comparison with ``==`` is identity; compare ``tobytes()``.

    Parameters
    ----------
    format : Format or str
        What the bytes mean.
    shape : tuple of int
        Shape of the array they stand for.
    buffers : mapping of str to ndarray
        The arrays "codes", "scales" and, by format, "mins" or "zeros": see `buffers`. Used in place where
        they are C-contiguous and aligned.
    axis : int
        The grouped axis.

    Examples
    --------
    >>> import numpy as np, pyqbits as qb
    >>> q = qb.quantize(np.arange(64.0).reshape(2, 32), "uint4_g32")
    >>> q
    <QArray (2, 32) uint4_g32, 5 bpw, 40 bytes>
    >>> q[1].mins, q[1].codes()[:4]
    (array([32.], dtype=float32), array([0, 0, 1, 1], dtype=uint8))
    """

    __slots__ = ("_arrays", "_axis", "_format", "_matrix", "_native", "_shape")

    def __init__(
        self, format: Format | str, shape: tuple[int, ...], buffers: Mapping[str, Any], axis: int = -1
    ) -> None:
        format, shape, axis = _bytes.described(format, shape, axis)
        found = []
        for part in parts_of(format, shape, axis):
            if part.name not in buffers:
                raise ValueError(f"format {format} needs the buffer {part.name!r}")
            found.append(_check_part(part, buffers[part.name]))
        self._set(format, shape, axis, tuple(found))

    def _set(self, format: Format, shape: tuple[int, ...], axis: int, arrays: tuple[np.ndarray, ...]) -> None:
        self._format, self._shape, self._axis, self._arrays = format, shape, axis, arrays
        self._native: Native | None = None
        self._matrix: Matrix | None = None

    @classmethod
    def _of(
        cls, format: Format, shape: tuple[int, ...], axis: int, arrays: tuple[np.ndarray, ...]
    ) -> "QArray":
        """A QArray of arrays that are known to be right."""
        q = cls.__new__(cls)
        q._set(format, shape, axis, arrays)
        return q

    @classmethod
    def _zeros(cls, format: Format, shape: tuple[int, ...], axis: int) -> "QArray":
        parts = parts_of(format, shape, axis)
        return cls._of(format, shape, axis, tuple(np.zeros(p.shape, p.memory_dtype) for p in parts))

    # ---- what it is -------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def size(self) -> int:
        return prod(self._shape)

    @property
    def dtype(self) -> np.dtype:
        """The type of its numbers where nothing else is asked for: float32."""
        return FLOAT32

    @property
    def axis(self) -> int:
        """The grouped axis, counted from the front."""
        return self._axis

    @property
    def format(self) -> Format:
        return self._format

    @property
    def nbytes(self) -> int:
        """Bytes of all its buffers."""
        return sum(array.nbytes for array in self._arrays)

    @property
    def bpw(self) -> float:
        """Bits per weight, everything stored counted; NaN for an array without elements."""
        return 8 * self.nbytes / self.size if self.size else float("nan")

    @property
    def buffers(self) -> Mapping[str, np.ndarray]:
        """The stored arrays, read-only, with the grouped axis moved last.

        "codes": uint8, packed rows. "scales", "mins": the format's scale type (bfloat16 as its bits in
        uint16), one per group. "zeros": uint8, the packed zero points of a row. With one scale per tensor
        the latter three have one element.
        """
        named = zip(self._format.part_names, self._arrays, strict=True)
        return MappingProxyType({name: read_only(array) for name, array in named})

    def codes(self) -> np.ndarray:
        """The unpacked codes: int8 for symmetric formats (one bit: 0 and 1 for -d and +d), else uint8.

        Those of block types are the integers q of x = d*q, d*q + m or d*(q - z), whatever the bytes hold.
        """
        format, n = self._format, self._shape[self._axis]
        if isinstance(format, BlockFormat):
            rows = _blocks.codes(format, self.native_rows(0, prod(self._lead())), self._lead(), n)
            return np.moveaxis(rows, -1, self._axis)
        dtype = np.uint8 if format.zero else np.int8
        rows = unpack(self._arrays[0], format.bits, n, signed=format.signed, dtype=dtype)
        return np.moveaxis(rows, -1, self._axis)

    @property
    def scales(self) -> np.ndarray:
        """The scale of every group, float32, read-only: `shape` with groups in place of the grouped axis."""
        return self._parameter(0)

    @property
    def mins(self) -> np.ndarray | None:
        """The minimum of every group, like `scales`; None where the format has none."""
        return self._parameter(1) if self._format.zero == "min" else None

    @property
    def zeros(self) -> np.ndarray | None:
        """The zero point of every group, like `scales`; None where the format has none."""
        return self._parameter(2) if self._format.zero == "point" else None

    def _parameter(self, which: int) -> np.ndarray:
        lead, n = self._lead(), self._shape[self._axis]
        whole = self._format.per_tensor
        shape = (1,) * self.ndim if whole else (*lead, self._format.groups(n))
        values = np.empty(shape, FLOAT32)
        targets: list[Any] = [ffi.NULL] * 3
        targets[which] = _arrays.pointer(values, ffi.typeof("float[]"))
        if values.size:
            rows = prod(lead)
            check(lib.qb_parameters(self.native_rows(0, rows).struct, 0, rows, *targets), "parameters")
        values = values if whole else np.moveaxis(values, -1, self._axis)
        return read_only(values)

    def _lead(self) -> tuple[int, ...]:
        return self._shape[: self._axis] + self._shape[self._axis + 1 :]

    # ---- its numbers ------------------------------------------------------------------------------

    def dequantize(self, dtype: Any = np.float32, out: np.ndarray | None = None) -> np.ndarray:
        """The numbers it stands for.

        Parameters
        ----------
        dtype : dtype
            float32, float16, bfloat16 (of ml_dtypes) or float64. Narrow types round once more.
        out : ndarray of `dtype`, optional
            Where to write: C-contiguous, of this shape.
        """
        dtype = _arrays.float_dtype(dtype)
        result = self._result(self._shape, dtype, out)
        kind, matrix = _arrays.float_type(dtype), self.native_rows(0, prod(self._lead()))

        def fill(first: int, count: int, target: np.ndarray) -> None:
            to = _arrays.pointer(target)
            check(lib.qb_dequantize(matrix.struct, first, count, kind, to), "dequantize")

        fill_rows(result, self._axis, fill)
        return result

    def take(
        self, rows: Any, axis: int = 0, dtype: Any = np.float32, out: np.ndarray | None = None
    ) -> np.ndarray:
        """The numbers of some rows, as ``numpy.take(q.dequantize(), rows, axis)``, widening only those.

        Parameters
        ----------
        rows : int or array_like of integers
            Indices along `axis`; negative ones count from the end. One-dimensional booleans choose rows.
        axis : int
            Any axis but the grouped one.
        dtype : dtype
            As in `dequantize`.
        out : ndarray of `dtype`, optional
            Where to write: C-contiguous, of the result's shape.

        Examples
        --------
        >>> import numpy as np, pyqbits as qb
        >>> q = qb.quantize(np.diag([1.0, 2.0, 4.0]), "uint8_row_f32")
        >>> q.take([2, 0])
        array([[0., 0., 4.],
               [1., 0., 0.]], dtype=float32)
        """
        axis = _arrays.check_axis(axis, self.ndim)
        if axis == self._axis:
            raise ValueError(f"axis {axis} is the grouped axis; take() gives whole rows along it")
        dtype = _arrays.float_dtype(dtype)
        index = _indexing.row_indices(rows, self._shape[axis], axis)
        shape = (*self._shape[:axis], *index.shape, *self._shape[axis + 1 :])
        result = self._result(shape, dtype, out)
        lead = self._lead()
        numbers = _indexing.row_numbers(lead, axis - (axis > self._axis), index)
        kind, matrix = _arrays.float_type(dtype), self.native_rows(0, prod(lead))

        def fill(first: int, count: int, target: np.ndarray) -> None:
            chosen = _arrays.pointer(numbers[first : first + count], ffi.typeof("int64_t[]"))
            check(lib.qb_take(matrix.struct, chosen, count, kind, _arrays.pointer(target)), "take")

        fill_rows(result, self._axis + (index.ndim - 1 if axis < self._axis else 0), fill)
        return result

    def _result(self, shape: tuple[int, ...], dtype: np.dtype, out: np.ndarray | None) -> np.ndarray:
        return np.empty(shape, dtype) if out is None else _arrays.check_out(out, shape, dtype, self._arrays)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("a QArray has no array of its numbers that could be had without a copy")
        wanted = FLOAT32 if dtype is None else np.dtype(dtype)
        try:
            return self.dequantize(_arrays.float_dtype(wanted))
        except TypeError:
            return self.dequantize().astype(wanted)

    # ---- parts of it ------------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> "QArray":
        """Rows: integers and slices give views, an array of integers or booleans a copy.

        Any axis but the grouped one can be indexed; a view must be one run of rows in memory, so slices
        have step 1, and only the first of several other axes can be cut.
        """
        chosen = _indexing.resolve(key, self._shape, self._axis)
        whole = self._format.per_tensor
        arrays = [a if whole and i else chosen.apply(a) for i, a in enumerate(self._arrays)]
        if not all(a.flags.c_contiguous for a in arrays):
            raise IndexError(f"{key!r} selects rows that do not lie together: use an array of indices")
        return QArray._of(self._format, chosen.shape, chosen.axis, tuple(arrays))

    def __len__(self) -> int:
        return self._shape[0]

    def __iter__(self) -> Iterator["QArray"]:
        if self._axis == 0:
            raise TypeError("the first axis is the grouped one; iterate over dequantize()")
        return (self[i] for i in range(len(self)))

    @property
    def T(self) -> "QArray":
        """The transpose of an array of at most two dimensions, a view: the same codes, the other axis order.

        Examples
        --------
        >>> import numpy as np, pyqbits as qb
        >>> q = qb.quantize(np.ones((3, 64), np.float32), "int4_g32")
        >>> q.T.shape, q.T.axis
        ((64, 3), 0)
        """
        if self.ndim > 2:
            raise ValueError(f"T of {self.ndim} dimensions would reorder rows; mT swaps the last two axes")
        return self.mT if self.ndim == 2 else self

    @property
    def mT(self) -> "QArray":
        """A view with the last two axes swapped; the grouped axis must be one of them."""
        first, second = self.ndim - 2, self.ndim - 1
        if first < 0 or self._axis < first:
            raise ValueError(f"the grouped axis, {self._axis}, is not one of the last two of {self.ndim}")
        shape = (*self._shape[:first], self._shape[second], self._shape[first])
        turned = QArray._of(self._format, shape, first + second - self._axis, self._arrays)
        turned._native = self.native_rows(0, prod(self._lead()))  # the storage is the same
        if self._matrix:
            turned._matrix = (turned._axis, *self._matrix[1:])
        return turned

    def prepare(self, path: str | os.PathLike | None = None) -> "PreparedMatrix":
        """The same matrix in the order that multiplies fastest, for many products; see `PreparedMatrix`.

        Parameters
        ----------
        path : str or path-like, optional
            A file to write it to, a part at a time, as `PreparedMatrix.save` would. What is returned is that
            file, mapped: with a QArray that is mapped too, neither has to fit memory. The file appears when
            it is complete.

        Examples
        --------
        >>> import numpy as np, pyqbits as qb
        >>> qb.quantize(np.ones((32, 64), np.float32), "uint3_g32").prepare().shape
        (32, 64)
        """
        from .prepared import PreparedMatrix  # it is made of QArrays

        return PreparedMatrix._of(self, path)

    def native_rows(self, first: int, count: int) -> Native:
        """The rows [first, first + count) of the storage, as the C library takes them."""
        n, total = self._shape[self._axis], prod(self._lead())
        if count == total and self._native is not None:
            return self._native
        arrays = self._arrays
        if count != total:
            arrays = tuple(
                a if self._format.per_tensor and i else a.reshape(total, a.shape[-1])[first : first + count]
                for i, a in enumerate(arrays)
            )
        keep = tuple(_arrays.pointer(a) for a in arrays)
        pointers = dict(zip(self._format.fields, keep, strict=True))
        fields = {"format": self._format.native(n), "rows": count, "cols": n, **pointers}
        native = Native(ffi.new("qb_matrix *", fields), keep)
        if count == total:
            self._native = native
            if self.ndim == 2 and n:
                self._matrix = (self._axis, total, n, native.struct, lib.qb_matmul_rows)
        return native

    def part_arrays(self) -> tuple[np.ndarray, ...]:
        return self._arrays

    # ---- copies and bytes -------------------------------------------------------------------------

    def copy(self) -> "QArray":
        """A QArray with buffers of its own (so that, say, a mapped file can be closed)."""
        return QArray._of(self._format, self._shape, self._axis, tuple(a.copy() for a in self._arrays))

    def tobytes(self) -> bytes:
        """Everything in one string of bytes, which `from_bytes` reads (layout: the ``_bytes`` module).

        Of block types the blocks alone, as they stand in files.
        """
        if isinstance(self._format, BlockFormat):
            return self._arrays[0].tobytes()
        return _bytes.encode((self._format, self._shape, self._axis), self._arrays)

    @classmethod
    def from_bytes(
        cls,
        data: Any,
        format: Format | str | None = None,
        shape: tuple[int, ...] | None = None,
        axis: int = -1,
    ) -> "QArray":
        """The QArray in the bytes of `tobytes`, sharing their memory.

        Parameters
        ----------
        data : bytes-like
            What `tobytes` gave, or rows of published blocks.
        format : Format or str, optional
            For blocks, which do not say what they are: the block type.
        shape, axis
            Likewise: the shape of the array, and its grouped axis. Rows along it lie one after another.

        Raises
        ------
        FormatError
            With the ``offset`` at which the bytes are not what they should be.

        Examples
        --------
        >>> import numpy as np, pyqbits as qb
        >>> q = qb.quantize(np.ones(64), "int4_g32")
        >>> qb.QArray.from_bytes(q.tobytes())
        <QArray (64,) int4_g32, 4.5 bpw, 36 bytes>
        >>> qb.QArray.from_bytes(bytes(2 * 144), "q4_K", (2, 256))
        <QArray (2, 256) q4_K, 4.5 bpw, 288 bytes>
        """
        whole = format is None and shape is None
        described, arrays = _bytes.decode(data) if whole else _bytes.decode_blocks(data, format, shape, axis)
        return cls._of(*described, arrays)

    def __copy__(self) -> "QArray":
        return QArray._of(self._format, self._shape, self._axis, self._arrays)

    def __deepcopy__(self, memo: dict) -> "QArray":
        return self.copy()

    def __reduce__(self) -> tuple:
        buffers = dict(zip(self._format.part_names, self._arrays, strict=True))
        return QArray, (self._format.name, self._shape, buffers, self._axis)

    def __repr__(self) -> str:
        axis = "" if self._axis == self.ndim - 1 else f", axis {self._axis}"
        return f"<QArray {self._shape} {self._format}{axis}, {self.bpw:.4g} bpw, {self.nbytes} bytes>"


def _check_part(part: Part, array: Any) -> np.ndarray:
    found = _arrays.as_array(array)
    if found.dtype != part.memory_dtype:
        raise TypeError(f"buffer {part.name!r} has dtype {found.dtype}; the format has {part.memory_dtype}")
    if found.shape != part.shape:
        raise ValueError(f"buffer {part.name!r} has shape {found.shape}; it must be {part.shape}")
    return _arrays.contiguous(found)

"""Products of quantized arrays with floats, and of matrices with each other."""

import operator
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from . import _arrays
from ._arrays import BYTES, FLOAT32
from ._native import ffi, lib
from .errors import check
from .formats import Format

PLANES = {"int8": 1, "int16": 2, "int24": 3}  # int8 digits an activation is split into

_DEFAULT = PLANES["int24"]
_from_buffer, _tobytes = ffi.from_buffer, np.ndarray.tobytes


# A matrix as small products take it: grouped axis, rows, their length, the C library's struct and function.
Matrix = tuple[int, int, int, Any, Any]


class Operand:
    """What can be multiplied: rows of codes grouped along one axis, a `QArray` or a `PreparedMatrix`."""

    __slots__ = ()

    packed = True  # native_rows() gives a qb_matrix

    _matrix: "Matrix | None"  # of two dimensions, known to the C library

    __array_ufunc__ = None  # so that ndarray @ QArray asks QArray

    @property
    def shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    @property
    def axis(self) -> int:
        raise NotImplementedError

    @property
    def format(self) -> Format:
        raise NotImplementedError

    @property
    def T(self) -> "Operand":
        raise NotImplementedError

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def native_rows(self, first: int, count: int) -> Any:
        """The rows [first, first + count), as the C library takes them."""
        raise NotImplementedError

    def part_arrays(self) -> tuple[np.ndarray, ...]:
        raise NotImplementedError

    def __matmul__(self, other: Any) -> Any:
        return _multiply(self, other, _DEFAULT, None, 1)

    def __rmatmul__(self, other: Any) -> Any:
        return _multiply(self, other, _DEFAULT, None, 0)


def matmul(a: Any, b: Any, *, activations: str = "int24", out: np.ndarray | None = None) -> Any:
    """Product of a quantized array and a float array, with the shapes of ``numpy.matmul``.

    One of the two is a `QArray` or a `PreparedMatrix`, grouped along the axis that is summed over: ``q @ x``
    with groups along the last axis of q, ``x @ q.T`` with groups along the last but one of q.T. The operator
    ``@`` is this function with its defaults. Two QArrays are multiplied as ``a @ b.T``: matrices with the
    same group boundaries, with the numbers of `vecdot` for each pair of rows.

    Parameters
    ----------
    a, b : QArray and array_like
        The array may be of float32, float16, bfloat16, float64 or integers, with any strides.
    activations : str
        What the floats are rounded to, block by block, before exact integer sums: "int24" agrees with
        ``q.dequantize() @ x`` to float32 accuracy; "int16" and "int8" are coarser and faster.
    out : ndarray of float32, optional
        Where to write: C-contiguous, of the result's shape, sharing no memory with the operands.

    Returns
    -------
    ndarray of float32
        The same bits on every instruction set and for every number of columns. A column with a NaN or an
        infinity gives NaN.

    Examples
    --------
    >>> import numpy as np, pyqbits as qb
    >>> q = qb.quantize(np.eye(3, 4, dtype=np.float32), "int8_g32")
    >>> q @ np.arange(4)
    array([0., 1., 2.], dtype=float32)
    >>> qb.matmul(np.ones((2, 4)), q.T, activations="int8").shape
    (2, 3)
    """
    _arrays.check_choice(activations, PLANES, "activations")
    planes = PLANES[activations]
    if isinstance(a, Operand):
        return _multiply(a, b, planes, out, 1)
    if isinstance(b, Operand):
        return _multiply(b, a, planes, out, 0)
    raise TypeError("matmul takes a QArray and an array, not two arrays")


def _multiply(q: Operand, x: Any, planes: int, out: np.ndarray | None, axis: int) -> Any:
    """The product of q and x; axis: that of a matrix q which is summed over, 1 where q comes first."""
    # Small calls: float32 rows one after another need no more questions than the C library asks. What is
    # wrong in any way, or different, goes on to the long way.
    try:
        grouped, m, k, struct, multiply_rows = q._matrix  # type: ignore[misc]  # None raises
        if grouped == axis and x.dtype is FLOAT32:
            if x.ndim == 1:
                n, have, shape = 1, len(x), m
            elif not axis:
                n, have = x.shape
                shape = n, m
            else:
                have = None
            if have != k:
                pass
            elif out is None:
                result = np.empty(shape, FLOAT32)
                # A copy costs less than a pointer, and is nothing to overlap.
                source = _tobytes(x) if n == 1 else _from_buffer(BYTES, x)
                if not multiply_rows(struct, source, n, planes, _from_buffer(BYTES, result)):
                    return result
            elif out.dtype is FLOAT32 and out.shape == (shape if x.ndim == 2 else (m,)):
                target = _from_buffer(BYTES, out, True)
                if not multiply_rows(struct, _from_buffer(BYTES, x), n, planes, target):
                    return out
    except (AttributeError, TypeError, ValueError):
        pass
    return _multiply_any(q, x, planes, out, bool(axis))


def _multiply_any(q: Operand, x: Any, planes: int, out: np.ndarray | None, q_first: bool) -> Any:
    if isinstance(x, Operand):  # the first, then, is q
        return _multiply_quantized(q, x, out)
    x = _arrays.as_floats(x, "b" if q_first else "a")
    _check_operands(q, x, q_first)
    # Both as stacks of rows along k: weights (*q_lead, M, K), activations (*x_lead, N, K).
    q_lead, k = q.shape[: max(0, q.ndim - 2)], q.shape[q.axis]
    m = () if q.ndim == 1 else (q.shape[-2 if q_first else -1],)
    rows = x[np.newaxis] if x.ndim == 1 else np.swapaxes(x, -1, -2) if q_first else x
    n = () if x.ndim == 1 else (rows.shape[-2],)
    lead = broadcast(q_lead, rows.shape[:-2])
    shape = (*lead, *m, *n) if q_first else (*lead, *n, *m)
    if out is None:
        result = np.empty(shape, FLOAT32)
    else:
        result = _arrays.check_out(out, shape, FLOAT32, (x, *q.part_arrays()))
    if result.size and k:
        _multiply_stacks(q, q_lead, rows, lead, planes, result, q_first)
    else:
        result[...] = 0
    return result[()] if out is None and not shape else result


def _multiply_quantized(a: Operand, b: Operand, out: np.ndarray | None) -> np.ndarray:
    if not (a.packed and b.packed):
        raise TypeError("a prepared matrix multiplies floats: unprepare() it, or dequantize() the other")
    if a.ndim != 2 or b.ndim != 2 or a.axis != 1 or b.axis != 0:
        raise ValueError(
            "matmul of two QArrays takes matrices, the first grouped along axis 1, the second along axis 0,"
            f" as in a @ b.T; these have shapes {a.shape} and {b.shape}, axes {a.axis} and {b.axis}"
        )
    check_groups(a, b, a.shape[1], b.shape[0])
    shape = (a.shape[0], b.shape[1])
    parts = (*a.part_arrays(), *b.part_arrays())
    result = np.empty(shape, FLOAT32) if out is None else _arrays.check_out(out, shape, FLOAT32, parts)
    if result.size:
        left, right = a.native_rows(0, shape[0]).struct, b.native_rows(0, shape[1]).struct
        target = _arrays.pointer(result, ffi.typeof("float[]"))
        check(lib.qb_products(left, right, target, shape[1], 1), "matmul")
    return result


def check_groups(a: Operand, b: Operand, n: int, other: int) -> None:
    """Refuse rows of n and `other` elements whose products cannot be summed group by group."""
    if n != other:
        raise ValueError(f"the rows of a have {n} elements, those of b {other}")
    if min(a.format.step(n), n) != min(b.format.step(n), n):
        raise ValueError(f"groups of {a.format} and {b.format} have different boundaries in rows of {n}")


def grouped_matmul(
    x: Any, experts: Sequence[Operand], offsets: Any, *, activations: str = "int24",
    out: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Rows of x times the matrix of the expert each belongs to, as mixtures of experts need it.

    Parameters
    ----------
    x : array_like of floats
        Shape (n, k): the rows of expert 0 first, then those of expert 1, and so on.
    experts : sequence of QArray or PreparedMatrix
        Each of shape (m, k), grouped along the last axis.
    offsets : array_like of integers
        One more than there are experts: rows ``offsets[e]`` to ``offsets[e + 1]`` are those of expert e. The
        first is 0, the last n, and none is less than the one before.
    activations, out
        As in `matmul`.

    Returns
    -------
    ndarray of float32
        Shape (n, m), with the bits of ``x[offsets[e]:offsets[e + 1]] @ experts[e].T``.

    Examples
    --------
    >>> import numpy as np, pyqbits as qb
    >>> experts = [qb.quantize(np.full((2, 64), v, np.float32), "int8_g32").prepare() for v in (1, 2)]
    >>> qb.grouped_matmul(np.ones((3, 64)), experts, [0, 1, 3])[:, 0].round(3)
    array([ 64., 128., 128.], dtype=float32)
    """
    x = _arrays.as_floats(x, "x")
    bounds = [operator.index(i) for i in offsets]
    if x.ndim != 2:
        raise ValueError(f"x has {x.ndim} dimensions; it must have 2")
    if not experts or any(not isinstance(e, Operand) or e.ndim != 2 for e in experts):
        raise TypeError("experts must be matrices: QArrays or PreparedMatrices, at least one")
    if len({e.shape for e in experts}) > 1:
        raise ValueError(f"experts must have one shape, not {sorted({e.shape for e in experts})}")
    if len(bounds) != len(experts) + 1 or bounds[0] != 0 or bounds[-1] != len(x) or bounds != sorted(bounds):
        raise ValueError(
            f"offsets must be {len(experts) + 1} numbers from 0 to {len(x)} that never fall, not {bounds}"
        )
    shape = (len(x), experts[0].shape[0])
    parts = [array for e in experts for array in e.part_arrays()]
    result = np.empty(shape, FLOAT32) if out is None else _arrays.check_out(out, shape, FLOAT32, (x, *parts))
    for expert, start, stop in zip(experts, bounds, bounds[1:], strict=False):
        if start < stop:
            matmul(x[start:stop], expert.T, activations=activations, out=result[start:stop])
    return result


def _check_operands(q: Operand, x: np.ndarray, q_first: bool) -> None:
    expression = "q @ x" if q_first else "x @ q"
    if x.ndim == 0:
        raise ValueError(f"{expression}: x has no axis; to scale, multiply q.dequantize()")
    summed = q.ndim - 1 if q_first else max(0, q.ndim - 2)
    if q.axis != summed:
        hint = "multiply by its transpose, or " if q.ndim > 1 and q.axis >= q.ndim - 2 else ""
        raise ValueError(
            f"{expression} sums over axis {summed} of q, of shape {q.shape}, but q is grouped along axis"
            f" {q.axis}: {hint}quantize it with axis={summed}"
        )
    k = x.shape[-2 if q_first and x.ndim > 1 else -1]
    if k != q.shape[q.axis]:
        raise ValueError(
            f"{expression} with q of shape {q.shape} and x of shape {x.shape}: {q.shape[q.axis]} elements"
            f" against {k} in the sum"
        )


def broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of leading axes a and b together."""
    try:
        return np.broadcast_shapes(a, b) if a else b
    except ValueError:
        raise ValueError(f"leading axes {a} and {b} do not broadcast") from None


def _multiply_stacks(
    q: Operand, q_lead: tuple[int, ...], x: np.ndarray, lead: tuple[int, ...], planes: int,
    result: np.ndarray, q_first: bool,
) -> None:  # fmt: skip
    """Multiply each matrix of the broadcast stacks; result is not empty."""
    n, k = x.shape[-2:]
    m = result.size // (prod(lead) * n)
    if not (x.flags.aligned and x.dtype.isnative):
        x = _arrays.contiguous(x)
    target = _arrays.pointer(result, ffi.typeof("float[]"))
    steps = (1, n) if q_first else (m, 1)  # floats from column to column, and from row of q to row of q
    tall = not q_first and prod(q_lead) == 1 and _arrays.readable_rows(x)  # a stack that is one matrix
    if tall or not lead:
        _call(q.native_rows(0, m), x, planes, target, steps)
        return
    numbers = np.broadcast_to(np.arange(prod(q_lead)).reshape(q_lead), lead)
    stack = np.broadcast_to(x, (*lead, n, k))
    for place, index in enumerate(np.ndindex(lead)):
        matrix = q.native_rows(int(numbers[index]) * m, m)
        _call(matrix, stack[index], planes, target + place * n * m, steps)


def _call(matrix: Any, x: np.ndarray, planes: int, target: Any, steps: tuple[int, int]) -> None:
    rows = _arrays.float_rows(x)
    check(matrix.multiply(matrix.struct, rows.struct, planes, target, *steps), "matmul")

"""Which rows an index means, in arrays whose rows lie along one of their axes."""

import operator
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ._arrays import INT64, as_array


class Chosen(NamedTuple):
    """The part of a row-wise array that an index selects."""

    shape: tuple[int, ...]
    axis: int  # of the rows, in the new shape
    key: tuple[Any, ...]  # for arrays with the rows moved to the last axis: the other axes
    copies: bool  # by an array of indices

    def apply(self, moved: np.ndarray) -> np.ndarray:
        """The selected part of such an array: a view, or a contiguous copy."""
        return np.ascontiguousarray(moved[self.key]) if self.copies else moved[self.key]


def resolve(key: Any, shape: tuple[int, ...], axis: int) -> Chosen:
    """Work out what an index of an array of this shape, with rows along `axis`, selects."""
    entries = _expand(key if isinstance(key, tuple) else (key,), len(shape))
    arrays = [e for e in entries if isinstance(e, np.ndarray)]
    if len(arrays) > 1 or (arrays and not all(e is arrays[0] or _whole(e) for e in entries)):
        raise IndexError("one array of indices at a time, and with no other index than `:`")
    new_shape: list[int] = []
    moved: list[Any] = []
    new_axis = place = 0
    for entry in entries:
        if entry is None:
            new_shape.append(1)
            moved.append(None)
            continue
        size = shape[place]
        if place == axis:
            if not (isinstance(entry, slice) and entry.indices(size) == (0, size, 1)):
                raise IndexError(f"axis {axis} is the grouped axis and has no index but `:`")
            new_axis = len(new_shape)
            new_shape.append(size)
        elif isinstance(entry, slice):
            start, stop, step = entry.indices(size)
            count = len(range(start, stop, step))
            if step != 1 and count > 1:
                raise IndexError(f"a slice of step {step} is no view; an array of indices copies rows")
            new_shape.append(count)
            moved.append(slice(start, start + count))
        elif isinstance(entry, np.ndarray):
            rows = row_indices(entry, size, place)
            new_shape.extend(rows.shape)
            moved.append(rows)
        else:
            moved.append(_row_index(entry, size, place))
        place += 1
    return Chosen(tuple(new_shape), new_axis, tuple(moved), bool(arrays))


def _whole(entry: Any) -> bool:
    return isinstance(entry, slice) and entry == slice(None)


def _expand(key: tuple[Any, ...], ndim: int) -> list[Any]:
    """One entry (integer, slice or array) for each axis, and the newaxis entries between them."""
    entries = [e if e is None or e is Ellipsis or isinstance(e, slice) else _entry(e) for e in key]
    given = sum(e is not None and e is not Ellipsis for e in entries)
    if given > ndim:
        raise IndexError(f"{given} indices for an array of {ndim} dimensions")
    dots = [i for i, e in enumerate(entries) if e is Ellipsis]
    if len(dots) > 1:
        raise IndexError("only one `...` in an index")
    at = dots[0] if dots else len(entries)
    return entries[:at] + [slice(None)] * (ndim - given) + entries[at + 1 :]


def _entry(entry: Any) -> Any:
    if not isinstance(entry, bool | np.bool_):
        try:
            return operator.index(entry)
        except TypeError:
            pass
    array = as_array(entry)
    if array.dtype.kind not in "biu" or array.ndim == 0:
        raise IndexError(f"an index is an integer, a slice, `...`, None or an array of those, not {entry!r}")
    return array


def _row_index(index: int, size: int, axis: int) -> int:
    if not -size <= index < size:
        raise IndexError(f"index {index} is out of bounds for axis {axis} of size {size}")
    return index % size


def row_indices(rows: Any, size: int, axis: int) -> np.ndarray:
    """Indices of rows along an axis (a boolean array: where it is true), checked and counted from 0."""
    index = as_array(rows)
    if index.dtype.kind == "b" and index.ndim == 1:
        if index.size != size:
            raise IndexError(f"{index.size} booleans for axis {axis} of size {size}")
        return np.flatnonzero(index)
    if index.dtype.kind not in "iu":
        raise IndexError(f"rows are chosen by integers or by a 1-d array of booleans, not {index.dtype}")
    found = index.astype(INT64)
    if (found.view(np.uint64) < size).all():  # the usual case; a negative one is a large one here
        return found
    bad = (index >= size) | (index < -size)
    if bad.any():
        raise IndexError(f"index {index[bad][0]} is out of bounds for axis {axis} of size {size}")
    return np.where(found < 0, found + size, found)


def row_numbers(lead: tuple[int, ...], axis: int, index: np.ndarray) -> np.ndarray:
    """The numbers of the rows `index` along one axis of rows arranged in `lead`, in order."""
    if len(lead) == 1:
        return index.reshape(-1)
    outer, size, inner = prod(lead[:axis]), lead[axis], prod(lead[axis + 1 :])
    first = np.arange(outer)[:, np.newaxis] * size + index.reshape(1, -1)
    return (first[..., np.newaxis] * inner + np.arange(inner)).reshape(-1).astype(INT64, copy=False)

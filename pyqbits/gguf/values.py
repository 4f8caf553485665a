"""Values of metadata: Python values, checked against the types that the container has for them."""

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isinf
from typing import Any

import numpy as np

from .types import NUMBERS, VALUE_IDS

_SHOWN = 6  # elements of a long array that its repr shows


class Array(Sequence[Any]):
    """An array in metadata: a sequence of Python values that knows the type of its elements.

    Out of a file it is decoded when its elements are asked for. ``numpy.asarray`` takes numbers as they are.

    Parameters
    ----------
    type : str
        Of the elements: "uint8", "int8", ..., "uint64", "int64", "float32", "float64", "bool", "string",
        or "array" for an array of arrays.
    values : iterable
        What the type can hold; numbers are rounded to its precision, not to its range.

    Examples
    --------
    >>> import numpy as np
    >>> from pyqbits import gguf
    >>> scores = gguf.Array("float32", [0, -1.5, 2])
    >>> scores, scores[1], scores[1:]
    (Array('float32', [0.0, -1.5, 2.0]), -1.5, [-1.5, 2.0])
    >>> np.asarray(scores)
    array([ 0. , -1.5,  2. ], dtype=float32)
    """

    __slots__ = ("_items", "_length", "_load", "type")

    def __init__(self, type: str, values: Iterable[Any]) -> None:
        if type not in VALUE_IDS:
            raise ValueError(f"unknown type {type!r} of elements; known are {', '.join(VALUE_IDS)}")
        self.type = type
        if type in NUMBERS:
            self._items: np.ndarray | list | None = _numbers(type, values)
        else:
            self._items = [checked(type, value) for value in values]
        self._length = len(self._items)
        self._load: Callable[[], np.ndarray | list] | None = None

    @classmethod
    def _later(cls, type: str, length: int, load: Callable[[], np.ndarray | list]) -> "Array":
        """An array whose elements `load` finds."""
        array = cls.__new__(cls)
        array.type, array._length, array._load, array._items = type, length, load, None
        return array

    @property
    def items(self) -> np.ndarray | list:
        """The elements as they are kept: numbers as an ndarray, strings or arrays as a list. Read-only."""
        if self._items is None:
            assert self._load is not None
            self._items, self._load = self._load(), None
        return self._items

    def tolist(self) -> list:
        """All elements as Python values, arrays in it as lists."""
        items = self.items
        if isinstance(items, np.ndarray):
            return items.tolist()
        return [item.tolist() if isinstance(item, Array) else item for item in items]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        found = self.items[index]
        return found.tolist() if isinstance(found, np.ndarray | np.generic) else found

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items.tolist() if isinstance(self.items, np.ndarray) else self.items)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        items = self.items
        if not isinstance(items, np.ndarray):
            return np.array(self.tolist(), dtype)
        wanted = items.dtype.newbyteorder("=") if dtype is None else np.dtype(dtype)
        return items.astype(wanted, copy=bool(copy))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Array):
            return self.type == other.type and self.tolist() == other.tolist()
        return self.tolist() == list(other) if isinstance(other, list | tuple) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if len(self) <= 2 * _SHOWN:
            return f"Array({self.type!r}, {self.tolist()})"
        return f"<Array of {len(self)} {self.type}: {', '.join(map(repr, self[:_SHOWN]))}, ...>"


def _numbers(type: str, values: Iterable[Any]) -> np.ndarray:
    dtype = NUMBERS[type]
    if not isinstance(values, np.ndarray):
        return np.array([checked(type, value) for value in values], dtype)
    if values.ndim != 1 or values.dtype.kind not in {"b": "b", "f": "fiu"}.get(dtype.kind, "iu"):
        raise TypeError(f"an array of {type} cannot be made of {values.ndim}-D {values.dtype}")
    if values.size and dtype.kind in "iu":
        checked(type, values.min())
        checked(type, values.max())
    with np.errstate(over="ignore"):
        numbers = values.astype(dtype)
    if dtype.kind == "f" and np.any(np.isinf(numbers) & ~np.isinf(values)):
        raise ValueError(f"a value of the array is out of range for {type}")
    return numbers


def checked(type: str, value: Any) -> Any:
    """The Python value that is read again where `value` is written as `type`."""
    if type == "array":
        return value if isinstance(value, Array) else inferred(value)[1]
    if type == "string":
        if isinstance(value, str):
            encode_text(value)
            return value
    elif type == "bool":
        if isinstance(value, bool | np.bool_):
            return bool(value)
    elif NUMBERS[type].kind == "f":
        if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
            return _rounded(type, value)
    elif hasattr(value, "__index__") and not isinstance(value, bool | np.bool_ | np.ndarray):
        number, limits = operator.index(value), np.iinfo(NUMBERS[type])
        if limits.min <= number <= limits.max:
            return number
        raise ValueError(f"{number} is out of range for {type}")
    raise TypeError(f"a value of type {type} cannot be made of {value!r:.60}")


def _rounded(type: str, value: Any) -> float:
    try:
        with np.errstate(over="ignore"):
            number = float(NUMBERS[type].type(value))
    except OverflowError:  # an integer larger than any float
        number = float("inf")
    if isinf(number) and not (isinstance(value, float | np.floating) and isinf(value)):
        raise ValueError(f"{value} is out of range for {type}")
    return number


def inferred(value: Any) -> tuple[str, Any]:
    """A type for a value that comes without one, and the value as that."""
    if isinstance(value, Array):
        return "array", value
    if isinstance(value, np.ndarray):
        if value.dtype.name not in NUMBERS:
            raise TypeError(f"metadata has no arrays of {value.dtype}")
        return "array", Array(value.dtype.name, value)
    if isinstance(value, list | tuple):
        return "array", Array(_element_type(value), value)
    type = _scalar_type(value)
    return type, checked(type, value)


def _scalar_type(value: Any) -> str:
    if isinstance(value, np.generic) and value.dtype.name in NUMBERS:
        return value.dtype.name
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return _fitting("uint32" if value >= 0 else "int32", (value,))
    if isinstance(value, float):
        return "float32"
    if isinstance(value, str):
        return "string"
    raise TypeError(f"metadata cannot hold {value!r:.60}, a {type(value).__name__}")


def _element_type(values: Sequence[Any]) -> str:
    if not values:
        raise ValueError("an empty list has no type: give an Array")
    if all(isinstance(value, list | tuple | np.ndarray | Array) for value in values):
        return "array"
    types = {_scalar_type(value) for value in values}
    if len(types) == 1 and not types & {"uint32", "int32", "uint64", "int64"}:
        return types.pop()
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return _fitting("int32", values)
    if types <= {"float32", "uint32", "int32"}:
        return "float32"
    raise TypeError(f"a list of {', '.join(sorted(types))} has no one type: give an Array")


def _fitting(type: str, values: Sequence[int]) -> str:
    """`type`, or the 64-bit integer type that holds these values."""
    limits = np.iinfo(type)
    if limits.min <= min(values) and max(values) <= limits.max:
        return type
    return "uint64" if min(values) >= 0 else "int64"


def encode_text(text: str) -> bytes:
    """The bytes of a string; those that were no UTF-8 in the file they come from return as they were."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ValueError(f"{text!r:.60} cannot be written as UTF-8") from None


def decode_text(data: bytes | memoryview) -> str:
    return str(data, "utf-8", "surrogateescape")

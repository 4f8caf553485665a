"""The metadata of a file: a mapping of keys to Python values, each with the type it is written as."""

import struct
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np

from .types import NUMBERS, VALUE_IDS
from .values import Array, checked, encode_text, inferred


class Metadata(MutableMapping[str, Any]):
    """Keys and Python values in the order of the file: int, float, bool, str and `Array`.

    Every value has one of the container's types. A new value under a known key takes the type of the old
    one, or is refused; under a new key the type follows from the value: bool, "string", "uint32" for an
    integer ("int32" for a negative one, 64 bits where these are needed), "float32", an array of such
    ("int32" for integers), NumPy's types as they are. `set` takes a type.

    Strings that are not UTF-8 in the file hold the bytes as ``errors="surrogateescape"`` does.

    Parameters
    ----------
    values : mapping
        To begin with. Another Metadata brings its types.

    Examples
    --------
    >>> from pyqbits import gguf
    >>> metadata = gguf.Metadata({"general.architecture": "llama", "llama.block_count": 2})
    >>> metadata.set("llama.vocab_size", 64, "uint64")
    >>> metadata["tokenizer.ggml.tokens"] = ["a", "b"]
    >>> for key in metadata:
    ...     print(key, metadata.type(key), metadata[key])
    general.architecture string llama
    llama.block_count uint32 2
    llama.vocab_size uint64 64
    tokenizer.ggml.tokens array[string] Array('string', ['a', 'b'])
    """

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._entries: dict[str, tuple[str, Any]] = {}
        if isinstance(values, Metadata):
            self._entries.update(values._entries)
        elif values:
            self.update(values)

    def type(self, key: str) -> str:
        """The type of a value: "uint32", "string", ..., or "array[...]" with the type of the elements."""
        type, value = self._entries[key]
        return f"array[{value.type}]" if isinstance(value, Array) else type

    def set(self, key: str, value: Any, type: str | None = None) -> None:
        """Put a value of a type as `type` names them; without one it follows from the value alone."""
        if not isinstance(key, str):
            raise TypeError(f"keys must be strings, not {key!r:.60}")
        if not key:
            raise ValueError("a key must not be empty")
        key.encode()
        if type is None:
            self._entries[key] = inferred(value)
        elif type.startswith("array[") and type.endswith("]"):
            self._entries[key] = "array", Array(type[6:-1], value)
        elif type in VALUE_IDS and type != "array":
            self._entries[key] = type, checked(type, value)
        else:
            raise ValueError(f"unknown type {type!r}: uint32, string, array[float32] and the like are known")

    def _put(self, key: str, type: str, value: Any) -> None:
        """Put what was read."""
        self._entries[key] = type, value

    def copy(self) -> "Metadata":
        return Metadata(self)

    def __getitem__(self, key: str) -> Any:
        return self._entries[key][1]

    def __setitem__(self, key: str, value: Any) -> None:
        typed = isinstance(value, Array | np.generic | np.ndarray)
        self.set(key, value, None if typed or key not in self._entries else self.type(key))

    def __delitem__(self, key: str) -> None:
        del self._entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"Metadata({dict(self)})"


# ---- as bytes -------------------------------------------------------------------------------------


def encode_string(data: bytes) -> bytes:
    return len(data).to_bytes(8, "little") + data


def encode(metadata: Metadata) -> bytes:
    """Keys and values as a file has them."""
    pieces = []
    for key in metadata:
        type, value = metadata._entries[key]
        pieces += [encode_string(key.encode()), _id(type), _value(type, value)]
    return b"".join(pieces)


def _id(type: str) -> bytes:
    return VALUE_IDS[type].to_bytes(4, "little")


def _value(type: str, value: Any) -> bytes:
    if type == "array":
        head = _id(value.type) + struct.pack("<Q", len(value))
        if value.type in NUMBERS:
            return head + value.items.astype(NUMBERS[value.type], copy=False).tobytes()
        return head + b"".join(_value(value.type, item) for item in value.items)
    if type == "string":
        return encode_string(encode_text(value))
    return np.array(value, NUMBERS[type]).tobytes()

"""Writing files: first the header, since sizes follow from types and shapes, then data in any order."""

import os
import struct
from collections.abc import Iterable, Mapping
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .. import _arrays
from .._bytes import little
from .._files import StreamWriter
from ..qarray import QArray
from .metadata import Metadata, encode, encode_string
from .reader import ALIGNMENT, ALIGNMENT_KEY, MAGIC, MAX_DIMS, TensorInfo, is_power_of_two
from .types import DTYPES, TYPES, named

VERSION = 3


class Spec(NamedTuple):
    """A tensor to be written: its name, type and shape (as NumPy counts: the last axis is contiguous)."""

    name: str
    type: str
    shape: tuple[int, ...]


class Writer(StreamWriter):
    """Writes a file whose tensors are known by type and shape before their bytes are; a context manager.

    The file, little-endian and of version 3, appears under its name when the block ends and every byte was
    written; if it ends by an exception, nothing is left behind.

    Parameters
    ----------
    path : path
    tensors : iterable of Spec or TensorInfo
        What will be written, in this order.
    metadata : mapping
        A Metadata keeps its types; "general.alignment" is obeyed.

    Examples
    --------
    >>> import os, tempfile, numpy as np
    >>> from pyqbits import gguf
    >>> path = os.path.join(tempfile.mkdtemp(), "model.gguf")
    >>> with gguf.Writer(path, [gguf.Spec("w", "f32", (2, 2))], {"general.architecture": "none"}) as file:
    ...     end = file.write("w", np.array([1, 2], "<f4"))  # any part of a tensor, in any order
    ...     end = file.write("w", np.array([3, 4], "<f4"), at=end)
    >>> gguf.open(path)["w"].tolist()
    [[1.0, 2.0], [3.0, 4.0]]

    A copy of a file is the same bytes, if it is one that was written without gaps:

    >>> with gguf.open(path) as old, gguf.Writer(path, old.tensors.values(), old.metadata) as new:
    ...     for name in old:
    ...         end = new.write(name, old.raw(name))
    """

    def __init__(
        self, path: str | os.PathLike, tensors: Iterable[Spec | TensorInfo], metadata: Mapping[str, Any]
    ) -> None:
        metadata = metadata if isinstance(metadata, Metadata) else Metadata(metadata)
        alignment = _alignment(metadata)
        infos, position = [], 0
        for tensor in tensors:
            info = _info(tensor, position)
            infos.append(info)
            position += info.nbytes + -info.nbytes % alignment
        header = _header(infos, metadata)
        data = len(header) + -len(header) % alignment
        placed = {info.name: info._replace(offset=data + info.offset) for info in infos}
        if len(placed) < len(infos):
            names = [info.name for info in infos]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"two tensors would be stored under the name {twice!r}")
        self.tensors: Mapping[str, TensorInfo] = placed
        places = {info.name: (info.offset, info.nbytes) for info in placed.values()}
        super().__init__(path, header, places, data + position if position else len(header))


def _alignment(metadata: Metadata) -> int:
    alignment = metadata.get(ALIGNMENT_KEY, ALIGNMENT)
    if ALIGNMENT_KEY in metadata and metadata.type(ALIGNMENT_KEY) != "uint32":
        raise TypeError(f"{ALIGNMENT_KEY} must be of type uint32, not {metadata.type(ALIGNMENT_KEY)}")
    if not is_power_of_two(alignment):
        raise ValueError(f"{ALIGNMENT_KEY} must be a power of two, not {alignment}")
    return alignment


def _info(tensor: Spec | TensorInfo, offset: int) -> TensorInfo:
    name, shape, type = tensor.name, tuple(tensor.shape), named(tensor.type)
    if not isinstance(name, str):
        raise TypeError(f"names must be strings, not {name!r}")
    if len(shape) > MAX_DIMS or min(shape, default=0) < 0 or prod(n for n in shape if n) >= 2**60:
        raise ValueError(f"tensor {name!r} has shape {shape}; a file holds up to {MAX_DIMS} dimensions")
    columns = shape[-1] if shape else 1
    if columns % type.block:
        message = f"tensor {name!r} has rows of {columns} values; {type.name} takes multiples of {type.block}"
        raise ValueError(message)
    return TensorInfo(name, type.name, shape, offset, type.array_nbytes(shape))


def _header(infos: list[TensorInfo], metadata: Metadata) -> bytes:
    pieces = [struct.pack("<4sIQQ", MAGIC, VERSION, len(infos), len(metadata)), encode(metadata)]
    for info in infos:
        dims, type = len(info.shape), named(info.type).id
        rest = struct.pack(f"<I{dims}QIQ", dims, *info.shape[::-1], type, info.offset)
        pieces += [encode_string(info.name.encode()), rest]
    return b"".join(pieces)


def save(
    path: str | os.PathLike, tensors: Mapping[str, Any], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write named arrays to a GGUF file; it appears under its name when it is complete.

    Parameters
    ----------
    path : path
    tensors : mapping of str to array_like or QArray
        Numbers are float32, float16, bfloat16, float64, or signed integers; a QArray is of a block type,
        with blocks along its last axis. Up to four dimensions.
    metadata : mapping, optional
        Keys and values, as `Metadata` takes them.

    Examples
    --------
    See `open`.
    """
    arrays = {name: x if isinstance(x, QArray) else _arrays.as_array(x) for name, x in tensors.items()}
    specs = [Spec(name, _type_of(name, x), x.shape) for name, x in arrays.items()]
    with Writer(path, specs, metadata or {}) as file:
        for name, x in arrays.items():
            file.write(name, _contents(x))


def _contents(x: np.ndarray | QArray) -> np.ndarray:
    if isinstance(x, QArray):
        return x.buffers["blocks"]
    return little(np.ascontiguousarray(x)).reshape(-1).view(np.uint8)


def _type_of(name: str, x: np.ndarray | QArray) -> str:
    if isinstance(x, QArray):
        if x.format.name in TYPES and x.axis == len(x.shape) - 1:
            return x.format.name
        raise TypeError(f"{name!r} is {x!r}: GGUF holds block types, with blocks along the last axis")
    for type, known in DTYPES.items():
        if x.dtype.newbyteorder("<") == known:
            return type
    if x.dtype.name == "bfloat16":
        return "bf16"
    raise TypeError(f"{name!r} has dtype {x.dtype}, which GGUF does not hold")

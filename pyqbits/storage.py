"""Files of named arrays, quantized and plain: ``.npz``, ``.safetensors``, and, by way of `gguf`, ``.gguf``.

In the former two a quantized array NAME is stored as the arrays ``NAME`` (uint8, packed rows, the grouped
axis moved last), ``NAME.scales``, and ``NAME.mins`` or ``NAME.zeros`` (of block types ``NAME`` alone, the
blocks); what they mean is in the file's metadata ``pyqbits``, the JSON text ``{"version": 1, "tensors":
{NAME: {"format": ..., "shape": [...], "axis": n}}}``. In a ``.npz`` the metadata is a member of that name,
and bfloat16 scales are uint16. The data of every array starts at a multiple of 64 bytes.
"""

import json
import mmap
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from . import _arrays, _npz, _safetensors, gguf
from ._archive import Archive
from ._bytes import Description, description, little, parts_of, read_description, view_part
from ._safetensors import NUMPY_DTYPES, Spec
from .errors import FormatError
from .formats import Format, Part
from .qarray import QArray

VERSION = 1
METADATA_KEY = "pyqbits"

_CONTAINER_DTYPES = {"uint8": "U8", "float16": "F16", "bfloat16": "BF16", "float32": "F32"}
_SUFFIXES = {"codes": "", "blocks": "", "scales": ".scales", "mins": ".mins", "zeros": ".zeros"}

# safetensors' types that NumPy has with ml_dtypes only.
_ML_DTYPES = {
    "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip


# ---- what a quantized array is in a file ----------------------------------------------------------


def tensor_specs(name: str, format: Format, shape: tuple[int, ...], axis: int) -> list[Spec]:
    """The arrays that a quantized array is stored as in safetensors."""
    return [
        Spec(name + _SUFFIXES[part.name], _CONTAINER_DTYPES[part.dtype], part.shape)
        for part in parts_of(format, shape, axis)
    ]


def tensor_buffers(q: QArray) -> dict[str, np.ndarray]:
    """Their contents, as files keep them, by what follows the name."""
    return {_SUFFIXES[name]: little(array) for name, array in q.buffers.items()}


def metadata_json(tensors: Mapping[str, Description]) -> str:
    """The text of the metadata: for each name its format, shape and axis."""
    described = {name: description(*fields) for name, fields in tensors.items()}
    return json.dumps({"version": VERSION, "tensors": described}, separators=(",", ":"))


def _read_metadata(text: str | bytes, offset: int | None) -> dict[str, Description]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise FormatError(f"the metadata {METADATA_KEY!r} is not JSON", offset) from None
    if not isinstance(fields, dict) or type(fields.get("version")) is not int:
        raise FormatError(f"the metadata {METADATA_KEY!r} has no version", offset)
    if fields["version"] != VERSION:
        raise FormatError(f"version {fields['version']} is not known; this is version {VERSION}", offset)
    tensors = fields.get("tensors")
    if not isinstance(tensors, dict):
        raise FormatError(f"the metadata {METADATA_KEY!r} names no tensors", offset)
    return {name: read_description(t, f"tensor {name!r}", offset) for name, t in tensors.items()}


# ---- writing --------------------------------------------------------------------------------------


def save(path: str | os.PathLike, mapping: Mapping[str, Any]) -> None:
    """Write named arrays, quantized or not, to a ``.npz``, ``.safetensors`` or ``.gguf`` file.

    The file is written under a temporary name and renamed when it is complete.

    Parameters
    ----------
    path : path
        Its suffix chooses the container. A ``.npz`` can be read with NumPy alone. A ``.gguf`` holds what
        `gguf.save` takes, which writes metadata as well.
    mapping : mapping of str to QArray or array_like
        What to write.

    Examples
    --------
    >>> import os, tempfile, numpy as np, pyqbits as qb
    >>> q = qb.quantize(np.ones((4, 64), np.float32), "int4_g32")
    >>> path = os.path.join(tempfile.mkdtemp(), "model.npz")
    >>> qb.save(path, {"w": q, "bias": np.zeros(4)})
    >>> with qb.open(path) as file:
    ...     print(file["w"], sorted(file))
    <QArray (4, 64) int4_g32, 4.5 bpw, 144 bytes> ['bias', 'w']
    """
    if Path(path).suffix == ".gguf":
        gguf.save(path, mapping)
        return
    write = {".npz": _save_npz, ".safetensors": _save_safetensors}.get(Path(path).suffix)
    if write is None:
        raise ValueError(f"{Path(path).name!r} must end in .npz, .safetensors or .gguf")
    quantized: dict[str, QArray] = {}
    plain: dict[str, np.ndarray] = {}
    for name, value in mapping.items():
        if not isinstance(name, str):
            raise TypeError(f"names must be strings, not {name!r}")
        if isinstance(value, QArray):
            quantized[name] = value
        else:
            plain[name] = _arrays.as_array(value)
    write(path, quantized, plain)


def _described(quantized: Mapping[str, QArray]) -> dict[str, Description]:
    return {name: (q.format, q.shape, q.axis) for name, q in quantized.items()}


def _save_safetensors(
    path: str | os.PathLike, quantized: dict[str, QArray], plain: dict[str, np.ndarray]
) -> None:
    specs = [Spec(name, _container_dtype(name, x.dtype), x.shape) for name, x in plain.items()]
    for name, described in _described(quantized).items():
        specs += tensor_specs(name, *described)
    with _safetensors.Writer(path, specs, {METADATA_KEY: metadata_json(_described(quantized))}) as file:
        for name, x in plain.items():
            file.write(name, _contents(x))
        for name, q in quantized.items():
            for suffix, array in tensor_buffers(q).items():
                file.write(name + suffix, _contents(array))


def _contents(x: np.ndarray) -> np.ndarray:
    """The bytes of an array in C order, little-endian."""
    ordered = little(x) if x.flags.c_contiguous else little(x).copy(order="C")
    return ordered.reshape(-1).view(np.uint8)


def _container_dtype(name: str, dtype: np.dtype) -> str:
    for container, known in NUMPY_DTYPES.items():
        if dtype.newbyteorder("<") == known:
            return container
    for container, known_name in _ML_DTYPES.items():
        if dtype.name == known_name:
            return container
    raise TypeError(f"{name!r} has dtype {dtype}, which safetensors does not hold")


def _save_npz(path: str | os.PathLike, quantized: dict[str, QArray], plain: dict[str, np.ndarray]) -> None:
    members = {METADATA_KEY: np.array(metadata_json(_described(quantized)).encode())}

    def add(name: str, x: np.ndarray) -> None:
        if name in members:
            raise ValueError(f"two arrays would be stored under the name {name!r}")
        if not name or "\0" in name or "\\" in name or len(name.encode()) > 60_000:
            raise ValueError(f"{name!r:.80} cannot be a name in a .npz file")
        if x.dtype.hasobject or np.dtype(x.dtype.str) != x.dtype:
            raise TypeError(f"{name!r} has dtype {x.dtype}, which .npz does not hold")
        members[name] = x

    for name, x in plain.items():
        add(name, x)
    for name, q in quantized.items():
        for suffix, array in tensor_buffers(q).items():
            add(name + suffix, array)
    _npz.write(path, members.items())


# ---- reading --------------------------------------------------------------------------------------

_Entry: TypeAlias = _npz.Entry | _safetensors.Entry


class _Contents(NamedTuple):
    """What a container holds: arrays by name, the metadata's text, and where that is."""

    entries: dict[str, _Entry]
    metadata: str | bytes | None
    offset: int | None


def _read_contents(mapped: mmap.mmap) -> _Contents:
    if mapped[:2] == b"PK":
        members: dict[str, _Entry] = dict(_npz.read_header(mapped))
        entry = members.pop(METADATA_KEY, None)
        if entry is None:
            return _Contents(members, None, None)
        return _Contents(members, mapped[entry.start : entry.stop], entry.start)
    header = _safetensors.read_header(mapped)
    return _Contents(dict(header.entries), header.metadata.get(METADATA_KEY), 8)


def _stored_dtype(part: Part, entry: _Entry) -> Any:
    """How the container of an entry names the dtype that the buffer of a quantized array has."""
    if isinstance(entry, _npz.Entry):
        return part.memory_dtype.newbyteorder("<")
    return _CONTAINER_DTYPES[part.dtype]


def _numpy_dtype(name: str, entry: _Entry) -> np.dtype:
    dtype = entry.dtype
    if isinstance(dtype, np.dtype):
        return dtype
    if dtype in NUMPY_DTYPES:
        return NUMPY_DTYPES[dtype]
    if dtype not in _ML_DTYPES:
        raise TypeError(f"{name!r} has dtype {dtype}, for which there is no NumPy type")
    try:
        import ml_dtypes
    except ModuleNotFoundError:
        raise TypeError(f"{name!r} has dtype {dtype}: install ml_dtypes to read it") from None
    return np.dtype(getattr(ml_dtypes, _ML_DTYPES[dtype]))


class NamedArrays(Archive):
    """The arrays of a ``.npz`` or ``.safetensors`` file."""

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__(path)
        assert self._mapped is not None
        self._plain, text, offset = _read_contents(self._mapped)
        self._quantized = {} if text is None else _read_metadata(text, offset)
        self._parts: dict[str, list[tuple[Part, _Entry]]] = {}
        for name, described in self._quantized.items():
            parts = parts_of(*described)
            self._parts[name] = [(p, self._claim(name + _SUFFIXES[p.name], p, offset)) for p in parts]

    def _claim(self, name: str, part: Part, offset: int | None) -> _Entry:
        """Take a buffer of a quantized array from the plain arrays."""
        entry = self._plain.pop(name, None)
        if entry is None:
            raise FormatError(f"{name!r}, which the metadata speaks of, is not in the file", offset)
        dtype = _stored_dtype(part, entry)
        if entry.dtype != dtype or entry.shape != part.shape:
            found = f"{entry.dtype} of shape {entry.shape}"
            raise FormatError(f"{name!r} is {found}; it must be {dtype} of shape {part.shape}", entry.start)
        return entry

    def __getitem__(self, name: str) -> Any:
        if name in self._quantized:
            format, shape, axis = self._quantized[name]
            parts = self._parts[name]
            arrays = tuple(view_part(self._bytes(e.start, e.stop), part) for part, e in parts)
            return QArray._of(format, shape, axis, arrays)
        entry = self._plain[name]
        stored = self._bytes(entry.start, entry.stop).view(_numpy_dtype(name, entry))
        if isinstance(entry, _npz.Entry) and entry.fortran:
            return stored.reshape(entry.shape[::-1]).T
        return stored.reshape(entry.shape)

    def __iter__(self) -> Iterator[str]:
        yield from self._quantized
        yield from self._plain

    def __len__(self) -> int:
        return len(self._quantized) + len(self._plain)

    def __contains__(self, name: object) -> bool:
        return name in self._quantized or name in self._plain

    def __repr__(self) -> str:
        return f"<{self.path.name}: {len(self._quantized)} quantized and {len(self._plain)} plain arrays>"


def open(path: str | os.PathLike) -> Archive:
    """Map a file of named arrays, written by `save` or by others.

    Parameters
    ----------
    path : path
        A ``.npz`` file (members stored uncompressed), a ``.safetensors`` or a ``.gguf`` file, told by its
        contents. The latter has its metadata too: see `gguf.File`.

    Returns
    -------
    Archive
        A read-only mapping of names to QArray or ndarray. Nothing but the description is read until the
        numbers are used.

    Raises
    ------
    FormatError
        With the byte ``offset`` at which the file is not what it should be.

    Examples
    --------
    See `save`.
    """
    with Path(path).open("rb") as file:
        magic = file.read(len(gguf.MAGIC))
    return gguf.File(path) if magic == gguf.MAGIC else NamedArrays(path)

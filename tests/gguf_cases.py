"""GGUF files written field by field, so that any of the fields can be wrong."""

import base64
import json
import struct
from pathlib import Path

import numpy as np

from pyqbits import gguf

DATA = Path(__file__).parent / "data"
TINY = ("tiny_v3_le", "tiny_v3_le_align64", "tiny_v3_be")
CRAFTED = {
    name: (base64.b64decode(case["file"]), case["ggml"], case["gguf-py"])
    for name, case in json.loads((DATA / "crafted_gguf.json").read_text()).items()
}

# What is in the tiny files.
METADATA = {
    "general.architecture": ("string", "llama"), "t.u8": ("uint8", 200), "t.i8": ("int8", -5),
    "t.u16": ("uint16", 60000), "t.i16": ("int16", -300), "t.u32": ("uint32", 4000000000),
    "t.i32": ("int32", -70000), "t.f32": ("float32", 1.5), "t.bool": ("bool", True),
    "t.str": ("string", "héllo"), "t.u64": ("uint64", 2**40), "t.i64": ("int64", -(2**40)),
    "t.f64": ("float64", 0.1), "t.arr_i32": ("array[int32]", [1, -2, 3]),
    "t.arr_str": ("array[string]", ["a", "bb", ""]), "t.arr_f32": ("array[float32]", [0.5, 0.25]),
    "t.arr_bool": ("array[bool]", [True, False]),
}  # fmt: skip

# What of the crafted files is read; the others are refused. ggml refuses four of these: a file of the other
# byte order, an array of arrays, tensors with a gap between them, and a name as long as its own limit.
READ = {
    "ok_minimal_q4_0", "bool_2", "dims0", "dim_zero", "name_63",
    "v3_be_header", "nested_array", "offset_gap", "name_64",
}  # fmt: skip

# Types of values, which may be given as other numbers too.
IDS = {"u8": 0, "u32": 4, "f32": 6, "bool": 7, "string": 8, "array": 9, "u64": 10, "f64": 12}


def tiny(name):
    return DATA / f"{name}.gguf"


def string(text, order="<"):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack(order + "Q", len(data)) + data


def pair(key, type, value, order="<"):
    """A key and its value, which is given as bytes."""
    return string(key, order) + struct.pack(order + "I", IDS.get(type, type)) + value


def array(type, count, elements=b"", order="<"):
    return struct.pack(order + "IQ", IDS.get(type, type), count) + elements


def info(name, sizes, type, offset, order="<"):
    """A tensor; `sizes` are as in the file, the contiguous axis first."""
    return string(name, order) + struct.pack(f"{order}I{len(sizes)}QIQ", len(sizes), *sizes, type, offset)


def whole(pairs=(), infos=(), data=b"", *, version=3, order="<", alignment=32, counts=None):
    """A file; `counts` are of tensors and keys where they are not those given."""
    tensors, keys = counts or (len(infos), len(pairs))
    header = b"GGUF" + struct.pack(order + "IQQ", version, tensors, keys) + b"".join([*pairs, *infos])
    return header + bytes(-len(header) % alignment if data else 0) + data


def various(order="<"):
    """A file of much that the tiny ones have not: plain types, arrays of arrays, odd names, empty tensors."""
    dtypes = {24: "i1", 25: "i2", 26: "i4", 27: "i8", 28: "f8", 1: "f2", 30: "u2"}
    inner = array("u8", 2, b"\1\2", order) + array("string", 1, string("x", order), order)
    inner += array("array", 0, b"", order)
    pairs = [
        pair("ü", "string", string(b"\xff\xfe not UTF-8", order), order),
        pair("nested", "array", array("array", 3, inner, order), order),
        pair("empty", "array", array("f64", 0, b"", order), order),
        pair("large", "u64", struct.pack(order + "Q", 2**64 - 1), order),
    ]
    infos, data = [], b""
    for number, dtype in dtypes.items():
        values = np.arange(6, dtype=dtype).astype(np.dtype(dtype).newbyteorder(order)).tobytes()
        infos.append(info(f"t{number}", (3, 2), number, len(data), order))
        data += values + bytes(-len(values) % 32)
    infos += [info("one", (), 0, len(data), order), info("none", (0, 5), 0, len(data) + 32, order)]
    infos.append(info("four", (1, 2, 1, 2), 24, len(data) + 32, order))
    return whole(pairs, infos, data + bytes(32) + b"\1\2\3\4", order=order)


def copied(source, path):
    """A file that was read and written again."""
    with gguf.open(source) as old, gguf.Writer(path, old.tensors.values(), old.metadata) as new:
        for name in old:
            new.write(name, old.raw(name))
    return path.read_bytes()

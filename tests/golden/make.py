"""Writes the golden files from the reference. What is here must be readable for ever.

    python tests/golden/make.py

A file that exists is never rewritten: a new layout or version is a new file beside the old ones.
"""

import io
import json
import struct
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import gguf_cases as gguf  # noqa: E402
import reference as ref  # noqa: E402
import reference_blocks as blocks  # noqa: E402

FORMATS = (
    *(ref.Format(bits, 32, zero) for bits in range(1, 9) for zero in (None, "min", "point")),
    ref.Format(4, 20, None, "bfloat16"),
    ref.Format(3, 7, "min", "bfloat16"),
    ref.Format(5, 300, "point", "bfloat16"),
    ref.Format(2, 1, None, "float32"),
    ref.Format(6, "row", "min", "float32"),
    ref.Format(8, "row"),
    ref.Format(8, "tensor"),
    ref.Format(3, "tensor", "min"),
    ref.Format(4, "tensor", "point", "float32"),
)


def values(rows, cols, seed):
    """Portable numbers: a 32-bit congruential sequence scaled to about [-2, 2), no library generator."""
    state, out = seed, []
    for _ in range(rows * cols):
        state = (1664525 * state + 1013904223) % 2**32
        out.append((state >> 8) / 2**22 - 2)
    return np.array(out, np.float32).reshape(rows, cols)


def write(path, data):
    if path.exists():
        print(f"{path.name} exists and stays as it is")
    else:
        path.write_bytes(data)


def npz(arrays, save=np.savez_compressed):
    stream = io.BytesIO()
    save(stream, **arrays)
    return stream.getvalue()


def packed():
    """Streams of every width, signed and unsigned, with and without a ragged last byte."""
    arrays = {}
    for bits in range(1, 9):
        for count in (1, 8, 77):
            raw = ((values(3, count, bits) + 2) * 64).astype(np.int64) % 2**bits
            arrays[f"u{bits}_{count}.codes"] = raw.astype(np.uint8)
            arrays[f"u{bits}_{count}.stream"] = ref.pack(raw, bits)
            signed = raw - 2 ** (bits - 1)
            arrays[f"i{bits}_{count}.codes"] = signed.astype(np.int8)
            arrays[f"i{bits}_{count}.stream"] = ref.pack(signed, bits)
    return arrays


def quantized():
    """One matrix in every kind of format: what is stored, its values, and what it gives in products."""
    x, columns = values(3, 75, 1), values(2, 75, 2)
    arrays = {"x": x, "columns": columns}
    for format in FORMATS:
        q = ref.quantize(x, format)
        for part, array in q.stored().items():
            arrays[f"{format.name}/codes{part}"] = (
                array.view(np.uint16) if array.dtype.itemsize == 2 else array
            )
        arrays[f"{format.name}/values"] = ref.dequantize(q)
        for mode in ref.TOPS:
            arrays[f"{format.name}/{mode}"] = ref.multiply(q, columns, mode)
        arrays[f"{format.name}/vecdot"] = ref.vecdot(q, q)
    return arrays


def model():
    """Two quantized matrices and a plain one: the arrays, the metadata that says so, the values."""
    arrays, described, result = {}, {}, {}
    x = values(6, 80, 3)
    for name, format in (("proj.weight", ref.Format(4)), ("head", ref.Format(3, 40, "point", "bfloat16"))):
        described[name] = {"format": format.name, "shape": list(x.shape), "axis": 1}
        q = ref.quantize(x, format)
        for part, array in q.stored().items():
            arrays[name + part] = array
        result[name] = ref.dequantize(q)
    arrays["bias"] = result["bias"] = values(1, 6, 4)[0]
    return arrays, json.dumps({"version": 1, "tensors": described}), result


GGUF_TYPES = {
    "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "q8_1": 9, "q2_K": 10, "q3_K": 11, "q4_K": 12,
    "q5_K": 13, "q6_K": 14, "q8_K": 15, "iq2_xxs": 16, "iq2_xs": 17, "iq3_xxs": 18, "iq1_s": 19, "iq4_nl": 20,
    "iq3_s": 21, "iq2_s": 22, "iq4_xs": 23, "iq1_m": 29, "tq1_0": 34, "tq2_0": 35, "mxfp4": 39, "nvfp4": 40,
    "q1_0": 41, "q2_0": 42,
}  # fmt: skip


def block_types():
    """Two rows of 256 in every block type, all bytes at random: what is stored, and its values.

    Blocks whose values are not all numbers of ordinary size are left out: the next are taken.
    """
    stored, result = {}, {}
    for name, (elements, size) in blocks.SIZES.items():
        count, seed = 2 * 256 // elements, GGUF_TYPES[name]
        many = ((values(40 * count, size, seed) + 2) * 2**22).astype(np.int64) >> 11 & 255
        many = many.astype(np.uint8)
        found = blocks.values(name, many)
        with np.errstate(invalid="ignore"):
            usual = (np.abs(found) < 2.0**20).all(1) & (np.abs(found) > 2.0**-20).any(1)
        stored[name] = many[usual][:count].reshape(2, -1)
        result[name] = found[usual][:count].reshape(2, 256)
        assert result[name].size == 512
    described = {name: {"format": name, "shape": [2, 256], "axis": 1} for name in stored}
    return stored, json.dumps({"version": 1, "tensors": described}), result


def gguf_file(stored):
    infos, data = [], b""
    for name, array in stored.items():
        infos.append(gguf.info(name, (256, 2), GGUF_TYPES[name], len(data)))
        data += array.tobytes() + bytes(-array.nbytes % 32)
    return gguf.whole([gguf.pair("general.architecture", "string", gguf.string("none"))], infos, data)


def plain(array):
    """bfloat16 as its bits, since NumPy alone has no such type."""
    return array.view(np.uint16) if array.dtype.name == "bfloat16" else array


def safetensors(arrays, metadata):
    """The container: header length, JSON header, data; every array starts at a multiple of 64 bytes.

    The container allows no hole between tensors, so short ones are followed by one named as filling.
    """
    names = {"uint8": "U8", "float16": "F16", "bfloat16": "BF16", "float32": "F32"}
    header, blob = {"__metadata__": {"pyqbits": metadata}}, b""
    for name, array in arrays.items():
        data = array.tobytes()
        header[name] = {
            "dtype": names[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [len(blob), len(blob) + len(data)],
        }
        blob += data
        filling = -len(blob) % 64
        if filling:
            header[f"pyqbits.pad.{len(header)}"] = {
                "dtype": "U8",
                "shape": [filling],
                "data_offsets": [len(blob), len(blob) + filling],
            }
            blob += bytes(filling)
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return struct.pack("<Q", len(text)) + text + blob


def main():
    write(HERE / "packed.npz", npz(packed()))
    write(HERE / "quantized.npz", npz(quantized()))
    arrays, metadata, result = model()
    write(HERE / "model_v1.safetensors", safetensors(arrays, metadata))
    members = {name: plain(array) for name, array in arrays.items()} | {"pyqbits": np.bytes_(metadata)}
    write(HERE / "model_v1.npz", npz(members, np.savez))
    write(HERE / "model_v1_values.npz", npz(result))
    stored, metadata, result = block_types()
    write(HERE / "blocks_v1.gguf", gguf_file(stored))
    write(HERE / "blocks_v1.safetensors", safetensors(stored, metadata))
    write(HERE / "blocks_v1.npz", npz({**stored, "pyqbits": np.bytes_(metadata)}, np.savez))
    write(HERE / "blocks_v1_values.npz", npz(result))


if __name__ == "__main__":
    main()

"""Writes llama_mixes.json: the types that llama.cpp gives to the weights of models, by name of its mixes.

    pip install llama-cpp-python
    python tests/data/make_llama_mixes.py

llama.cpp only plans here, so that files may hold nothing but zeros, and no mix asks for importance.
"""

import ctypes
import json
import math
import re
import sys
import tempfile
from pathlib import Path

import llama_cpp

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from cli_gguf_cases import by_part, llama_model  # noqa: E402

from pyqbits import gguf  # noqa: E402
from pyqbits.cli.mixes import FLOATS, MIXES  # noqa: E402

PARAMETERS = ("layers", "width", "ff", "heads", "kv", "tied", "experts", "arch", "parts")
MODELS = (
    (20, 256, 256, 4, 4, True, 0),
    (9, 256, 512, 8, 2, False, 0),
    (17, 288, 768, 4, 2, True, 0),
    (16, 80, 96, 5, 1, False, 0),
    (8, 256, 256, 4, 1, False, 8),
    (24, 256, 256, 4, 4, True, 8, "llama", ["split"]),
    (16, 256, 256, 4, 4, True, 4, "llama", ["shared", "dense"]),
    (16, 256, 256, 4, 4, False, 3, "llama", ["shared", "dense"]),
    (80, 256, 256, 2, 1, False, 0),
    (80, 256, 256, 8, 1, False, 0),
    (80, 256, 256, 4, 4, False, 0),
    (80, 256, 256, 4, 4, False, 0, "qwen2"),
    (80, 256, 256, 4, 4, False, 0, "olmo"),
    (80, 256, 256, 8, 1, False, 0, "deci", ["by_layer"]),
    (80, 256, 256, 4, 1, False, 0, "qwen3"),
    (68, 256, 256, 4, 4, False, 0, "jais2"),
    (16, 256, 256, 4, 4, False, 0, "llama", ["fused"]),
    (18, 256, 256, 4, 2, False, 0, "llama", ["compressed", "per_layer"]),
    (16, 256, 256, 4, 4, True, 0, "llama", ["per_layer"]),
    (32, 256, 256, 4, 1, False, 0, "falcon", ["fused"]),
    (18, 288, 256, 4, 4, True, 0, "falcon"),
)
LINE = re.compile(r"^\[ *\d+/ *\d+\] +(\S+) +- \[.*\], type = +\w+, size = (?:.*\((\w+)\))?", re.MULTILINE)


def planned(path: Path, mix: str, importance) -> dict[str, str] | None:
    """The types of all tensors, from what llama.cpp says that it would do; None if rows do not fit."""
    said: list[str] = []
    listen = llama_cpp.llama_log_callback(lambda level, text, data: said.append(text.decode()))
    llama_cpp.llama_log_set(listen, None)
    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype, options.dry_run, options.nthread = MIXES[mix].file_type, True, 1
    if importance:
        options.imatrix = importance
    failed = llama_cpp.llama_model_quantize(str(path).encode(), b"", ctypes.byref(options))
    if failed and "no tensor type fallback" in "".join(said):
        return None
    types = {name: type or "f32" for name, type in LINE.findall("".join(said))}
    if failed or types.keys() != gguf.open(path).tensors.keys():
        sys.exit(f"llama.cpp failed for {mix}:\n{''.join(said)[-2000:]}")
    return types


def write_zeros(path: Path, model) -> None:
    """A file of a model, whose tensors take no room on disk."""
    specs = [gguf.Spec(info.name, info.type, info.shape) for info in model.tensors.values()]
    with gguf.Writer(path, specs, model.metadata) as file:
        for spec in specs:
            file.write(spec.name, bytes(4 * math.prod(spec.shape)))


def main() -> None:
    number = ctypes.c_float(1)
    one = llama_cpp.llama_cpp.llama_model_imatrix_data(b"x", ctypes.pointer(number), 1)
    end = llama_cpp.llama_cpp.llama_model_imatrix_data(None, None, 0)
    importance = (type(one) * 2)(one, end)
    records: dict[str, list] = {}
    with tempfile.TemporaryDirectory() as folder:
        for values in MODELS:
            model = dict(zip(PARAMETERS, values, strict=False))
            path = Path(folder) / "model.gguf"
            write_zeros(path, llama_model(**model))
            names = [mix for mix in MIXES if MIXES[mix].base not in FLOATS]
            found = {mix: planned(path, mix, None) for mix in names}
            plain = {mix: by_part(types) for mix, types in found.items() if types}
            weighted = {mix: by_part(planned(path, mix, importance)) for mix in plain}
            weighted = {mix: types for mix, types in weighted.items() if types != plain[mix]}
            lines = [f"{json.dumps(mix)}: {json.dumps(types)}" for mix, types in plain.items()]
            plain_text = ",\n  ".join(lines)
            lines = [f"{json.dumps(mix)}: {json.dumps(types)}" for mix, types in weighted.items()]
            text = f'"plain": {{\n  {plain_text}}},\n "weighted": {{\n  ' + ",\n  ".join(lines) + "}}"
            records.setdefault(text, []).append(json.dumps(model))
            print(values, flush=True)
    lines = [f'{{"models": [{", ".join(models)}],\n {text}' for text, models in records.items()]
    (HERE / "llama_mixes.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()

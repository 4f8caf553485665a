"""Train the small classifier that `pyqbits demo` quantizes, and write it with its test images.

A multilayer perceptron 64-256-128-10 on scikit-learn's 8x8 handwritten digits, trained in NumPy with Adam in
a few seconds. A third of the images is held out; they travel with the weights, as uint8, for the demo to
classify. The seed is fixed, so a machine with the same NumPy writes the same file; another BLAS may differ
in the last bits of the weights.

    python -m benchmarks.train_digits [OUT.safetensors]        (needs scikit-learn: the extra `bench`)
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import pyqbits

SEED = 20240613
SIZES = (64, 256, 128, 10)
EPOCHS = 40
BATCH = 128
RATE = 2e-3
DECAY = 1e-4
OUT = Path(__file__).resolve().parent.parent / "pyqbits" / "data" / "digits.safetensors"


def split(rng):
    """Shuffled images (uint8, values 0..16) and labels: two thirds to train on, one third held out."""
    digits = load_digits()
    order = rng.permutation(len(digits.target))
    images, labels = digits.data.astype(np.uint8)[order], digits.target.astype(np.uint8)[order]
    cut = 2 * len(order) // 3
    return (images[:cut], labels[:cut]), (images[cut:], labels[cut:])


def forward(weights, biases, x):
    """The inputs of every layer, and the scores."""
    layers = [x]
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        layers.append(np.maximum(layers[-1] @ weight.T + bias, 0))
    return layers, layers[-1] @ weights[-1].T + biases[-1]


def gradients(weights, biases, x, labels):
    """Gradients of the mean cross-entropy, weights first, then biases."""
    layers, scores = forward(weights, biases, x)
    delta = np.exp(scores - scores.max(axis=1, keepdims=True))
    delta /= delta.sum(axis=1, keepdims=True)
    delta[np.arange(len(labels)), labels] -= 1
    delta /= len(labels)
    of_weights, of_biases = [], []
    for weight, layer in zip(reversed(weights), reversed(layers), strict=True):
        of_weights.insert(0, delta.T @ layer)
        of_biases.insert(0, delta.sum(axis=0))
        delta = (delta @ weight) * (layer > 0)
    return of_weights + of_biases


def train(rng, images, labels):
    """Adam with decoupled weight decay and a rate that falls to zero; returns float32 weights and biases."""
    shapes = list(zip(SIZES[1:], SIZES[:-1], strict=True))
    weights = [rng.normal(0, np.sqrt(2 / shape[1]), shape).astype(np.float32) for shape in shapes]
    biases = [np.zeros(shape[0], np.float32) for shape in shapes]
    parameters = weights + biases
    first = [np.zeros_like(p) for p in parameters]
    second = [np.zeros_like(p) for p in parameters]
    x = images.astype(np.float32) / 16
    steps, step = EPOCHS * -(-len(x) // BATCH), 0
    for _ in range(EPOCHS):
        order = rng.permutation(len(x))
        for batch in np.split(order, range(BATCH, len(x), BATCH)):
            step += 1
            rate = RATE * (1 - step / steps)
            found = gradients(weights, biases, x[batch], labels[batch])
            for p, g, m, v in zip(parameters, found, first, second, strict=True):
                m += 0.1 * (g - m)
                v += 0.001 * (g * g - v)
                p -= rate * (m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8) + DECAY * p)
    return weights, biases


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    rng = np.random.default_rng(SEED)
    (images, labels), (test_images, test_labels) = split(rng)
    weights, biases = train(rng, images, labels)
    tensors = {"test.images": test_images, "test.labels": test_labels}
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        tensors[f"layers.{i}.weight"], tensors[f"layers.{i}.bias"] = weight, bias
    pyqbits.save(out, tensors)
    for name, (x, y) in {"train": (images, labels), "held out": (test_images, test_labels)}.items():
        right = forward(weights, biases, x.astype(np.float32) / 16)[1].argmax(axis=1) == y
        print(f"{name}: {right.mean():.2%} of {len(y)}")
    print(f"wrote {out} ({out.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()

"""A BERT-style sentence encoder in NumPy whose matrices may be arrays or QArrays.

The network is the published one (embeddings, post-norm transformer layers, mean pooling, unit length).
Sentences are not padded: all their tokens go through the linear layers as one matrix, and only attention
looks at them one by one, so no mask is needed and no work is wasted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

import pyqbits as qb

LAYER_NORM_EPSILON = 1e-12


class Encoder:
    """Turns lists of token ids into unit embeddings.

    Parameters
    ----------
    weights : mapping of str to ndarray or QArray
        The model's tensors under their published names, as `pyqbits.open` gives them.
    heads : int
        Number of attention heads; the weights alone do not tell it.
    activations : str, optional
        How `pyqbits.matmul` rounds activations where a weight is quantized.
    """

    def __init__(self, weights: Mapping, heads: int, activations: str = "int24") -> None:
        self.weights = dict(weights)
        self.heads = heads
        self.activations = activations
        layers = [int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer.")]
        self.layers = 1 + max(layers)

    def __call__(self, sentences: Sequence[Sequence[int]]) -> np.ndarray:
        lengths = np.array([len(ids) for ids in sentences])
        ends = np.cumsum(lengths)
        spans = [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]
        x = self._embed(sentences)
        for layer in range(self.layers):
            x = self._layer(f"encoder.layer.{layer}.", x, spans)
        pooled = np.stack([x[span].mean(axis=0) for span in spans])
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    def _embed(self, sentences: Sequence[Sequence[int]]) -> np.ndarray:
        tokens = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in sentences])
        positions = np.concatenate([np.arange(len(ids)) for ids in sentences])
        x = self._rows("embeddings.word_embeddings", tokens)
        x = x + self._rows("embeddings.position_embeddings", positions)
        x = x + self._rows("embeddings.token_type_embeddings", np.zeros_like(tokens))
        return self._norm("embeddings.LayerNorm", x)

    def _layer(self, name: str, x: np.ndarray, spans: Sequence[slice]) -> np.ndarray:
        projections = (f"{name}attention.self.{part}" for part in ("query", "key", "value"))
        query, key, value = (self._linear(projection, x) for projection in projections)
        mixed = np.concatenate([attend(query[span], key[span], value[span], self.heads) for span in spans])
        attended = self._linear(f"{name}attention.output.dense", mixed)
        x = self._norm(f"{name}attention.output.LayerNorm", x + attended)
        wide = gelu(self._linear(f"{name}intermediate.dense", x))
        return self._norm(f"{name}output.LayerNorm", x + self._linear(f"{name}output.dense", wide))

    def _linear(self, name: str, x: np.ndarray) -> np.ndarray:
        weight = self.weights[f"{name}.weight"]
        if isinstance(weight, qb.QArray):
            product = qb.matmul(x, weight.T, activations=self.activations)
        else:
            product = x @ weight.T
        return product + self.weights[f"{name}.bias"]

    def _rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self.weights[f"{name}.weight"].take(rows, axis=0)

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(axis=1, keepdims=True)
        variance = np.mean(np.square(centred), axis=1, keepdims=True)
        scaled = centred / np.sqrt(variance + LAYER_NORM_EPSILON)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def attend(query: np.ndarray, key: np.ndarray, value: np.ndarray, heads: int) -> np.ndarray:
    """Multi-head attention of one sentence's tokens to each other."""
    q, k, v = (matrix.reshape(len(matrix), heads, -1).swapaxes(0, 1) for matrix in (query, key, value))
    scores = q @ k.swapaxes(1, 2) / np.float32(math.sqrt(q.shape[2]))
    weights = np.exp(scores - scores.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    return (weights @ v).swapaxes(0, 1).reshape(query.shape)


def gelu(x: np.ndarray) -> np.ndarray:
    """x * Phi(x), with an erf whose absolute error is below 2e-7 (Abramowitz and Stegun, 7.1.26)."""
    z = np.abs(x) * np.float32(math.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * z)
    series = np.float32(1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = series * t + np.float32(coefficient)
    erf = np.copysign(1 - series * t * np.exp(-z * z), x)
    return np.float32(0.5) * x * (1 + erf)

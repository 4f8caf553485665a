"""OpenVINO's CPU plugin on models with compressed weights, at its default settings but for the threads.

The default quantizes activations in groups of 32 where the processor has dot products of bytes, and
multiplies in float32 elsewhere.
"""

import functools

import numpy as np
import openvino
from openvino import opset13 as op

import pyqbits as qb
from benchmarks.peers.libraries import ROWS_CHECKED, Bind, Matrix, Method, Run, Weights

FORMATS = ("int4_g32", "int4_g128", "int8_g32", "int8_row")


def methods() -> list[Method]:
    return [
        Method(
            *("OpenVINO", name, int(name[3]), functools.partial(prepare, name)),
            divides=1 if name.endswith("row") else int(name[6:]),
            compiles=True,
        )
        for name in FORMATS
    ]


def prepare(name: str, weights: Weights) -> Matrix:
    q = weights.quantized(name)
    model = compressed(q)

    def copy(number: int, threads: int) -> Bind:
        settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        compiled = openvino.Core().compile_model(model, "CPU", settings)

        def bind(x: np.ndarray, out: np.ndarray) -> Run:
            request = compiled.create_infer_request()
            request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
            request.set_output_tensor(openvino.Tensor(out, shared_memory=True))

            def run() -> np.ndarray:
                request.infer(share_inputs=True, share_outputs=True)
                return out

            return run

        return bind

    return Matrix(copy, q[:ROWS_CHECKED].dequantize(), q.nbytes)


def compressed(q: qb.QArray) -> openvino.Model:
    """x times the transpose of constants of 4 or 8 bits, converted and scaled by group."""
    m, k = q.shape
    groups = (m, q.scales.shape[1], k // q.scales.shape[1])
    kind = openvino.Type.i4 if q.format.bits == 4 else openvino.Type.i8
    codes = openvino.Tensor(q.buffers["codes"].reshape(-1).view(np.int8), openvino.Shape(groups), kind)
    constant = op.constant(codes, shared_memory=False)
    scales = op.constant(q.scales.astype(np.float16)[:, :, np.newaxis])
    scaled = op.multiply(op.convert(constant, np.float16), scales)
    weights = op.convert(op.reshape(scaled, op.constant(np.array([m, k])), False), np.float32)
    x = op.parameter([-1, k], np.float32)
    return openvino.Model([op.matmul(x, weights, False, True)], [x])

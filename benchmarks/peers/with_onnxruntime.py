"""ONNX Runtime's MatMulNBits with int8 activations (accuracy level 4), at each width of its kernel."""

import functools

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import pyqbits as qb
from benchmarks.peers.libraries import ROWS_CHECKED, Bind, Matrix, Method, Run, Weights

FORMATS = ("int2_g32", "int4_g32", "int4_g128", "int8_g32", "int8_g128")


def methods() -> list[Method]:
    return [
        Method(
            *("ONNX Runtime", name, int(name[3]), functools.partial(prepare, name)),
            divides=int(name[6:]),
            settle=0.03,  # its idle threads spin
        )
        for name in FORMATS
    ]


def prepare(name: str, weights: Weights) -> Matrix:
    q = weights.quantized(name)
    model = matmul_nbits(q.codes(), q.scales, q.format.bits)

    def copy(number: int, threads: int) -> Bind:
        session = onnxruntime.InferenceSession(model, options(threads), providers=["CPUExecutionProvider"])

        def bind(x: np.ndarray, out: np.ndarray) -> Run:
            binding = session.io_binding()
            binding.bind_input("x", "cpu", 0, np.float32, x.shape, x.ctypes.data)
            binding.bind_output("y", "cpu", 0, np.float32, out.shape, out.ctypes.data)

            def run() -> np.ndarray:
                session.run_with_iobinding(binding)
                return out

            return run

        return bind

    nbytes = q.buffers["codes"].nbytes + q.scales.nbytes
    return Matrix(copy, q[:ROWS_CHECKED].dequantize(), nbytes)


def matmul_nbits(codes: np.ndarray, scales: np.ndarray, bits: int) -> bytes:
    """A model of one MatMulNBits: codes dense within groups, lowest bits first, with their offset added."""
    m, k = codes.shape
    blocks = scales.shape[1]
    packed = qb.pack(codes + np.int16(1 << bits - 1), bits).reshape(m, blocks, -1)
    constants = [numpy_helper.from_array(packed, "w"), numpy_helper.from_array(scales.reshape(-1), "scales")]
    sizes = {"K": k, "N": m, "bits": bits, "block_size": k // blocks, "accuracy_level": 4}
    node = helper.make_node("MatMulNBits", ["x", "w", "scales"], ["y"], domain="com.microsoft", **sizes)
    values = (("x", ["n", k]), ("y", ["n", m]))
    inputs, outputs = ([helper.make_tensor_value_info(v, TensorProto.FLOAT, shape)] for v, shape in values)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph([node], "product", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def options(threads: int) -> onnxruntime.SessionOptions:
    """Sessions on several threads share one pool: idle threads of each would spin against the next."""
    settings = onnxruntime.SessionOptions()
    if threads == 1:
        settings.intra_op_num_threads = 1
    else:
        share_threads(threads)
        settings.use_per_session_threads = False
    return settings


@functools.cache
def share_threads(threads: int) -> None:
    onnxruntime.set_global_thread_pool_sizes(threads, 1)

"""ggml, the library inside llama.cpp, through the shared libraries that llama-cpp-python builds.

Weights are placed as llama.cpp places them: rearranged for the processor where ggml has a kernel for that
("repack"), else block after block as in a file. They are quantized by ggml without an importance matrix.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from pathlib import Path

import numpy as np

from benchmarks.peers.libraries import ROWS_CHECKED, Bind, Matrix, Method, Run, Weights

# name, width, number in ggml's enumeration, values of a block
TYPES = (
    *(("q2_K", 2, 10, 256), ("q3_K", 3, 11, 256), ("q4_0", 4, 2, 32), ("q4_K", 4, 12, 256)),
    *(("q5_0", 5, 6, 32), ("q5_K", 5, 13, 256), ("q6_K", 6, 14, 256), ("q8_0", 8, 8, 32)),
)
FLOAT32 = 0
CONTEXT_BYTES = 1 << 17  # a few tensors' descriptions and a graph of the default size
Pointer = ctypes.c_void_p


class InitParams(ctypes.Structure):
    _fields_ = (("size", ctypes.c_size_t), ("buffer", Pointer), ("no_alloc", ctypes.c_bool))


class TypeTraits(ctypes.Structure):
    _fields_ = (
        *(("name", ctypes.c_char_p), ("block", ctypes.c_int64), ("interleave", ctypes.c_int64)),
        *(("bytes", ctypes.c_size_t), ("quantized", ctypes.c_bool)),
        ("to_float", ctypes.CFUNCTYPE(None, Pointer, Pointer, ctypes.c_int64)),
    )


LogCallback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, Pointer)
SILENT = LogCallback(lambda level, text, data: None)
I32, I64, SIZE = ctypes.c_int, ctypes.c_int64, ctypes.c_size_t
BASE = {
    "ggml_init": (Pointer, InitParams),
    "ggml_free": (None, Pointer),
    "ggml_new_tensor_2d": (Pointer, Pointer, I32, I64, I64),
    "ggml_mul_mat": (Pointer, Pointer, Pointer, Pointer),
    "ggml_new_graph": (Pointer, Pointer),
    "ggml_build_forward_expand": (None, Pointer, Pointer),
    "ggml_get_data": (Pointer, Pointer),
    "ggml_row_size": (SIZE, I32, I64),
    "ggml_quantize_chunk": (SIZE, I32, Pointer, Pointer, I64, I64, I64, Pointer),
    "ggml_quantize_requires_imatrix": (ctypes.c_bool, I32),
    "ggml_get_type_traits": (ctypes.POINTER(TypeTraits), I32),
    "ggml_backend_alloc_ctx_tensors_from_buft": (Pointer, Pointer, Pointer),
    "ggml_backend_buffer_free": (None, Pointer),
    "ggml_backend_tensor_set": (None, Pointer, Pointer, SIZE, SIZE),
    "ggml_backend_supports_op": (ctypes.c_bool, Pointer, Pointer),
    "ggml_backend_graph_compute": (I32, Pointer, Pointer),
    "ggml_backend_cpu_buffer_type": (Pointer,),
    "ggml_log_set": (None, LogCallback, Pointer),
    "ggml_backend_reg_dev_get": (Pointer, Pointer, SIZE),
    "ggml_backend_reg_get_proc_address": (Pointer, Pointer, ctypes.c_char_p),
}
CPU = {
    "ggml_backend_cpu_init": (Pointer,),
    "ggml_backend_cpu_set_n_threads": (None, Pointer, I32),
    "ggml_backend_cpu_reg": (Pointer,),
}


@functools.cache
def ggml() -> object:
    """The functions of both tables, as attributes."""
    spec = importlib.util.find_spec("llama_cpp")  # importing it would load a model runner too
    if spec is None:
        raise ModuleNotFoundError("No module named 'llama_cpp'")
    folder = Path(spec.submodule_search_locations[0]) / "lib"

    class Functions:
        pass

    for file, table in (("libggml-base.so", BASE), ("libggml-cpu.so", CPU)):
        library = ctypes.CDLL(str(folder / file), ctypes.RTLD_GLOBAL)
        for name, (result, *arguments) in table.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            setattr(Functions, name.removeprefix("ggml_"), staticmethod(function))
    Functions.log_set(SILENT, None)  # it tells of every matrix that it rearranges
    return Functions


def methods() -> list[Method]:
    ggml()
    return [
        Method("ggml", name, bits, functools.partial(prepare, number), divides=block)
        for name, bits, number, block in TYPES
    ]


@functools.cache
def backend(threads: int) -> int:
    cpu = ggml().backend_cpu_init()
    ggml().backend_cpu_set_n_threads(cpu, threads)
    return cpu


@functools.cache
def buffer_types() -> list[int]:
    """Where weights may be: the CPU's own ways to arrange them, then plain memory."""
    registry = ggml().backend_cpu_reg()
    address = ggml().backend_reg_get_proc_address(registry, b"ggml_backend_dev_get_extra_bufts")
    list_extra = ctypes.CFUNCTYPE(ctypes.POINTER(Pointer), Pointer)(address)
    extra = list_extra(ggml().backend_reg_dev_get(registry, 0))
    found = []
    while extra[len(found)]:
        found.append(extra[len(found)])
    return [*found, ggml().backend_cpu_buffer_type()]


class Context:
    """Tensors and the memory they live in; both end with it."""

    def __init__(self) -> None:
        self.buffer = None
        self.pointer = ggml().init(InitParams(CONTEXT_BYTES, None, True))

    def tensor(self, type: int, columns: int, rows: int) -> int:
        return ggml().new_tensor_2d(self.pointer, type, columns, rows)

    def allocate(self, buffer_type: int) -> None:
        self.buffer = ggml().backend_alloc_ctx_tensors_from_buft(self.pointer, buffer_type)

    def __del__(self) -> None:
        if self.buffer:
            ggml().backend_buffer_free(self.buffer)
        ggml().free(self.pointer)


def prepare(type: int, weights: Weights) -> Matrix:
    m, k = weights.floats.shape
    blocks = np.empty((m, ggml().row_size(type, k)), np.uint8)
    ggml().quantize_chunk(type, weights.floats.ctypes.data, blocks.ctypes.data, 0, m, k, None)
    values = np.empty((min(m, ROWS_CHECKED), k), np.float32)
    ggml().get_type_traits(type).contents.to_float(blocks.ctypes.data, values.ctypes.data, values.size)

    def copy(number: int, threads: int) -> Bind:
        context, w = place(type, blocks, k, threads)

        def bind(x: np.ndarray, out: np.ndarray) -> Run:
            return bound(context, w, m, x, threads)

        return bind

    return Matrix(copy, values, blocks.nbytes)


def place(type: int, blocks: np.ndarray, k: int, threads: int) -> tuple[Context, int]:
    """A tensor of the blocks in the first kind of memory from which the CPU can multiply it."""
    for buffer_type in buffer_types():
        context, scratch = Context(), Context()
        w = context.tensor(type, k, len(blocks))
        context.allocate(buffer_type)
        product = ggml().mul_mat(scratch.pointer, w, scratch.tensor(FLOAT32, k, 1))
        if ggml().backend_supports_op(backend(threads), product):
            ggml().backend_tensor_set(w, blocks.ctypes.data, 0, blocks.nbytes)
            return context, w
    raise RuntimeError(f"ggml cannot multiply its type {type}")


def bound(weights: Context, w: int, m: int, x: np.ndarray, threads: int) -> Run:
    """The product as a graph of one node; its memory lives as long as the function."""
    n, k = x.shape
    context = Context()
    operand = context.tensor(FLOAT32, k, n)
    product = ggml().mul_mat(context.pointer, w, operand)
    graph = ggml().new_graph(context.pointer)
    ggml().build_forward_expand(graph, product)
    context.allocate(ggml().backend_cpu_buffer_type())
    ggml().backend_tensor_set(operand, x.ctypes.data, 0, x.nbytes)
    cells = (ctypes.c_float * (n * m)).from_address(ggml().get_data(product))
    out = np.frombuffer(cells, np.float32).reshape(n, m)
    compute, cpu = ggml().backend_graph_compute, backend(threads)

    def run(keep: tuple = (weights, context)) -> np.ndarray:
        if status := compute(cpu, graph):
            raise RuntimeError(f"ggml gave status {status}")
        return out

    return run

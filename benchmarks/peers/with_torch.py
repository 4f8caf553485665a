"""PyTorch on the CPU: int4 weights with bfloat16 activations, dynamic int8; bitsandbytes' NF4 on top."""

import functools
import importlib.util
import warnings

import numpy as np
import torch

from benchmarks.peers.libraries import ROWS_CHECKED, Bind, Matrix, Method, Run, Weights

INT4_FORMATS = ("int4_g32", "int4_g128")
INT8_ENGINES = ("x86", "onednn")
NF4_BLOCK = 64


def methods() -> list[Method]:
    found = [
        Method("PyTorch", name, 4, functools.partial(prepare_int4, name), divides=int(name[6:]))
        for name in INT4_FORMATS
    ]
    for engine in INT8_ENGINES:
        if engine in torch.backends.quantized.supported_engines:
            found.append(Method("PyTorch", f"int8_row {engine}", 8, functools.partial(prepare_int8, engine)))
    if importlib.util.find_spec("bitsandbytes"):
        found.append(Method("bitsandbytes", f"nf4_g{NF4_BLOCK}", 4, prepare_nf4, divides=NF4_BLOCK))
    return found


def bound(product: object, x: np.ndarray) -> Run:
    """A product on the caller's array, in PyTorch's own output."""
    tensor = torch.from_numpy(x)
    return torch.inference_mode()(lambda: product(tensor).numpy())


def prepare_int4(name: str, weights: Weights) -> Matrix:
    # With float32 activations the operator has no fast path, and takes ten times as long.
    q = weights.quantized(name)
    group = q.format.group
    codes = torch.from_numpy(q.codes().astype(np.int32) + 8)
    scales = torch.from_numpy(q.scales.T.copy()).bfloat16()
    parameters = torch.stack([scales, torch.zeros_like(scales)], -1)
    values = q.codes()[:ROWS_CHECKED].astype(np.float32)
    values *= np.repeat(scales.T[:ROWS_CHECKED].float().numpy(), group, axis=1)

    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)
    multiply = torch.ops.aten._weight_int4pack_mm_for_cpu

    def copy(number: int, threads: int) -> Bind:
        own = packed.clone()

        def product(x: torch.Tensor) -> torch.Tensor:
            return multiply(x.bfloat16(), own, group, parameters).float()

        return lambda x, out: bound(product, x)

    return Matrix(copy, values, codes.numel() // 2 + 2 * parameters.numel())


def prepare_int8(engine: str, weights: Weights) -> Matrix:
    floats = torch.from_numpy(weights.floats)
    scales = floats.abs().amax(1).double() / 127
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these operators are to move to another package
        zeros = torch.zeros(len(floats), dtype=torch.int64)
        rows = torch.quantize_per_channel(floats, scales, zeros, 0, torch.qint8)

    def copy(number: int, threads: int) -> Bind:
        torch.backends.quantized.engine = engine
        packed = torch.ops.quantized.linear_prepack(rows, None)
        # As its module for dynamic int8 does: activations of 7 bits, so that sums of pairs cannot saturate.
        return lambda x, out: bound(lambda t: torch.ops.quantized.linear_dynamic(t, packed, True), x)

    values = rows.int_repr()[:ROWS_CHECKED].numpy() * scales[:ROWS_CHECKED, None].numpy()
    return Matrix(copy, values.astype(np.float32), floats.numel() + 4 * len(floats))


def prepare_nf4(weights: Weights) -> Matrix:
    import bitsandbytes
    from bitsandbytes import functional

    floats = torch.from_numpy(weights.floats)
    codes, state = functional.quantize_4bit(floats, quant_type="nf4", blocksize=NF4_BLOCK)
    values = functional.dequantize_4bit(codes, state)[:ROWS_CHECKED].numpy()

    def copy(number: int, threads: int) -> Bind:
        own = codes.clone()
        return lambda x, out: bound(lambda t: bitsandbytes.matmul_4bit(t, own.t(), quant_state=state), x)

    return Matrix(copy, values, codes.numel() + 4 * state.absmax.numel())

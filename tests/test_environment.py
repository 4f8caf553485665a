"""Results do not depend on the caller's floating-point environment, and pyqbits does not change it."""

import ctypes
import ctypes.util
import platform
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from cases import activations, adversarial

import pyqbits

glibc_x86 = platform.machine() == "x86_64" and platform.libc_ver()[0] == "glibc"
MODES = {"flush denormals": 0x8040, "round up": 0x4000, "round down": 0x2000, "truncate": 0x6000}


def mxcsr(libm):
    env = (ctypes.c_uint32 * 8)()  # fenv_t: 28 bytes of x87 state, then MXCSR
    libm.fegetenv(ctypes.byref(env))
    return env


@contextmanager
def environment(bits):
    """Sets bits of MXCSR in this thread; yields a function that reads them."""
    libm = ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")
    saved, changed = mxcsr(libm), mxcsr(libm)
    changed[7] |= bits
    libm.fesetenv(ctypes.byref(changed))
    try:
        yield lambda: mxcsr(libm)[7] & 0xE040
    finally:
        libm.fesetenv(ctypes.byref(saved))


def results(x, columns):
    """Bytes of every kind of float result."""
    for name in ("int4_g32", "uint3_g20_bf16", "uint5_row_z_f32", "int1_g8", "uint1_tensor"):
        for search in ("rtn", "mse", "best"):
            q = pyqbits.quantize(x, name, search=search)
            yield q.tobytes()
        yield q.dequantize().tobytes()
        yield q.dequantize(np.float16).tobytes()
        yield q.take([3, 1]).tobytes()
        yield q.scales.tobytes()
        yield pyqbits.vecdot(q, q).tobytes()
        for mode in ("int8", "int16", "int24"):
            yield pyqbits.matmul(columns, q.T, activations=mode).tobytes()
        report = pyqbits.compare(x, q)
        yield np.array([report.sum_xx, report.sum_ee, report.max_abs]).tobytes()


@pytest.mark.skipif(not glibc_x86, reason="sets MXCSR through glibc's fesetenv")
@pytest.mark.parametrize("bits", list(MODES.values()), ids=list(MODES))
def test_results_do_not_depend_on_it(isa, bits):
    inputs = adversarial(160), activations(9, 160)  # with denormals
    usual = list(results(*inputs))
    with environment(bits) as read:
        assert read() == bits
        unusual = list(results(*inputs))
        assert read() == bits
    assert unusual == usual


def test_import_keeps_denormals():
    code = (
        "import numpy as np, pyqbits; x = np.float32(1e-40); assert x * np.float32(1) == x and 1e-323 * 1.0"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

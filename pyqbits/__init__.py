"""Low-bit arithmetic for NumPy: pack, quantize and multiply arrays of 1- to 8-bit values.

>>> import numpy as np, pyqbits as qb
>>> w = np.random.default_rng(0).standard_normal((256, 1024), np.float32)
>>> q = qb.quantize(w, "int4_g32")
>>> q
<QArray (256, 1024) int4_g32, 4.5 bpw, 147456 bytes>
>>> x = np.ones(1024, np.float32)
>>> bool(np.allclose(q @ x, q.dequantize() @ x, atol=1e-3))
True
"""

from . import _threadpools, gguf
from ._vecdot import vecdot
from .errors import FormatError
from .formats import Format, affine
from .linalg import grouped_matmul, matmul
from .packing import pack, packed_size, unpack
from .prepared import PreparedMatrix
from .qarray import QArray
from .quantization import ErrorReport, compare, quantize
from .runtime import (
    __version__,
    available_isas,
    check_environment,
    get_include,
    get_num_threads,
    isa,
    set_num_threads,
    threads,
    use_isa,
)
from .storage import open, save

check_environment()
_threadpools.register()
del check_environment

__all__ = [
    "ErrorReport",
    "Format",
    "FormatError",
    "PreparedMatrix",
    "QArray",
    "__version__",
    "affine",
    "available_isas",
    "compare",
    "get_include",
    "get_num_threads",
    "gguf",
    "grouped_matmul",
    "isa",
    "matmul",
    "open",
    "pack",
    "packed_size",
    "quantize",
    "save",
    "set_num_threads",
    "threads",
    "unpack",
    "use_isa",
    "vecdot",
]

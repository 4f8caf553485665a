"""Builds ``pyqbits._native`` from csrc/; the declarations come straight out of csrc/qbits.h."""

import re
import sys
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"


def declarations(header: str) -> str:
    """The part of qbits.h between its CDEF marks, without comments."""
    marked = header.split("// QBITS_CDEF_BEGIN")[1].split("// QBITS_CDEF_END")[0]
    return re.sub(r"//[^\n]*", "", marked)


def relative(pattern: str) -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in CSRC.rglob(pattern))


(version,) = re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)
msvc = sys.platform == "win32"

# -g1: the interpreter's own flags ask for -g, which takes a third of the time to compile.
UNIX_FLAGS = "-std=c11 -O3 -g1 -fvisibility=hidden -ffp-contract=off -Wall -Wextra -pthread".split()

ffi = FFI()
ffi.cdef(declarations((CSRC / "qbits.h").read_text()))
ffi.set_source(
    "pyqbits._native",
    '#include "qbits.h"',
    sources=relative("*.c"),
    depends=relative("*.h"),
    include_dirs=["csrc"],
    define_macros=[("QB_VERSION", f'"{version}"')],
    extra_compile_args=["/O2", "/std:c11"] if msvc else UNIX_FLAGS,
    extra_link_args=[] if msvc else ["-pthread"],
    libraries=[] if msvc else ["m"],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)

"""The compiled part: one cffi extension, tagged for the stable ABI where cffi builds for it."""

import sysconfig
from pathlib import Path

from setuptools import setup
from setuptools.command.sdist import sdist

LEFT_OUT = {"build", "__pycache__", ".hypothesis", ".pytest_cache"}
KINDS = {".c", ".h", ".py", ".pyi", ".md", ".txt", ".json", ".npz", ".safetensors", ".bin", ".supp", ""}


class CompleteSdist(sdist):
    """A source archive from which everything can be built, tested and measured."""

    def add_defaults(self):
        super().add_defaults()
        for folder in ("csrc", "pyqbits", "tests", "benchmarks"):
            for path in sorted(Path(folder).rglob("*")):
                wanted = path.suffix in KINDS and path.name != "_native.c" and LEFT_OUT.isdisjoint(path.parts)
                if wanted and path.is_file():
                    self.filelist.append(path.as_posix())


# Free-threaded interpreters have no stable ABI yet.
free_threaded = sysconfig.get_config_var("Py_GIL_DISABLED")
options = {} if free_threaded else {"bdist_wheel": {"py_limited_api": "cp310"}}

setup(cffi_modules=["pyqbits/_build_ffi.py:ffi"], options=options, cmdclass={"sdist": CompleteSdist})

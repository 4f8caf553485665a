"""The compiled part: one cffi extension, tagged for the stable ABI where cffi builds for it."""

import sysconfig
from pathlib import Path

from setuptools import setup
from setuptools.command.sdist import sdist

FOLDERS = ("csrc", "pyqbits", "tests", "benchmarks", ".ci")
BUILT_FOLDERS = {"build", "__pycache__"}
BUILT_NAMES = {"_native.c", "checkasm"}
BUILT_KINDS = {".so", ".pyd", ".o", ".pyc"}


def built(path):
    """Whether a build has made this file."""
    by_name = path.name in BUILT_NAMES or path.suffix in BUILT_KINDS
    return by_name or not BUILT_FOLDERS.isdisjoint(path.parts)


class CompleteSdist(sdist):
    """A source archive from which everything can be built, tested and measured."""

    def make_distribution(self):
        for folder in FOLDERS:
            for path in Path(folder).rglob("*"):
                if path.is_file() and not built(path):
                    self.filelist.append(str(path))
        self.filelist.sort()
        self.filelist.remove_duplicates()
        super().make_distribution()


# Free-threaded interpreters have no stable ABI yet.
free_threaded = sysconfig.get_config_var("Py_GIL_DISABLED")
options = {} if free_threaded else {"bdist_wheel": {"py_limited_api": "cp310"}}

setup(cffi_modules=["pyqbits/_build_ffi.py:ffi"], options=options, cmdclass={"sdist": CompleteSdist})

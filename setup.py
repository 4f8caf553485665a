"""The compiled part: one cffi extension, tagged for the stable ABI where cffi builds for it."""

import os
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext
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


class ParallelBuild(build_ext):
    """Compiles the sources of an extension side by side; setuptools takes one after the other."""

    def build_extensions(self):
        compile_in_turn = self.compiler.compile

        def compile_each(sources, **options):
            first = compile_in_turn(sources[:1], **options)  # alone: some compilers are set up by it
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                rest = pool.map(lambda source: compile_in_turn([source], **options), sources[1:])
                return first + [name for names in rest for name in names]

        self.compiler.compile = compile_each
        super().build_extensions()


# Free-threaded interpreters have no stable ABI yet.
free_threaded = sysconfig.get_config_var("Py_GIL_DISABLED")
options = {} if free_threaded else {"bdist_wheel": {"py_limited_api": "cp310"}}

setup(
    cffi_modules=["pyqbits/_build_ffi.py:ffi"],
    options=options,
    cmdclass={"build_ext": ParallelBuild, "sdist": CompleteSdist},
)

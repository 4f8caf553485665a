"""Every example in the documentation of the package, once per tier."""

import doctest
import importlib
import pkgutil

import pytest

import pyqbits

LEFT_OUT = {"pyqbits.__main__", "pyqbits._build_ffi", "pyqbits._native"}
PACKAGES = [pyqbits, pyqbits.gguf]
FOUND = [module for p in PACKAGES for module in pkgutil.iter_modules(p.__path__, f"{p.__name__}.")]
SUBMODULES = {module.name for module in FOUND if not module.ispkg}
MODULES = [*(p.__name__ for p in PACKAGES), *sorted(SUBMODULES - LEFT_OUT)]
PUBLIC = [getattr(p, name) for p in PACKAGES for name in p.__all__]


@pytest.mark.parametrize("name", MODULES)
def test_examples(isa, name):
    failures, _ = doctest.testmod(importlib.import_module(name))
    assert not failures


@pytest.mark.parametrize("thing", [thing for thing in PUBLIC if callable(thing)])
def test_public_names_are_documented(thing):
    assert thing.__doc__.strip()

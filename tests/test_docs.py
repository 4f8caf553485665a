"""Every example in the documentation of the package, once per tier."""

import doctest
import importlib
import pkgutil

import pytest

import pyqbits

SUBMODULES = [module.name for module in pkgutil.iter_modules(pyqbits.__path__) if not module.ispkg]
LEFT_OUT = {"__main__", "_build_ffi", "_native"}
MODULES = ["pyqbits", *(f"pyqbits.{name}" for name in SUBMODULES if name not in LEFT_OUT)]


@pytest.mark.parametrize("name", MODULES)
def test_examples(isa, name):
    failures, _ = doctest.testmod(importlib.import_module(name))
    assert not failures


@pytest.mark.parametrize("name", [n for n in pyqbits.__all__ if callable(getattr(pyqbits, n))])
def test_public_names_are_documented(name):
    assert getattr(pyqbits, name).__doc__.strip()

"""`pyqbits info`: what this installation runs on this machine."""

import platform

import numpy as np

import pyqbits

from .. import runtime
from . import tables


def show_info() -> None:
    """Print versions, CPU, tiers and the kernel file of each family on each tier."""
    tables.note(f"pyqbits {pyqbits.__version__}, NumPy {np.__version__}, Python {platform.python_version()}")
    tables.note(f"CPU      {runtime.cpu_brand()} ({platform.machine()})")
    tables.note(f"tier     {pyqbits.isa()} (PYQBITS_ISA chooses another)")
    tables.note(f"headers  {pyqbits.get_include()}")
    tables.note("")
    tiers = pyqbits.available_isas()
    served = {tier: runtime.kernel_isas(tier) for tier in tiers}
    rows = [[family, *(f"{family}_{served[t][family]}.c" for t in tiers)] for family in served[tiers[0]]]
    tables.show("Kernel files serving each tier", ["family", *tiers], rows, text=tiers)

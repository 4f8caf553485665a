"""GGUF files, the container of llama.cpp and its kin: tensors, and metadata as Python values.

`open` maps a file and hands out what it holds, `save` writes one in a line, `Writer` as a stream, for
tensors that need not be in memory together. Nothing but NumPy is needed. ``pyqbits.open`` takes these
files too.
"""

from .file import File, open
from .metadata import Metadata
from .reader import MAGIC, TensorInfo
from .values import Array
from .writer import Spec, Writer, save

__all__ = ["MAGIC", "Array", "File", "Metadata", "Spec", "TensorInfo", "Writer", "open", "save"]

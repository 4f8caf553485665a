"""Values of the metadata of GGUF files: their types, and what has no place."""

import numpy as np
import pytest

from pyqbits import gguf


def test_values_take_types():
    metadata = gguf.Metadata({
        "i": 1, "n": -1, "l": 2**40, "ln": -(2**40), "f": 0.1, "b": True, "s": "x", "np": np.int8(3),
        "a": [1, -2], "al": [2**40], "au": [2**63], "af": [1, 0.5], "as": ("x", "y"), "ab": [True],
        "an": np.arange(3, dtype=">u2"), "aa": [[1], ["x"]],
    })  # fmt: skip
    types = {key: metadata.type(key) for key in metadata}
    assert types == {
        "i": "uint32", "n": "int32", "l": "uint64", "ln": "int64", "f": "float32", "b": "bool", "s": "string",
        "np": "int8", "a": "array[int32]", "al": "array[uint64]", "au": "array[uint64]",
        "af": "array[float32]", "as": "array[string]", "ab": "array[bool]", "an": "array[uint16]",
        "aa": "array[array]",
    }  # fmt: skip
    assert metadata["f"] == float(np.float32(0.1)) and metadata["an"] == [0, 1, 2]
    assert metadata.copy() == metadata and metadata.copy().type("np") == "int8"


def test_a_new_value_keeps_the_type():
    metadata = gguf.Metadata()
    metadata.set("k", 1, "uint8")
    metadata.set("a", [1], "array[uint8]")
    metadata["k"], metadata["a"] = 255, [1, 2]
    assert (metadata.type("k"), metadata.type("a")) == ("uint8", "array[uint8]")
    with pytest.raises(ValueError, match="256 is out of range for uint8"):
        metadata["k"] = 256
    with pytest.raises(TypeError, match="type uint8 cannot be made of 'x'"):
        metadata["k"] = "x"
    assert metadata["k"] == 255
    metadata["k"] = np.int64(-1)
    assert metadata.type("k") == "int64"
    del metadata["k"]
    metadata["k"] = "x"
    assert metadata.type("k") == "string" and list(metadata) == ["a", "k"]


@pytest.mark.parametrize(
    ("value", "type", "error", "words"),
    [
        (None, None, TypeError, "cannot hold None"),
        ({"a": 1}, None, TypeError, "a dict"),
        ([], None, ValueError, "an empty list has no type"),
        ([1, "x"], None, TypeError, "no one type"),
        ([True, 1], None, TypeError, "no one type"),
        (np.zeros((2, 2)), None, TypeError, "2-D float64"),
        (np.zeros(2, complex), None, TypeError, "no arrays of complex128"),
        (1, "uint65", ValueError, "unknown type 'uint65'"),
        (1, "array", ValueError, "unknown type 'array'"),
        ([1], "array[uint65]", ValueError, "unknown type 'uint65' of elements"),
        (1, "bool", TypeError, "type bool cannot be made of 1"),
        (True, "uint8", TypeError, "type uint8 cannot be made of True"),
        (1.0, "uint8", TypeError, "type uint8 cannot be made of 1.0"),
        (-1, "uint8", ValueError, "-1 is out of range"),
        (np.array([0, 256]), "array[uint8]", ValueError, "256 is out of range"),
        (np.array([0.5]), "array[uint8]", TypeError, "array of uint8 cannot be made of"),
        (1e39, "float32", ValueError, "out of range for float32"),
        (10**400, "float64", ValueError, "out of range for float64"),
        (np.array([1e39]), "array[float32]", ValueError, "out of range for float32"),
        ("\ud800", None, ValueError, "cannot be written as UTF-8"),
        (2**64, None, ValueError, "out of range"),
    ],
)
def test_values_that_have_no_place(value, type, error, words):
    metadata = gguf.Metadata({"k": 1})
    with pytest.raises(error, match=words):
        metadata.set("k", value, type)
    assert metadata["k"] == 1


@pytest.mark.parametrize(("key", "error"), [(1, TypeError), ("", ValueError), ("\udcff", ValueError)])
def test_keys_that_have_no_place(key, error):
    with pytest.raises(error):
        gguf.Metadata({key: 1})


def test_infinity_and_nan_are_values():
    metadata = gguf.Metadata({"i": float("inf"), "a": np.array([np.inf, np.nan])})
    assert metadata["i"] == float("inf") and np.isnan(metadata["a"][1])

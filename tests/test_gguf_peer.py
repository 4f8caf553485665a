"""GGUF files between this library and the package `gguf`."""

import numpy as np
import pytest
from gguf_cases import METADATA, copied

from pyqbits import gguf
from pyqbits.gguf.types import DTYPES, TYPES, VALUE_IDS


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.gguf"


@pytest.fixture(scope="module")
def peer():
    return pytest.importorskip("gguf")


def test_types_are_those_of_the_package(peer):
    by_number = {type.id: type for type in TYPES.values()}
    for number, sizes in peer.GGML_QUANT_SIZES.items():
        known = by_number[number]
        assert known.name.upper() == number.name.upper()
        if known.name != "q8_1":  # which has two 32-bit floats there, as long ago; 16-bit ones in ggml
            assert (known.block, known.nbytes) == sizes
    for value in peer.GGUFValueType:
        assert value == VALUE_IDS[value.name.lower()]


@pytest.mark.parametrize("alignment", [None, 8, 128])
def test_the_package_reads_what_is_written(peer, path, alignment):
    rng = np.random.default_rng(1)
    metadata = gguf.Metadata()
    for key, (type, value) in METADATA.items():
        metadata.set(key, value, type)
    if alignment:
        metadata["general.alignment"] = alignment
    saved = {name: rng.integers(-100, 100, (3, 5)).astype(dtype) for name, dtype in DTYPES.items()}
    gguf.save(path, saved, metadata)
    reader = peer.GGUFReader(path)
    assert {f.name: f.contents() for f in reader.fields.values() if f.name[:5] != "GGUF."} == {
        key: list(value) if isinstance(value, gguf.Array) else value for key, value in metadata.items()
    }
    assert [tensor.name for tensor in reader.tensors] == list(saved)
    for tensor in reader.tensors:
        assert np.array_equal(tensor.data.reshape(3, 5), saved[tensor.name])


@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
def test_what_the_package_writes_is_read(peer, path, endian):
    rng = np.random.default_rng(2)
    endianess = peer.GGUFEndian[endian]
    writer = peer.GGUFWriter(path, "llama", endianess=endianess)
    writer.add_array("tokens", ["a", "é", ""])
    writer.add_array("scores", [0.5, -1.0])
    writer.add_uint64("large", 2**63)
    writer.add_custom_alignment(16)
    arrays = {name: rng.integers(-9, 9, (4, 3, 2)).astype(dtype) for name, dtype in DTYPES.items()}
    for name, x in arrays.items():
        writer.add_tensor(name, x.copy())
    packed = rng.integers(0, 255, (2, 3, 34), np.uint8)
    writer.add_tensor("q", packed, raw_dtype=peer.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = gguf.open(path)
    assert file.byteorder == endian.lower() and file.alignment == 16
    assert file.metadata["tokens"] == ["a", "é", ""] and file.metadata["scores"] == [0.5, -1.0]
    assert file.metadata["large"] == 2**63 and file.metadata.type("large") == "uint64"
    assert all(np.array_equal(file[name], x) for name, x in arrays.items())
    assert file.tensors["q"].type == "q8_0" and file.tensors["q"].shape == (2, 3, 32)
    assert np.array_equal(file.raw("q"), packed)
    if endian == "LITTLE":
        assert copied(path, path.with_name("copy")) == path.read_bytes()

"""GGUF files that are not what they should be: a FormatError with an offset, no crash, no hang, no memory."""

import random
import struct
import tracemalloc

import pytest
from fuzz_gguf import check, damaged
from gguf_cases import CRAFTED, READ, TINY, array, info, pair, string, tiny, whole

import pyqbits as qb
from pyqbits import gguf

# What is refused although ggml reads it: a name that is not UTF-8.
STRICTER = {"name_badutf8"}


@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_files(tmp_path, name):
    data, ggml, _ = CRAFTED[name]
    (tmp_path / "m").write_bytes(data)
    qb.open(tiny(TINY[0]))["a.f32"]  # so that nothing is imported below
    tracemalloc.start()
    try:
        if name in READ:
            check(data, tmp_path / "m.gguf")
        else:
            assert ggml != "accepts" or name in STRICTER
            with pytest.raises(qb.FormatError) as error:
                qb.open(tmp_path / "m")
            assert 0 <= error.value.offset <= max(len(data), 24)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


W = info("w", (32,), 2, 0)
EMPTY = array("u8", 0)


def deep(levels):
    inner = EMPTY
    for _ in range(levels - 1):
        inner = array("array", 1, inner)
    return inner


K = string("k") + struct.pack("<I", 9)  # the key of an array

HOSTILE = {
    "other magic": (b"GGML" + bytes(20), "not a GGUF file", 0),
    "magic alone": (b"GGUF", "4 bytes, where the header alone takes 24", 4),
    "version 1, big-endian": (whole(version=1, order=">"), "version 1", 4),
    "version 0": (whole(version=0), "version 0", 4),
    "more keys than bytes": (whole(counts=(0, 2**32), data=bytes(1000)), "4294967296 keys", 16),
    "one key too many": (whole([pair("k", "u8", b"\0")], counts=(0, 2), data=bytes(9)), "a key is empty", 38),
    "key of a gigabyte": (whole([struct.pack("<Q", 2**30) + bytes(50)]), "a key takes 1073741824 bytes", 32),
    "key is not UTF-8": (whole([pair(b"\xff", "u8", b"\0")]), "a key is not UTF-8", 32),
    "value cut short": (whole([pair("key", "u64", bytes(7))]), "'key' takes 8 bytes where 7 are left", 39),
    "value of type 2**32-1": (whole([pair("k", 2**32 - 1, b"\0")]), "has type 4294967295", 33),
    "string beyond the file": (whole([pair("k", "string", string("123456789")[:-1])]), "takes 9", 45),
    "element of type 13": (whole([K + array(13, 0)]), "elements of type 13", 37),
    "numbers wrap": (whole([K + array("u64", 2**61)]), "takes 18446744073709551616 bytes where 0", 49),
    "strings wrap": (whole([K + array("string", 2**61 + 1)]), "2305843009213693953 elements where 0", 49),
    "last string beyond": (
        whole([K + array("string", 2, string("ab") + struct.pack("<Q", 2**64 - 1))]),
        "string of 18446744073709551615 bytes where 0 are left", 59),
    "strings cut short": (
        whole([K + array("string", 2, string("abcdefgh"))]), "'k' is cut short", 65),
    "arrays of arrays of nothing": (whole([K + array("array", 2**61)]), "has 2305843009213693952", 49),
    "array in an array cut short": (
        whole([K + array("array", 1, array("u32", 3, bytes(11)))]), "takes 12 bytes where 11", 61),
    "nine levels": (whole([K + deep(9)]), "more than 8 deep", 133),
    "alignment is a string": (whole([pair("general.alignment", "string", string("32"))]), "not a uint32", 53),
    "alignment is an array": (whole([pair("general.alignment", "array", EMPTY)]), "not a uint32", 53),
    "alignment of two": (
        whole([pair("general.alignment", "u32", struct.pack("<I", 2))], [info("w", (1,), 24, 1)], b"\0\0\0"),
        "no multiple of the alignment 2", 82),
    "name beyond the file": (whole([], [string("w" * 40)[:-1]]), "the name of a tensor takes 40 bytes", 32),
    "dimensions of 2**32-1": (
        whole([], [string("w") + struct.pack("<I", 2**32 - 1) + bytes(40)]), "4294967295 dimensions", 33),
    "sizes cut short": (
        whole([], [string("w") + struct.pack("<IQ", 2, 1) + bytes(7)]), "shape of tensor 'w' takes 16", 37),
    "product of 2**60": (whole([], [info("w", (2**20, 2**20, 2**20), 24, 0)], bytes(32)), "out of range", 37),
    "huge but empty": (whole([], [info("w", (2**62, 0, 2**62), 24, 0)], bytes(32)), "out of range", 37),
    "a block without dimensions": (whole([], [info("w", (), 2, 0)], bytes(32)), "rows of 1 values", 37),
    "type of a fork": (whole([], [info("w", (32,), 97, 0)], bytes(32)), "has type 97", 45),
    "beyond the end by a byte": (whole([], [W], bytes(17)), "18 bytes at 64, beyond", 49),
    "empty, far beyond": (whole([], [info("w", (0,), 2, 2**40)]), "0 bytes at", 49),
    "offset wraps": (whole([], [info("w", (32,), 2, 2**64 - 32)], bytes(32)), "beyond the end", 49),
    "inside another": (
        whole([], [info("w", (64,), 0, 0), info("v", (32,), 2, 64)], bytes(256)), "'w' and 'v' overlap", 160),
    "overlap by a byte": (
        whole([], [info("w", (33,), 24, 0), info("v", (1,), 24, 32)], bytes(64)), "'w' and 'v' overlap", 128),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files(tmp_path, case):
    data, words, offset = HOSTILE[case]
    (tmp_path / "m.gguf").write_bytes(data)
    with pytest.raises(qb.FormatError, match=words) as error:
        gguf.open(tmp_path / "m.gguf")
    assert error.value.offset == offset


@pytest.mark.parametrize("name", TINY)
def test_every_truncation_is_noticed(tmp_path, name):
    whole = tiny(name).read_bytes()
    end = max(i.offset + i.nbytes for i in gguf.open(tiny(name)).tensors.values())
    for length in {*range(0, end, 13), *range(0, 760, 3), *range(end - 20, end)}:
        (tmp_path / "m").write_bytes(whole[:length])
        with pytest.raises(qb.FormatError) as error:
            qb.open(tmp_path / "m")
        assert isinstance(error.value.offset, int)
    (tmp_path / "m").write_bytes(whole[:end])  # what pads the end may be missing
    assert len(qb.open(tmp_path / "m")) == 5


def test_arrays_in_arrays_are_decoded_one_level_at_a_time(tmp_path):
    """A hundred thousand arrays take twelve bytes each in the file, and more than that as objects."""
    many = whole([K + array("array", 100_000, EMPTY * 100_000), pair("j", "array", deep(8))])
    (tmp_path / "m").write_bytes(many)
    tracemalloc.start()
    try:
        file = gguf.open(tmp_path / "m")
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()
    assert len(file.metadata["k"]) == 100_000 and file.metadata["k"][-1] == []
    assert file.metadata["j"].tolist() == [[[[[[[[]]]]]]]]


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_never_do_worse_than_refuse(tmp_path, monkeypatch, seed):
    monkeypatch.setattr("os.fsync", lambda file: None)
    rng, path = random.Random(seed), tmp_path / "m.gguf"
    results = [check(damaged(rng), path) for _ in range(500)]
    assert 0 < sum(results) < 500

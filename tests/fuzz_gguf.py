"""Damaged GGUF files without end: `python tests/fuzz_gguf.py SECONDS [SEED]` looks for one that does harm.

A file is read or refused by a FormatError, in no more time and memory than its size justifies. What is read
is usable to the last element, and written and read again it is the same.
"""

import os
import random
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from gguf_cases import CRAFTED, TINY, tiny, various

import pyqbits
from pyqbits import gguf

NUMBERS = [0, 1, 2, 7, 8, 9, 12, 13, 31, 32, 33, 64, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**60]
NUMBERS += [2**61, 2**62, 2**63 - 1, 2**63, 2**64 - 32, 2**64 - 1]
SEEDS = [tiny(name).read_bytes() for name in TINY] + [various("<"), various(">")]
SEEDS += [file for file, _, _ in CRAFTED.values() if file]


def damaged(rng):
    """One of the files with a few bytes, numbers or stretches changed."""
    data = bytearray(rng.choice(SEEDS))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(min(len(data), 1024)) if data else 0
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[at] = rng.randrange(256)
        elif kind == 1 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            size, order = rng.choice((4, 8)), rng.choice(("little", "little", "big"))
            data[at : at + size] = (rng.choice(NUMBERS) % 256**size).to_bytes(size, order)
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            del data[at : at + rng.randint(1, 40)]
        else:
            start = rng.randrange(len(data) + 1)
            data[at:at] = data[start : start + rng.randint(1, 80)]
    return bytes(data)


def check(data, path):
    """Open a file of these bytes, use all of it, and write it again; whether it was read."""
    path.write_bytes(data)
    try:
        file = gguf.open(path)
    except pyqbits.FormatError as error:
        assert isinstance(error.offset, int) and 0 <= error.offset <= max(len(data), 24), error
        return False
    contents = use(file)
    copy = path.with_suffix(".copy")
    with gguf.Writer(copy, file.tensors.values(), file.metadata) as writer:
        for name in file:
            writer.write(name, file.raw(name))
    again = gguf.open(copy)
    assert [info[:3] for info in file.tensors.values()] == [info[:3] for info in again.tensors.values()]
    assert contents[0] == use(again)[0]
    if file.byteorder == "little":
        assert contents == use(again)
    return True


def use(file):
    """Everything that a file holds, in words."""
    for info in file.tensors.values():
        assert not info.nbytes or info.offset + info.nbytes <= file.path.stat().st_size
        try:
            values = file[info.name]
        except TypeError:
            assert file.byteorder == "big" and info.type[0] not in "fb"
            continue
        assert values.nbytes == info.nbytes
        if isinstance(values, pyqbits.QArray):
            assert values.dequantize().shape == info.shape
    metadata = [(key, file.metadata.type(key), words(file.metadata[key])) for key in file.metadata]
    return metadata, [file.raw(name).tobytes() for name in file]


def words(value):
    return str(value.tolist() if isinstance(value, gguf.Array) else value)


def campaign(seconds, seed):
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    os.fsync = lambda file: None  # these files need not last
    path, rng, counts = Path(tempfile.mkdtemp()) / "damaged.gguf", random.Random(seed), [0, 0]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = damaged(rng)
        signal.alarm(5)
        try:
            counts[check(data, path)] += 1
        except BaseException:
            print(f"seed {seed}, file {sum(counts)}: {data!r}", file=sys.stderr)
            raise
        signal.alarm(0)
    print(f"seed {seed}: {counts[0]} files refused, {counts[1]} read")


if __name__ == "__main__":
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(np.random.SeedSequence().entropy % 2**32)
    campaign(float(sys.argv[1]), seed)

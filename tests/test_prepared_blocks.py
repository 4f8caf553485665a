"""Prepared matrices of block types: the QArray's bytes and products, without decoding its blocks again."""

import numpy as np
import pytest
import reference_blocks as blocks
from test_blocks import random_rows

import pyqbits as qb

NAMES = tuple(sorted(blocks.SIZES))
ROWS, COLS = 37, 1536  # rows that end within a panel, blocks that end within a run


def matrix(name, rows=ROWS, cols=COLS, sane=True):
    data = random_rows(name, rows, cols, np.random.default_rng(len(name)), sane)
    return qb.QArray.from_bytes(data.tobytes(), name, (rows, cols))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sane", [True, False])
def test_the_bytes_come_back(isa, name, sane):
    for rows, cols in ((ROWS, COLS), (1, 256), (16, 512), (3, 768)):
        q = matrix(name, rows, cols, sane)
        p = q.prepare()
        assert p.unprepare().tobytes() == q.tobytes()
        more = np.array([rows - 1, 0])
        assert p.take(more).tobytes() == q.take(more).tobytes()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("activations", ["int8", "int16", "int24"])
def test_same_products_as_from_blocks(isa, name, activations):
    rng = np.random.default_rng(2)
    q = matrix(name)
    p = q.prepare()
    for n in (1, 2, 3, 5, 40):
        x = rng.standard_normal((n, COLS), np.float32)
        want = qb.matmul(x, q.T, activations=activations)
        for threads in (1, 2):
            with qb.threads(threads):
                assert qb.matmul(x, p.T, activations=activations).tobytes() == want.tobytes()
        alone = np.stack([qb.matmul(p, row, activations=activations) for row in x])
        assert alone.tobytes() == want.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_few_columns_of_long_rows(isa, name):
    """More segments than parameters are made for at a time."""
    q = matrix(name, 19, 9216)
    p = q.prepare()
    x = np.random.default_rng(5).standard_normal((3, 9216), np.float32)
    for n, activations in ((1, "int24"), (1, "int16"), (3, "int8")):
        want = qb.matmul(x[:n], q.T, activations=activations)
        assert qb.matmul(x[:n], p.T, activations=activations).tobytes() == want.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_any_bytes_make_the_same_products(isa, name):
    q = matrix(name, sane=False)  # infinite and NaN scales among them
    x = np.random.default_rng(3).standard_normal((4, COLS), np.float32)
    assert (x @ q.prepare().T).tobytes() == (x @ q.T).tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_no_more_bytes_than_the_blocks(name):
    q = matrix(name, 64, 4096)
    assert q.nbytes <= q.prepare().nbytes <= q.nbytes * 1.005


@pytest.mark.parametrize("name", NAMES)
def test_files(tmp_path, name):
    q = matrix(name)
    q.prepare().save(tmp_path / "p.safetensors")
    loaded = qb.PreparedMatrix.load(tmp_path / "p.safetensors")
    assert loaded.unprepare().tobytes() == q.tobytes() and str(loaded.format) == name
    x = np.random.default_rng(4).standard_normal(COLS).astype(np.float32)
    assert (loaded @ x).tobytes() == (q @ x).tobytes()


def test_in_a_group(isa):
    """Types that are taken apart beside ones that are kept whole."""
    x = np.random.default_rng(6).standard_normal((5, COLS), np.float32)
    q = [matrix(name) for name in ("iq2_xs", "q4_K", "tq1_0")]
    bounds = [0, 2, 2, 5]
    experts = [q[0].prepare(), q[1], q[2].prepare()]
    want = np.concatenate([x[a:b] @ e.T for a, b, e in zip(bounds, bounds[1:], q, strict=False)])
    assert qb.grouped_matmul(x, experts, bounds).tobytes() == want.tobytes()

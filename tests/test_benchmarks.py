"""The benchmarks themselves: every case runs once on tiny inputs, and what they compute is right."""

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("needs the source tree", allow_module_level=True)
sys.path.append(str(ROOT))  # last: an installed pyqbits stays the one that is tested

import pyqbits as qb  # noqa: E402
from benchmarks import timing  # noqa: E402
from benchmarks.encoder import attend, gelu  # noqa: E402


def test_comparison_takes_both_in_every_round():
    order = []
    comparison = timing.Comparison(lambda: order.append("run"), lambda: order.append("reference"))
    comparison.run_calls = comparison.reference_calls = 1
    order.clear()
    result = comparison.rounds(3).result()
    assert order == ["reference", "run"] * 3
    assert result.rounds == 3
    assert result.low <= result.ratio <= result.high


def test_ratio_is_speed_over_the_reference():
    comparison = timing.Comparison(lambda: None, lambda: None)
    comparison.reference_seconds, comparison.run_seconds = [2.0, 4.0, 6.0], [1.0, 1.0, 1.0]
    assert comparison.result().ratio == 4


@pytest.mark.parametrize("line", [0, 8])
def test_aligned(line):
    x = timing.aligned((3, 5), np.float32, line)
    assert x.shape == (3, 5)
    assert x.ctypes.data % 4096 == 64 * line


def test_gelu():
    x = np.linspace(-8, 8, 1001, dtype=np.float32)
    exact = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()]
    np.testing.assert_allclose(gelu(x), exact, atol=1e-6)


def test_attention_of_equal_keys_is_the_mean():
    value = np.random.default_rng(0).standard_normal((5, 8), dtype=np.float32)
    query = np.random.default_rng(1).standard_normal((5, 8), dtype=np.float32)
    out = attend(query, np.ones((5, 8), np.float32), value, heads=2)
    np.testing.assert_allclose(out, np.broadcast_to(value.mean(axis=0), (5, 8)), rtol=1e-5)


def test_agreement_of_rankings():
    from benchmarks import sentences

    values = np.array([0.1, 0.9, 0.5])
    assert sentences.spearman(values, values**3) == pytest.approx(1)
    assert sentences.spearman(values, -values) == pytest.approx(-1)
    similarities = np.array([[1, 0.2, 0.9], [0.2, 1, 0.3], [0.9, 0.3, 1]])
    assert sentences.neighbours(similarities).tolist() == [2, 2, 0]
    assert len(sentences.read_sentences()) >= 100


def test_float32_encoder_gives_the_published_similarities():
    from benchmarks import sentences

    pytest.importorskip("tokenizers")
    pytest.importorskip("safetensors")
    pytest.importorskip(sentences.PACKAGE)
    assert sentences.Model(sentences.find_model(), "int24").published_difference() < 1e-3


def test_block_types_of_a_language_model():
    pytest.importorskip("gguf")
    from benchmarks import smollm

    if not importlib.util.find_spec(smollm.PACKAGE):
        pytest.skip(f"needs {smollm.PACKAGE}")
    file = smollm.find_model()
    assert smollm.check_numbers(file).startswith("272 tensors dequantize as in gguf")
    assert {"q8_0", "q4_0"} <= set(smollm.written(file))
    opened = qb.open(file)
    assert smollm.snr_db(opened, opened) == math.inf


def test_perplexities_differ_by_the_differences_of_tokens():
    from benchmarks import smollm

    theirs = np.random.default_rng(2).exponential(3, 4000)
    assert smollm.against(theirs, theirs) == (0, 0)
    noise = np.resize([0.1, -0.1], theirs.size)
    percent, error = smollm.against(theirs + 0.01 + noise, theirs)
    ratio = smollm.perplexity(theirs + 0.01) / smollm.perplexity(theirs)
    assert percent == pytest.approx(100 * (ratio - 1)) and ratio == pytest.approx(math.exp(0.01))
    assert error == pytest.approx(100 * ratio * 0.1 / math.sqrt(4000), rel=1e-3)


def test_table(tmp_path, capsys):
    pytest.importorskip("threadpoolctl")
    from benchmarks.__main__ import main

    main(["--quick", "--rounds", "1", "--filter", "unpack 4 bits", "--json", str(tmp_path / "figures.json")])
    assert "| unpack | 4 bits | 64 |" in capsys.readouterr().out
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert {record["operation"] for record in figures["results"]} == {"unpack"}
    assert figures["about"]["isas"]


def test_quantizers(tmp_path, capsys):
    pytest.importorskip("threadpoolctl")
    from benchmarks import quantizers

    weights = np.random.default_rng(0).standard_normal((3, 512), np.float32)
    model, file = tmp_path / "model.safetensors", tmp_path / "figures.json"
    qb.save(model, {"w": weights, "thin": weights[:, :100], "counts": np.arange(512).reshape(2, 256)})
    taken = quantizers.weights(model, (2, 256))
    assert np.array_equal(taken, weights[0].reshape(2, 256))
    quantizers.main(
        [
            "--types",
            "q8_0",
            "q4_K",
            "--rows",
            "2",
            "--rounds",
            "1",
            "--model",
            str(model),
            "--json",
            str(file),
        ]
    )
    rows = {(row["type"], row["search"]): row for row in json.loads(file.read_text())["results"]}
    assert list(rows) == [("q8_0", "rtn"), ("q4_K", "mse"), ("q4_K", "best")]
    assert "| q4_K | 4.5 | best |" in capsys.readouterr().out
    for (type, _), row in rows.items():
        assert set(row["snr_db"]) == {"normal", "Laplace", "Student-t 5", "weights"}
        assert row["million_a_second"] > 0 and min(row["snr_db"].values()) > {"q8_0": 40, "q4_K": 20}[type]
    assert {"q6_K", "iq4_xs", "tq2_0"} <= set(quantizers.quantizable())


def test_model_to_quantize(tmp_path):
    pytest.importorskip("typer")
    pytest.importorskip("rich")
    from benchmarks import quantize_model

    values = quantize_model.write_model(tmp_path / "model.gguf", layers=1)
    opened = qb.open(tmp_path / "model.gguf")
    assert values == sum(x.size for x in opened.values() if x.ndim == 2) and len(opened) == 12
    assert all(x.shape[-1] % 256 == 0 for x in opened.values())
    target = tmp_path / "small.gguf"
    whole, call = quantize_model.seconds("pyqbits", tmp_path / "model.gguf", target, "q8_0", 1)
    assert whole > call > 0 and qb.open(target)["output.weight"].format.name == "q8_0"


@pytest.fixture(scope="module")
def peer_figures(tmp_path_factory):
    """What `python -m benchmarks.peers` writes where no peer but NumPy is there."""
    pytest.importorskip("threadpoolctl")
    from benchmarks.peers import __main__ as peers
    from benchmarks.peers import libraries

    file = tmp_path_factory.mktemp("peers") / "figures.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(libraries, "LIBRARIES", ("with_numpy", "with_pyqbits", "without_such_a_module"))
        peers.main(["--quick", "--threads", "1", "--only", "g32", "--json", str(file)])
    return file


def test_peers_are_skipped_and_errors_measured(peer_figures):
    rows = {(row["library"], row["name"]): row for row in json.loads(peer_figures.read_text())["results"]}
    numpy = rows.pop(("NumPy", "float32"))
    assert numpy["ratio"] == [1, 1] and max(numpy["error"]) < 1e-6
    kinds = ("int8", "int16", "int24")
    expected = {f"int{bits}_g32 {kind}" for bits in range(2, 9) for kind in kinds}
    assert {name for _, name in rows} == {*expected, "uint2_g32 int8", "uint4_g32 int8"}
    for (_, name), row in rows.items():
        assert row["n"] == [1, 3] and min(row["seconds"]) > 0
        low, high = {"int8": (1e-3, 1e-2), "int16": (1e-6, 1e-4), "int24": (0, 1e-6)}[name.split()[1]]
        assert all(low < error < high for error in row["own_error"]), name
        assert min(row["error"]) > 0.5 * 2.0 ** -row["bits"] or name.startswith("int8_g32")


def test_standing_compares_at_no_larger_error():
    from benchmarks.peers import tables
    from benchmarks.peers.measure import Row

    def row(library, name, seconds, error):
        lists = {
            "n": [1],
            "seconds": [seconds],
            "best": [seconds],
            "error": [error],
            "own_error": [error],
        }
        return Row(library, name, 4, 4.5, 64, 64, 1, ratio=[1.0], rounds=[1], **lists)

    rows = [
        *(
            row("pyqbits", "coarse", 1.0, 0.2),
            row("pyqbits", "fine", 2.0, 0.1),
            row("pyqbits", "slow", 3.0, 0.1),
        ),
        *(row("peer", "a", 4.0, 0.1), row("peer", "b", 4.0, 0.3), row("peer", "c", 4.0, 0.01)),
    ]
    assert [tables.lead(peer, 1, rows) for peer in rows[3:]] == [2.0, 4.0, None]
    assert [line[0] for line in tables.standing(rows)[1:]] == ["peer a", "peer b"]


def test_picture(peer_figures, tmp_path):
    pytest.importorskip("matplotlib")
    from benchmarks import picture

    picture.main([str(peer_figures), "-o", str(tmp_path / "products.png"), "--shape", "64x256"])
    assert (tmp_path / "products.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("suite", ["bench_pack", "bench_quant", "bench_linalg", "bench_prepared"])
def test_every_case_runs(suite):
    pytest.importorskip("threadpoolctl")
    pytest.importorskip("pytest_benchmark")
    command = [sys.executable, "-m", "pytest", f"benchmarks/{suite}.py", "--quick", "-q"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def test_costs_of_calls():
    pytest.importorskip("threadpoolctl")
    from benchmarks import calls

    rows = [line.strip() for line in calls.ROWS.splitlines() if line.startswith("    ")]
    command = [sys.executable, "-m", "benchmarks.calls", "--rounds", "1"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    measured = [line for line in result.stdout.splitlines() if line.endswith(" ns")]
    assert len(measured) == len(rows) and all(row in line for row, line in zip(rows, measured, strict=True))

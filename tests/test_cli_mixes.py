"""Which types `pyqbits quantize` gives to the tensors of a GGUF file."""

import json

import numpy as np
import pytest
from cli_cases import run
from cli_gguf_cases import by_part, llama_model
from gguf_cases import DATA

from pyqbits import gguf
from pyqbits.cli import mix_rules, mixes
from pyqbits.gguf.types import TYPES

LLAMA = json.loads((DATA / "llama_mixes.json").read_text())
MODELS = [(model, record) for record in LLAMA for model in record["models"]]


def planned(model, *arguments, **options):
    return mixes.plan(llama_model(**model), mixes.Choice(*arguments, **options))


@pytest.mark.parametrize(("model", "record"), MODELS, ids=lambda value: value.get("arch"))
def test_mixes_are_those_of_llama_cpp(model, record):
    names = {mix for mix in mixes.MIXES if mixes.MIXES[mix].base not in mixes.FLOATS}
    refused = {"q1_0"} if model["width"] % 128 or model["ff"] % 128 else set()
    assert record["plain"].keys() == names - refused
    for mix, types in record["plain"].items():
        found = planned(model, mix).types
        assert by_part(found) == types, mix
        kept = {name for name, type in found.items() if type == "f32"}
        assert kept == {name for name in found if "norm" in name or "gate_inp" in name}
        assert by_part(planned(model, mix, weighted=True).types) == record["weighted"].get(mix, types), mix


def test_types_do_not_depend_on_the_order_of_tensors():
    for model, record in MODELS[:8]:
        file = llama_model(**model)
        file.tensors = dict(reversed(file.tensors.items()))
        for mix, types in record["plain"].items():
            assert by_part(mixes.plan(file, mixes.Choice(mix)).types) == types


@pytest.mark.parametrize("heads", ["8", gguf.Array("uint32", []), ["8"], [0, 4], [-4, 4], True, 1.5])
def test_sizes_that_are_no_numbers(heads):
    file = llama_model(9, 256, 512, 8, 2, False, 0)
    del file.metadata["llama.attention.head_count_kv"]
    file.metadata["llama.attention.head_count_kv"] = heads
    assert by_part(mixes.plan(file, mixes.Choice("q2_K")).types)["attn_v"] in ("q3_K", "q4_K")


def test_pure_formats_and_exceptions():
    model = dict(layers=4, width=288, ff=512, heads=4, kv=2, tied=False, experts=0)
    found = planned(model, "q4_K_M", pure=True)
    assert found.types["blk.0.ffn_down.weight"] == "q4_K" and found.types["output.weight"] == "q5_0"
    assert found.types["output_norm.weight"] == "f32"
    assert found.fallbacks == {("q4_K", "q5_0"): 2 + 4 * 6}
    assert set(planned(model, "iq2_xs", pure=True).types.values()) == {"f32", "iq2_xs", "iq4_nl"}
    found = planned(model, "q8_0", exceptions=(("blk.*", "q4_0"), ("*.3.*", "f16"))).types
    assert [found[n] for n in ("output.weight", "blk.2.attn_q.weight", "blk.3.attn_q.weight")] == [
        "q8_0", "q4_0", "f16"
    ]  # fmt: skip
    found = planned(model, "q8_0", include=("*attn*",), exclude=("*.1.*",)).types
    assert {name for name, type in found.items() if type == "q8_0"} == {
        f"blk.{i}.attn_{kind}.weight" for i in (0, 2, 3) for kind in ("q", "k", "v", "output")
    }
    assert mixes.fitting("q6_K", 96) == "q8_0" and mixes.fitting("tq1_0", 32) == "q4_0"
    assert mixes.fitting("q6_K", 33) == mixes.fitting("q4_0", 33) == mixes.fitting("nvfp4", 96) == "f16"


def test_a_mix_with_the_name_of_another_type():
    """iq2_s is mostly iq2_xs; the type is had by --pure and --tensor-format."""
    model = dict(layers=1, width=256, ff=256, heads=4, kv=4, tied=False, experts=0)
    mixed = planned(model, "iq2_s").types
    assert mixed["blk.0.attn_q.weight"] == "iq2_xs"
    pure = mixes.Choice("iq2_s", pure=True)
    assert set(mixes.plan(llama_model(**model), pure).types.values()) == {"f32", "iq2_s"}
    assert pure.file_type == mixes.Choice("iq2_s").file_type == 28
    assert planned(model, "q8_0", exceptions=(("*attn_q*", "iq2_s"),)).types["blk.0.attn_q.weight"] == "iq2_s"
    others = {name for name, mix in mixes.MIXES.items() if name in TYPES and mix.base != name}
    assert others == {"iq2_s"}


def test_mxfp4_is_a_type_and_a_mix_for_experts():
    for experts in (0, 4):
        model = dict(layers=1, width=256, ff=256, heads=4, kv=4, tied=False, experts=experts)
        mixed = planned(model, "mxfp4_moe").types
        found = {name for name, type in mixed.items() if type == "mxfp4"}
        assert found == {name for name in mixed if "_exps" in name} and bool(found) == bool(experts)
        assert set(mixed.values()) <= {"f32", "q8_0", "mxfp4"}
        every = planned(model, "mxfp4").types
        assert set(every.values()) == {"f32", "mxfp4"}
        assert every == planned(model, "mxfp4_moe", pure=True).types
    assert mixes.Choice("mxfp4").file_type == mixes.Choice("mxfp4_moe").file_type == 38


def test_names_of_types_and_mixes():
    peer = pytest.importorskip("gguf")
    numbers = {member.name.removeprefix("MOSTLY_"): int(member) for member in peer.LlamaFileType}
    numbers.setdefault("Q2_0", 41)  # of later releases
    for name, mix in mixes.MIXES.items():
        assert mix.file_type == (0 if name == "f32" else numbers[name.upper()])
    for name, number in mixes.FILE_TYPES.items():
        assert number in [value for known, value in numbers.items() if known.startswith(name.upper())]
    bases = {mix.base for mix in mixes.MIXES.values()}
    assert {*mixes.FALLBACKS, *mixes.FALLBACKS.values(), *bases, *mixes.FROM_IMPORTANCE} <= set(TYPES)
    assert set(mix_rules.SMALLEST) <= set(mixes.MIXES) and not set(mixes.FILE_TYPES) & set(mixes.MIXES)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["iq2_m"], "2 tensors of iq2_s without --imatrix"),
        (["iq1_s"], "3 tensors of iq1_s, iq2_xxs without --imatrix"),
        (["q2_K_S"], "4 tensors of q2_K without --imatrix"),
        (["iq3_xxs", "--pure"], "4 tensors of iq3_xxs without --imatrix"),
        (["q8_0", "--tensor-format", "*attn_v*=iq2_s"], "1 tensor of iq2_s without --imatrix"),
        (["q2_K"], None),
        (["iq3_s"], None),
        (["q8_0", "--tensor-format", "output.weight=iq2_s"], None),
    ],
)
def test_types_that_llama_cpp_has_only_with_importance(tmp_path, arguments, words):
    names = ("token_embd", "output", "blk.0.attn_q", "blk.0.attn_v", "blk.0.attn_output", "blk.0.ffn_up")
    rng, model, output = np.random.default_rng(1), tmp_path / "m.gguf", tmp_path / "o.gguf"
    weights = {f"{name}.weight": rng.standard_normal((2, 256), np.float32) for name in names}
    metadata = {"general.architecture": "llama", "llama.block_count": 1}
    gguf.save(model, weights, metadata)
    out = run("quantize", model, "-o", output, "--format", *arguments).stdout
    assert (words in out) if words else ("--imatrix" not in out)
    mix = mixes.MIXES[arguments[0]]
    assert gguf.open(output).metadata["general.file_type"] == mix.file_type
    importance = {
        f"{name}.{part}": np.ones((1, 256 if part == "in_sum2" else 1), np.float32)
        for name in weights
        for part in ("in_sum2", "counts")
    }
    gguf.save(tmp_path / "importance", importance)
    arguments = [*arguments, "--imatrix", tmp_path / "importance"]
    assert "--imatrix" not in run("quantize", model, "-fo", output, "--format", *arguments).stdout

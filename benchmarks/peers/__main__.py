"""`python -m benchmarks.peers`: speed and error of other libraries' quantized products beside pyqbits'.

    python -m benchmarks.peers --quick                     does everything run? which libraries are there?
    python -m benchmarks.peers --shapes 4096x4096 --json peers.json
    python -m benchmarks.peers --only int4,q4 --threads 1  methods whose name has one of the words
    python -m benchmarks.peers --from peers.json           the tables of earlier runs

See benchmarks/README.md for what to install, the method and the caveats.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
from pathlib import Path

from benchmarks import __main__ as benchmarks
from benchmarks import report
from benchmarks.peers import libraries, tables
from benchmarks.peers.measure import Effort, Row, measure, note

SHAPES = ("576x576", "1536x576", "4096x4096", "14336x4096")
BATCHES = (1, 2, 4, 8, 32, 128, 512)
PACKAGES = ("onnxruntime", "openvino", "torch", "bitsandbytes", "llama-cpp-python", "numkong")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    summary, _, rest = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--shapes", default=",".join(SHAPES), help="rows x columns of the weights (default: %(default)s)")
    add("--batches", default=",".join(map(str, BATCHES)), help="rows of activations (default: %(default)s)")
    add("--threads", default="1,2", help="numbers of threads (default: %(default)s)")
    add("--only", default="", metavar="WORDS", help="methods whose name has one of these, and the reference")
    add("--rounds", type=int, default=15, help="samples of each method (default: %(default)s)")
    add("--seconds", type=float, default=0.5, help="a method's time in one case; 3 rounds at least")
    add("--memory", type=int, default=256, help="MB of copies of a matrix to go round (default: %(default)s)")
    add("--show", choices=tables.UNITS, default="time", help="what the tables have (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="writes all figures and the machine to FILE")
    add("--from", dest="source", type=Path, nargs="+", metavar="FILE", help="measures nothing, shows these")
    add("--quick", action="store_true", help="two rounds on a tiny matrix")
    options = parser.parse_args(arguments)
    if options.quick:
        options.shapes, options.batches, options.rounds, options.memory = "64x256", "1,3", 2, 0
    return options


def run(options: argparse.Namespace) -> list[Row]:
    """Measures as the options say; figures are written as they come."""
    shapes = [tuple(map(int, shape.split("x"))) for shape in options.shapes.split(",")]
    batches, threads = ([int(n) for n in text.split(",")] for text in (options.batches, options.threads))
    effort = Effort(options.rounds, options.seconds, options.memory << 20)
    (reference, *others), skipped = libraries.find()
    wanted = (method for method in others if any(word in str(method) for word in words(options)))
    methods = [reference, *wanted]
    for name, reason in skipped.items():
        note(f"{name} is left out: {reason}\n")
    rows: list[Row] = []
    for measured in measure(methods, shapes, batches, threads, effort):
        rows += measured
        if options.json:
            options.json.write_text(report.to_json(machine(), [dataclasses.asdict(row) for row in rows]))
    note("")
    return rows


def words(options: argparse.Namespace) -> list[str]:
    return [word.strip() for word in options.only.split(",")]


def machine() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**benchmarks.machine(), **versions}


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    if options.source:
        found = (Row(**one) for file in options.source for one in json.loads(file.read_text())["results"])
        rows = [row for row in found if any(word in str(row) for word in words(options))]
    else:
        rows = run(options)
    for title, group in tables.groups(rows):
        tables.show(f"{title}: {tables.UNITS[options.show]}", tables.speeds(group, options.show))
        tables.show(f"{title}: peer's time / pyqbits' time at no larger error", tables.standing(group))


if __name__ == "__main__":
    main()

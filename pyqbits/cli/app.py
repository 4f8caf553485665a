"""The commands, their arguments and options; what they do is a module each.

What a user's files can cause becomes one line on stderr and exit code 2; anything else is a bug and shows
its traceback.
"""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

import pyqbits


class Commands(TyperGroup):
    """The commands, with errors about files and arguments reported in one line."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (ValueError, OSError, MemoryError) as error:
            typer.echo(f"pyqbits: {one_line(error)}", err=True)
            raise typer.Exit(2) from None


def one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        named = f"{error.filename}: " if error.filename else ""
        return f"{named}{error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


app = typer.Typer(
    cls=Commands,
    help="Shrink models to few bits, see what it cost, and measure the kernels that do it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run() -> None:
    """The whole program; a termination request ends it like Ctrl-C, so that temporary files are removed."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    app(prog_name="pyqbits")


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(pyqbits.__version__)
        raise typer.Exit


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Patterns = list[str] | None


@app.command()
def quantize(
    model: Annotated[
        Path, typer.Argument(help="A .safetensors or .gguf file, or a sharded model: index or directory.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File, or directory of a sharded model.")],
    format: Annotated[
        str | None,
        typer.Option(
            help="int4_g32 (default), uint4_g32_z, ...; of a .gguf: q4_K_M (default), iq2_m, q8_0, f16, ..."
        ),
    ] = None,
    search: Annotated[str | None, typer.Option(help="Find scales by rtn, mse or best.")] = None,
    include: Annotated[
        Patterns, typer.Option(metavar="GLOB", help="Only these tensor names (repeatable).")
    ] = None,
    exclude: Annotated[
        Patterns, typer.Option(metavar="GLOB", help="Not these tensor names (repeatable).")
    ] = None,
    tensor_format: Annotated[
        Patterns, typer.Option(metavar="GLOB=TYPE", help="Another type for these, in a .gguf (repeatable).")
    ] = None,
    pure: Annotated[bool, typer.Option("--pure", help="No mix of types, in a .gguf: one for all.")] = False,
    imatrix: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Importance of columns, for searches, in a .gguf.")
    ] = None,
    nonfinite: Annotated[str, typer.Option(help="NaN and infinity: raise, or zero.")] = "raise",
    threads: Annotated[
        int | None, typer.Option(min=1, max=256, help="How many, instead of one a CPU.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite existing output.")] = False,
    json: Json = False,
) -> None:
    """Shrink a model: float tensors of two or more dimensions are quantized, the others copied.

    A .gguf may hold any types already. The names of llama.cpp's mixes give each weight of it the type that it
    has there, and what is no multiple of a block falls back to a type that fits.
    """
    from . import models

    if threads is not None:
        pyqbits.set_num_threads(threads)
    patterns = tuple(include or ()), tuple(exclude or ())
    if models.is_gguf(model):
        from .mixes import Choice
        from .quantize_gguf import Settings, quantize_gguf

        exceptions = tuple(exception(text) for text in tensor_format or ())
        choice = Choice(format or "q4_K_M", pure, exceptions, *patterns)
        settings = Settings(search, nonfinite, imatrix)
        quantize_gguf(model, output, choice, settings, force=force, json=json)
        return
    from ..formats import as_format
    from .quantize import Options, quantize_model

    if pure or tensor_format or imatrix:
        raise ValueError("--pure, --tensor-format and --imatrix are for .gguf files")
    options = Options(as_format(format or "int4_g32"), search, *patterns, nonfinite)
    quantize_model(model, output, options, force=force, json=json)


def exception(text: str) -> tuple[str, str]:
    glob, found, type = text.rpartition("=")
    if not found:
        raise ValueError(f"--tensor-format must be GLOB=TYPE, not {text!r}")
    return glob, type


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A .safetensors, .npz or .gguf file, or a sharded model.")],
    json: Json = False,
) -> None:
    """List the tensors of a file: shape, type or format, bits per weight, bytes, place; and its metadata."""
    from .inspect import inspect_file

    inspect_file(file, json=json)


@app.command()
def compare(
    original: Annotated[Path, typer.Argument(help="The model as it was.")],
    quantized: Annotated[Path, typer.Argument(help="What `pyqbits quantize` made of it.")],
    plot: Annotated[Path | None, typer.Option(metavar="PNG", help="Draw errors and SNR into a file.")] = None,
    json: Json = False,
) -> None:
    """Tell how far a quantized model is from the original, tensor by tensor."""
    from .compare import compare_models

    compare_models(original, quantized, plot=plot, json=json)


@app.command()
def info() -> None:
    """Show the CPU, its instruction-set tiers, and which kernel file serves what."""
    from .info import show_info

    show_info()


@app.command()
def bench(
    seconds: Annotated[float, typer.Option(min=1, help="How long to measure, about.")] = 60,
    json: Json = False,
) -> None:
    """Measure the kernels: GB/s, and the ratio to memcpy or NumPy timed in the same rounds."""
    from .bench import run_bench

    run_bench(seconds, json=json)


@app.command()
def demo() -> None:
    """Quantize a small digit classifier at 8 to 2 bits and classify held-out images with it."""
    from .demo import run_demo

    run_demo()

"""`python -m pyqbits`, and the script `pyqbits`: the command line, where its packages are installed."""

import sys


def main() -> None:
    """Run the command line; exit code 2 on bad input, and where the extra `cli` is not installed."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ModuleNotFoundError as error:
        print(f"pyqbits: the command line needs {error.name}: pip install 'pyqbits[cli]'", file=sys.stderr)
        sys.exit(2)
    from .cli.app import run

    run()


if __name__ == "__main__":
    main()

"""Which instruction-set tier the kernels run on, on how many threads, and where the C header is."""

import operator
import os
import sys
from pathlib import Path
from types import TracebackType

from ._native import ffi, lib


def _text(pointer: object) -> str:
    return ffi.string(pointer).decode()


_NAMES = tuple(_text(lib.qb_isa_name(i)) for i in range(lib.qb_isa_count()))

__version__: str = _text(lib.qb_version())


def isa() -> str:
    """Name of the instruction-set tier in use: the best one the machine has, unless told otherwise.

    The environment variable ``PYQBITS_ISA`` chooses one at import, `use_isa` later. Results do not depend
    on it, down to the last bit.

    Examples
    --------
    >>> import pyqbits as qb
    >>> qb.isa() in qb.available_isas()
    True
    """
    return _NAMES[lib.qb_isa()]


def available_isas() -> tuple[str, ...]:
    """The tiers of this build that this machine can run, lowest first.

    Examples
    --------
    >>> import pyqbits as qb
    >>> qb.available_isas()[0]
    'scalar'
    """
    return tuple(name for i, name in enumerate(_NAMES) if lib.qb_isa_supported(i))


class use_isa:
    """Choose the tier of the whole process: at once, and as a context manager until its block ends.

    Calls that other threads are in the middle of finish on the tier they began with.

    Parameters
    ----------
    name : str
        One of `available_isas`.

    Examples
    --------
    >>> import pyqbits as qb
    >>> with qb.use_isa("scalar"):
    ...     qb.isa()
    'scalar'
    """

    def __init__(self, name: str) -> None:
        self._before = lib.qb_isa()
        if name not in _NAMES or lib.qb_use_isa(_NAMES.index(name)):
            raise ValueError(_refusal(f"isa {name!r}", name))

    def __enter__(self) -> "use_isa":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lib.qb_use_isa(self._before)


def get_num_threads() -> int:
    """How many threads large calls use.

    At first the CPUs this process may use (its affinity and its control group's quota), or the environment
    variable ``PYQBITS_NUM_THREADS``. Results do not depend on it, down to the last bit.

    Examples
    --------
    >>> import pyqbits as qb
    >>> qb.get_num_threads() >= 1
    True
    """
    return lib.qb_num_threads()


def set_num_threads(n: int) -> None:
    """Use `n` threads (1 to 256) in large calls from now on, the calling one among them.

    Threads start with the first call that wants them; they spin for ``PYQBITS_SPIN_US`` (30) microseconds
    after it, then sleep. A call wakes them, but does not wait: a thread that is through with its own part
    takes over what others have not begun. Calls that meet another one's use of the pool run on their own
    thread alone.

    Examples
    --------
    >>> import pyqbits as qb
    >>> before = qb.get_num_threads()
    >>> qb.set_num_threads(2)
    >>> qb.get_num_threads()
    2
    >>> qb.set_num_threads(before)
    """
    try:
        count = operator.index(n)
    except TypeError:
        raise TypeError(f"n must be an integer from 1 to 256, not {n!r}") from None
    if not 1 <= count <= 256:
        raise ValueError(f"n must be from 1 to 256, not {count}")
    lib.qb_set_num_threads(count)


class threads:
    """A context manager: `n` threads in large calls of the whole process until its block ends.

    Examples
    --------
    >>> import pyqbits as qb
    >>> with qb.threads(1):
    ...     qb.get_num_threads()
    1
    """

    def __init__(self, n: int) -> None:
        self._before = get_num_threads()
        set_num_threads(n)

    def __enter__(self) -> "threads":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lib.qb_set_num_threads(self._before)


def _refusal(what: str, name: object) -> str:
    problem = "this machine cannot run it" if name in _NAMES else "there is no such tier"
    built, here = ", ".join(_NAMES), ", ".join(available_isas())
    return f"{what}: {problem}; this build has {built}, this machine runs {here}"


def check_environment() -> None:
    """Refuse to start on a tier that ``PYQBITS_ISA`` names and that cannot run."""
    if lib.qb_isa_init():
        name = os.environ.get("PYQBITS_ISA")
        refusal = _refusal(f"PYQBITS_ISA={name}", name)
        if _is_command_line():
            print(f"pyqbits: {refusal}", file=sys.stderr)
            sys.exit(2)
        raise ImportError(refusal)


def _is_command_line() -> bool:
    """Whether this is the script `pyqbits` or ``python -m pyqbits``, whose code comes after this import."""
    script = Path((getattr(sys, "argv", None) or [""])[0])
    if script.stem == "pyqbits" and script.suffix in ("", ".exe"):
        return True
    words = sys.orig_argv
    return "-m" in words[:-1] and words[words.index("-m") + 1] == "pyqbits"


def kernel_isas(name: str) -> dict[str, str]:
    """For each family of kernels, the tier whose code serves it on tier `name`."""
    prefix = "QB_FAMILY_"
    families = [n for n in dir(lib) if n.startswith(prefix) and n != prefix + "COUNT"]
    tier = _NAMES.index(name)
    return {
        n.removeprefix(prefix): _text(lib.qb_kernel_isa(tier, getattr(lib, n)))
        for n in sorted(families, key=lambda n: getattr(lib, n))
    }


def cpu_brand() -> str:
    """What the processor calls itself; empty where it does not say."""
    name = ffi.new("char[49]")
    lib.qb_cpu_brand(name)
    return _text(name).strip()


def get_include() -> str:
    """Folder of ``qbits.h``, for C code built against the library's declarations.

    Examples
    --------
    >>> import os, pyqbits as qb
    >>> os.path.exists(os.path.join(qb.get_include(), "qbits.h"))
    True
    """
    package = Path(__file__).resolve().parent
    installed = package / "include"
    return str(installed if (installed / "qbits.h").exists() else package.parent / "csrc")

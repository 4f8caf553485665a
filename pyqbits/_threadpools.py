"""Shows the library's threads to threadpoolctl, where that is installed, so that its limits hold for them."""

from ._native import lib
from .runtime import __version__


def register() -> None:
    """Tell threadpoolctl about this library.

    Limits must not depend on which of the two is imported first, so it is imported here; beside NumPy that
    takes no time to speak of.
    """
    try:
        from threadpoolctl import LibController, register
    except ImportError:
        return

    class PyqbitsController(LibController):
        user_api = internal_api = "pyqbits"
        filename_prefixes = ("_native",)  # of the extension module, and perhaps of others: hence the symbols
        check_symbols = ("qb_num_threads", "qb_set_num_threads")

        def get_num_threads(self) -> int:
            return lib.qb_num_threads()

        def set_num_threads(self, num_threads: int) -> None:
            lib.qb_set_num_threads(num_threads)

        def get_version(self) -> str:
            return __version__

    register(PyqbitsController)

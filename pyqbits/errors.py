"""Exceptions of the package beyond the built-in ones, and what a status of the C library becomes."""

from ._native import ffi, lib


class FormatError(ValueError):
    """A file or byte string that does not follow its format.

    Attributes
    ----------
    offset : int or None
        Where in the file the fault was seen, in bytes from its start; None where no place can be named.

    Examples
    --------
    >>> from pyqbits import FormatError
    >>> str(FormatError("the header is cut short", 8))
    'the header is cut short (at byte 8)'
    """

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message if offset is None else f"{message} (at byte {offset})")
        self.offset = offset


def check(status: int, what: str) -> None:
    """Raise the exception of a status other than QB_OK that the caller has no better words for."""
    if status:
        text = f"{what}: {ffi.string(lib.qb_status_text(status)).decode()}"
        raise MemoryError(text) if status == lib.QB_ERR_MEMORY else ValueError(text)

"""Error reports of parts put together."""

from collections.abc import Sequence

import numpy as np

from pyqbits import ErrorReport


def combined(reports: Sequence[ErrorReport], starts: Sequence[int] = ()) -> ErrorReport:
    """The report of several arrays as one; where these are slices of one array's first axis, that begin at
    `starts`, it also says where the largest error is."""
    size = sum(report.size for report in reports)
    worst = max(reports, key=lambda report: report.max_abs)  # the first of equals
    place = None
    if starts and worst.max_index:
        first, *rest = worst.max_index
        place = (starts[reports.index(worst)] + first, *rest)
    return ErrorReport(
        size=size,
        sum_xx=sum(report.sum_xx for report in reports),
        sum_ee=sum(report.sum_ee for report in reports),
        max_abs=worst.max_abs,
        max_index=place,
        bpw=sum(report.bpw * report.size for report in reports if report.size) / size if size else 0.0,
    )


def float_report(x: np.ndarray, y: np.ndarray) -> ErrorReport:
    """The errors of floats against what became of them in another type."""
    before, after = (array.ravel().astype(np.float64) for array in (x, y))
    error = before - after
    worst = int(np.abs(error).argmax()) if error.size else 0
    return ErrorReport(
        size=x.size,
        sum_xx=float(before @ before),
        sum_ee=float(error @ error),
        max_abs=float(abs(error[worst])) if error.size else 0.0,
        max_index=tuple(int(i) for i in np.unravel_index(worst, x.shape)) if error.size else None,
        bpw=8.0 * y.dtype.itemsize,
    )

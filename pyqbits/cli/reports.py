"""Error reports of parts put together."""

from collections.abc import Sequence
from math import isnan

import numpy as np

from pyqbits import ErrorReport

RUN = 1 << 13  # values compared at a time: they fit a cache, and NumPy starts no threads for them


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
    sum_xx, sum_ee, worst, place = 0.0, 0.0, 0.0, 0
    xs, ys = x.ravel(), y.ravel()
    for start in range(0, x.size, RUN):
        before, after = (array[start : start + RUN].astype(np.float64) for array in (xs, ys))
        error = before - after
        sum_xx += float(before @ before)
        sum_ee += float(error @ error)
        at = int(np.abs(error).argmax())
        size = float(abs(error[at]))
        if not (size <= worst or isnan(worst)):  # the first of equals, or the first NaN
            worst, place = size, start + at
    return ErrorReport(
        size=x.size,
        sum_xx=sum_xx,
        sum_ee=sum_ee,
        max_abs=worst,
        max_index=tuple(int(i) for i in np.unravel_index(place, x.shape)) if x.size else None,
        bpw=8.0 * y.dtype.itemsize,
    )

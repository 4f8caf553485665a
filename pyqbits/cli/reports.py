"""Error reports of parts put together."""

from collections.abc import Sequence

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

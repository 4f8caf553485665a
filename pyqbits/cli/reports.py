"""Error reports of parts put together."""

from collections.abc import Sequence

from pyqbits import ErrorReport


def combined(reports: Sequence[ErrorReport]) -> ErrorReport:
    """The report of consecutive parts of an array as one report."""
    size = sum(report.size for report in reports)
    worst = max(reports, key=lambda report: report.max_abs)  # the first of equals
    before = sum(report.size for report in reports[: reports.index(worst)])
    return ErrorReport(
        size=size,
        sum_xx=sum(report.sum_xx for report in reports),
        sum_ee=sum(report.sum_ee for report in reports),
        max_abs=worst.max_abs,
        max_index=before + worst.max_index,
        bpw=sum(report.bpw * report.size for report in reports) / size,
    )

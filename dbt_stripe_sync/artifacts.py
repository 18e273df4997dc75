"""What a run leaves beside dbt's own artifacts: its results as JSON, and its report as a page."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from dbt_stripe_sync.model.errors import Location, Problem, Severity
from dbt_stripe_sync.report.html import write_html
from dbt_stripe_sync.report.run_json import write_results

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dbt_stripe_sync.model.run import RunReport

RESULTS = "stripe_sync_results.json"
PAGE = "stripe_sync_report.html"


def write_artifacts(report: RunReport, folder: Path, *, with_amounts: bool = False) -> tuple[Problem, ...]:
    """Write both into dbt's target folder; `with_amounts` shows what things cost in the page.

    What can't be written is a warning: the run itself is done.
    """
    write_page = partial(write_html, with_amounts=with_amounts)
    written = (_write(write_results, report, folder / RESULTS), _write(write_page, report, folder / PAGE))
    return tuple(problem for problem in written if problem is not None)


def _write(write: Callable[[RunReport, Path], None], report: RunReport, path: Path) -> Problem | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(report, path)
    except OSError as error:
        return Problem(
            code="artifact-not-written",
            summary=f"the run is done, and its `{path.name}` can't be written: {error.strerror}",
            where=Location(file=str(path)),
            hint="`dbt-stripe-sync report` writes the page again, once there is room and permission",
            severity=Severity.WARNING,
        )
    return None

"""Writes a run's artifacts next to dbt's: its results as JSON, and its report as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from dbt_stripe_sync.model.errors import Location, Problem, Severity
from dbt_stripe_sync.report.html import Page, build_page, write_page
from dbt_stripe_sync.report.run_json import write_results

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dbt_stripe_sync.model.run import RunReport
    from dbt_stripe_sync.report.summary import Summary

RESULTS = "stripe_sync_results.json"
PAGE = "stripe_sync_report.html"


class Artifacts(Struct, frozen=True):
    """Problems with writing the artifacts, and the run's totals, since its outcomes were read for them anyway."""

    problems: tuple[Problem, ...]
    summary: Summary


def write_artifacts(report: RunReport, folder: Path, *, with_amounts: bool = False) -> Artifacts:
    """Write both into dbt's target folder; `with_amounts` shows amounts in the page.

    Artifacts that can't be written are a warning, because the run itself is done.
    """
    page = Page(report, with_values=False, with_amounts=with_amounts)
    results, shown = folder / RESULTS, folder / PAGE
    # The page is filled while the results are written, since each pass reads the outcomes from the state.
    failed = _write(results, lambda: write_results(report, results, hear=page.add))
    if failed is not None:
        page = build_page(report, with_amounts=with_amounts)
    problems = (failed, _write(shown, lambda: write_page(page, shown)))
    return Artifacts(tuple(problem for problem in problems if problem is not None), page.summary)


def _write(path: Path, write: Callable[[], None]) -> Problem | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write()
    except OSError as error:
        return Problem(
            code="artifact-not-written",
            summary=f"the run is done, but its `{path.name}` can't be written: {error.strerror}",
            where=Location(file=str(path)),
            hint="`dbt-stripe-sync report` writes the page again, once the problem is fixed",
            severity=Severity.WARNING,
        )
    return None

"""Prefect: a task that syncs a project, and creates a table of the results as an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from dbt_stripe_sync import PlanOptions, Project, ProjectOptions
from dbt_stripe_sync.integrations.summary import explain_problems, summarize
from dbt_stripe_sync.model.errors import SyncError


class StripeSyncFailed(Exception):  # noqa: N818 - what Prefect shows as the state's message
    """The sync could not run, or left rows out."""


@task(name="stripe-sync")  # type: ignore[untyped-decorator] # Prefect's types are not at hand
def stripe_sync(
    project_dir: str | Path,
    *,
    target: str | None = None,
    agreed: bool = False,
    full_refresh: bool = False,
    fail_on_rejected: bool = True,
    **options: Any,
) -> dict[str, Any]:
    """Make Stripe match the models of a dbt project, and return the numbers of the run.

    `options` are the other fields of `ProjectOptions` (`select`, `profiles_dir`, `state_path` …). The task fails if
    nothing could be done and, unless `fail_on_rejected` is False, if rows or models were left out.
    """
    for name in ("profiles_dir", "state_path"):
        if options.get(name) is not None:
            options[name] = Path(options[name])
    for name in ("select", "exclude"):
        given = options.get(name, ())
        options[name] = (given,) if isinstance(given, str) else tuple(given)
    project = Project(ProjectOptions(project_dir=Path(project_dir), target=target, **options))
    try:
        report = project.run(PlanOptions(full_refresh=full_refresh), agreed=agreed)
    except SyncError as error:
        raise StripeSyncFailed(explain_problems(error.problems)) from None
    summary = summarize(report, project.artifacts)
    create_markdown_artifact(key="stripe-sync", markdown=summary.as_markdown(), description="What the sync did")
    logger = get_run_logger()
    for sync in summary.syncs:
        logger.info("%s: %s", sync.sync, sync.explanation)
    if fail_on_rejected and not summary.has_succeeded:
        raise StripeSyncFailed(summary.explanation)
    return summary.as_json()

"""Keep Stripe in sync with a warehouse, from dbt models tagged in YAML.

From Python, for orchestrators that need no subprocess:

    from dbt_stripe_sync import Project, ProjectOptions

    project = Project(ProjectOptions(project_dir=Path("shop"), target="prod"))
    report = project.run()          # a RunReport: status, counts, problems, outcomes
    with project.plan() as plan:    # a Plan: what `run` would send
        for change in plan.changes: ...
        report = project.apply(plan)

Everything raises a `SyncError` whose `problems` say what, where and how to fix it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbt_stripe_sync.api import Project
    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.errors import Location, Problem, Severity, SyncError
    from dbt_stripe_sync.model.plan import PermanentRemovals, Plan, PlanOptions, SyncCounts
    from dbt_stripe_sync.model.run import Outcome, RunReport, RunStatus, Status
    from dbt_stripe_sync.workload import ProjectOptions

    __version__: str

__all__ = [
    "Change",
    "Location",
    "Outcome",
    "PermanentRemovals",
    "Plan",
    "PlanOptions",
    "Problem",
    "Project",
    "ProjectOptions",
    "RunReport",
    "RunStatus",
    "Severity",
    "Status",
    "SyncCounts",
    "SyncError",
]

_HOMES = {
    "Project": "api",
    "ProjectOptions": "workload",
    "PlanOptions": "model.plan",
    "Change": "model.change",
    **dict.fromkeys(("PermanentRemovals", "Plan", "SyncCounts"), "model.plan"),
    **dict.fromkeys(("Outcome", "RunReport", "RunStatus", "Status"), "model.run"),
    **dict.fromkeys(("Location", "Problem", "Severity", "SyncError"), "model.errors"),
}


def _version() -> str:
    """The installed version, which comes from the release's tag."""
    # This takes 20 ms, which a help text doesn't need.
    from importlib import metadata

    return metadata.version("dbt-stripe-sync")


def __getattr__(name: str) -> Any:
    """Import names on demand: dbt imports this package at every start, and must not wait for it."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name == "__version__":
        return _version()
    if name == "plugins":
        return _dbt_plugins()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _dbt_plugins() -> list[type]:
    """The plugin that dbt 1.x finds here.

    dbt reads `plugins` of every module whose name begins with `dbt_`. It calls that interface experimental. If it
    changes, there is no plugin, and `dbt-stripe-sync parse` reports the same problems.
    """
    try:
        return list(import_module(f"{__name__}.dbt.plugin").find_plugins())
    except Exception:  # noqa: BLE001 - whatever dbt has changed, its own commands must go on
        return []

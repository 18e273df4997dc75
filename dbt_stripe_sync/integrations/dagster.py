"""Dagster: one asset for each sync, downstream of the asset of its dbt model, with metadata and a check."""

from __future__ import annotations

from collections.abc import Iterator  # noqa: TC003 - Dagster reads the annotations of the assets' function
from typing import TYPE_CHECKING, Any

import dagster as dg
from msgspec.structs import replace

from dbt_stripe_sync import PlanOptions, Project
from dbt_stripe_sync.dbt.artifact import read_artifact
from dbt_stripe_sync.integrations.summary import explain_problems, summarize
from dbt_stripe_sync.model.errors import SyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dbt_stripe_sync.integrations.summary import RunSummary, SyncSummary
    from dbt_stripe_sync.model.sync import Sync
    from dbt_stripe_sync.workload import ProjectOptions

CHECK = "every_row_is_in_stripe"


def build_stripe_sync_assets(  # noqa: PLR0913 - one a setting
    options: ProjectOptions,
    *,
    dbt_asset_key: Callable[[Mapping[str, Any]], dg.AssetKey] | None = None,
    key_prefix: Sequence[str] = ("stripe",),
    group_name: str = "stripe",
    name: str = "stripe_sync",
    agreed: bool = False,
    is_blocking: bool = False,
) -> dg.AssetsDefinition:
    """Assets for the syncs of a project.

    Its manifest must exist; neither a Stripe key nor the warehouse is needed.

    `dbt_asset_key` returns the asset key of a node of dbt's manifest; `DagsterDbtTranslator.get_asset_key` does, and is
    used if dagster-dbt is installed. `agreed` is that of `Project.run`. With `is_blocking`, a sync that is not complete
    keeps downstream assets from running. Raises `SyncError`.
    """
    workload = Project(options).workload
    nodes = read_artifact(workload.dbt.target_path / "manifest.json", "manifest")["nodes"]
    key_of_node = dbt_asset_key or _default_asset_key()
    keys = {sync.name: dg.AssetKey([*key_prefix, sync.name]) for sync in workload.syncs}

    def deps_of(sync: Sync) -> list[dg.AssetKey]:
        models = [key_of_node(nodes[model.unique_id]) for model in sync.models]
        return [*dict.fromkeys(models), *(keys[other] for other in sync.depends_on if other in keys)]

    @dg.multi_asset(  # type: ignore[untyped-decorator] # Dagster's types are not at hand
        name=name,
        can_subset=True,
        specs=[
            dg.AssetSpec(
                keys[sync.name],
                deps=deps_of(sync),
                group_name=group_name,
                kinds={"stripe"},
                skippable=True,
                description=f"Stripe {sync.resource} objects made from the rows of `{sync.model.name}`",
            )
            for sync in workload.syncs
        ],
        check_specs=[dg.AssetCheckSpec(CHECK, asset=key, blocking=is_blocking) for key in keys.values()],
    )
    def stripe_sync(context) -> Iterator[Any]:  # type: ignore[no-untyped-def] # noqa: ANN001 - Dagster takes no text
        selected = [name for name, key in keys.items() if key in context.selected_asset_keys]
        yield from _run(replace(options, select=tuple(f"sync:{name}" for name in selected)), keys, agreed=agreed)

    return stripe_sync


def _run(options: ProjectOptions, keys: Mapping[str, dg.AssetKey], *, agreed: bool) -> Iterator[Any]:
    project = Project(options)
    try:
        report = project.run(PlanOptions(), agreed=agreed)
    except SyncError as error:
        codes = sorted({problem.code for problem in error.problems})
        raise dg.Failure(explain_problems(error.problems), metadata={"codes": dg.MetadataValue.json(codes)}) from None
    summary = summarize(report, project.artifacts)
    for sync in summary.syncs:
        key = keys[sync.sync]
        # A sync that was held back has no new data, so its downstream assets must not run.
        if sync.held is None:
            yield dg.MaterializeResult(asset_key=key, metadata=_metadata(sync, summary))
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=CHECK,
            passed=sync.is_complete,
            severity=dg.AssetCheckSeverity.ERROR,
            description=sync.explanation,
            metadata={"not_done": sync.failed, "run": summary.run_id},
        )


def _metadata(sync: SyncSummary, summary: RunSummary) -> dict[str, Any]:
    return {
        "dagster/row_count": sync.rows,
        "resource": sync.resource,
        "unchanged": sync.unchanged,
        "rejected": sync.rejected,
        **{f"changes_{status}": count for status, count in sync.statuses.items()},
        **{f"done_{action}": count for action, count in sync.done.items()},
        "run": summary.run_id,
        "account": summary.account,
        "livemode": summary.livemode,
        "report": dg.MetadataValue.path(summary.report),
    }


def _default_asset_key() -> Callable[[Mapping[str, Any]], dg.AssetKey]:
    try:
        from dagster_dbt import DagsterDbtTranslator
    except ImportError:
        return lambda node: dg.AssetKey([node["name"]])
    key: Callable[[Mapping[str, Any]], dg.AssetKey] = DagsterDbtTranslator().get_asset_key
    return key

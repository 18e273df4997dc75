"""The workflow of `undo`: settle, plan the way back from a run, ask, apply, report. It is a run with another plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.engine.plan.plan_file import PlanWriter
from dbt_stripe_sync.engine.plan.undoing import UndoMaker, UndoScope
from dbt_stripe_sync.model.errors import Location, Problem, StateError
from dbt_stripe_sync.model.run import Status, new_run_id
from dbt_stripe_sync.pipeline import ending_of, failure_remembered, remember, send, sending_of, settle
from dbt_stripe_sync.plan_header import build_header
from dbt_stripe_sync.project_state import no_run

if TYPE_CHECKING:
    from pathlib import Path

    from dbt_stripe_sync.engine.apply.lanes import Stop
    from dbt_stripe_sync.model.plan import Plan
    from dbt_stripe_sync.model.progress import Progress
    from dbt_stripe_sync.model.run import RunReport
    from dbt_stripe_sync.pipeline import RunOptions
    from dbt_stripe_sync.wiring import Parts
    from dbt_stripe_sync.workload import Workload


async def make_undo_plan(workload: Workload, parts: Parts, undone: str, path: Path) -> Plan:
    """Plan how to reverse what a run has changed, in a file at `path`.

    `undone` is the beginning of the run's id. Changes nothing in Stripe. Raises `SyncError`.
    """
    run_id = parts.state.find_run(undone)
    if run_id is None:
        raise StateError(no_run(workload.state_place, undone))
    report = parts.state.report(run_id)
    if report is not None and report.done.get(Status.SUCCEEDED.value) and not parts.state.syncs_of_run(run_id):
        raise StateError(_forgotten(workload, run_id))
    writer = PlanWriter(path, build_header(workload, parts), parts.state.sign)
    try:
        options = workload.options
        left_alone = workload.known if options.select or options.exclude or options.selector else frozenset()
        scope = UndoScope(run_id=run_id, syncs=workload.syncs, catalog=workload.catalog, left_alone=left_alone)
        return await UndoMaker(scope, parts.stripe, parts.state, parts.clock, writer).make()
    except BaseException:
        writer.discard()
        raise


def _forgotten(workload: Workload, run_id: str) -> Problem:
    return Problem(
        code="run-forgotten",
        summary=f"the state no longer has what run `{run_id}` changed: changes are kept for 90 days",
        where=Location(file=str(workload.state_place)),
        hint="change the objects in Stripe by hand",
    )


async def undo(
    workload: Workload, parts: Parts, undone: str, options: RunOptions, progress: Progress, stop: Stop
) -> RunReport:
    """Send the plan that reverses a run. `options.review` sees the plan first, and may raise `PlanError`."""
    if parts.state.find_run(undone) is None:
        raise StateError(no_run(workload.state_place, undone))
    started = parts.clock.now()
    run_id = new_run_id(started)
    parts.state.start_run(run_id, command="undo", target=workload.target)
    progress.begin_run(run_id)
    with failure_remembered(parts, run_id):
        settled = await settle(parts, run_id, progress)
        plan = await make_undo_plan(workload, parts, undone, parts.state.scratch / "plan.jsonl")
        if options.review is not None:
            options.review(plan, is_first=False)
        tally = await send(parts, plan, sending_of(workload, plan, fail_fast=options.fail_fast), run_id, progress, stop)
        return remember(parts, plan, run_id, ending_of(parts, tally, stop, settled, started))

"""The workflow: discover the syncs, read their rows, compare, plan, apply, report.

Each public function here is one thing that a user asks for. The parts behind it are connected in `wiring.py`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from dbt_stripe_sync.engine.apply.journal import Journal
from dbt_stripe_sync.engine.apply.lanes import Sending, Stop, apply_changes
from dbt_stripe_sync.engine.apply.recovery import settle_intents
from dbt_stripe_sync.engine.apply.refresh import commit_refreshes
from dbt_stripe_sync.engine.apply.reporting import Ending, build_report
from dbt_stripe_sync.engine.apply.send import Sender
from dbt_stripe_sync.engine.plan.guards import find_unagreed, refuse_unagreed
from dbt_stripe_sync.engine.plan.making import PlanMaker, Scope, Sources
from dbt_stripe_sync.engine.plan.plan_file import PlanWriter
from dbt_stripe_sync.engine.plan.stale_state import check_plan_not_behind
from dbt_stripe_sync.model.errors import StateError, SyncError
from dbt_stripe_sync.model.run import new_run_id
from dbt_stripe_sync.model_columns import check_models
from dbt_stripe_sync.plan_header import build_header, check_plan
from dbt_stripe_sync.warehouse_diff import compared_there, open_diffs
from dbt_stripe_sync.wiring import opened_warehouse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from dbt_stripe_sync.engine.apply.lanes import Tally
    from dbt_stripe_sync.model.plan import Agree, Plan, PlanOptions, Review
    from dbt_stripe_sync.model.progress import Progress
    from dbt_stripe_sync.model.run import Outcome, RunReport
    from dbt_stripe_sync.wiring import Parts
    from dbt_stripe_sync.workload import Workload


class RunOptions(Struct, frozen=True, kw_only=True):
    """How to send a plan: `agree` approves removals that can't be undone, `fail_fast` stops at the first failure."""

    agree: Agree
    review: Review | None = None
    fail_fast: bool = False


async def make_plan(workload: Workload, parts: Parts, options: PlanOptions, progress: Progress, path: Path) -> Plan:
    """Read the tagged models, compare them with what was last written, and plan the changes in the file `path`.

    Changes nothing in Stripe. Raises `SyncError`.
    """
    with opened_warehouse(workload.dbt) as warehouse:
        check_models(workload, warehouse)
        writer = PlanWriter(path, build_header(workload, parts), parts.state.sign)
        try:
            scope = Scope(
                syncs=workload.syncs,
                catalog=workload.catalog,
                held=workload.held,
                dependents=workload.dependents,
                warnings=(*workload.warnings, *workload.doubts),
                calls_per_second=workload.limits(livemode=writer.header.livemode).account,
                known=workload.known,
                max_reads=workload.settings.max_reads,
                compared_there=compared_there(workload),
            )
            sources = Sources(
                warehouse=warehouse,
                stripe=parts.stripe,
                state=parts.state,
                clock=parts.clock,
                diffs=open_diffs(workload, warehouse),
            )
            return await PlanMaker(scope, sources, options, progress, writer).make()
        except BaseException:
            writer.discard()
            raise


async def run(
    workload: Workload, parts: Parts, planning: PlanOptions, options: RunOptions, progress: Progress, stop: Stop
) -> RunReport:
    """Settle, plan, ask about permanent removals, and apply: what `dbt-stripe-sync` does without a command.

    Raises `PlanError` if the plan isn't approved; then none of it was sent.
    """
    started = parts.clock.now()
    run_id = new_run_id(started)
    parts.state.start_run(run_id, command="run" if planning.only is None else "retry", target=workload.target)
    progress.begin_run(run_id)
    with failure_remembered(parts, run_id):
        settled = await settle(parts, run_id, progress)
        plan = await make_plan(workload, parts, planning, progress, parts.state.scratch / "plan.jsonl")
        if options.review is not None:
            options.review(plan, is_first=not parts.state.summary())
        unagreed = find_unagreed(workload.syncs, workload.catalog, plan.counts)
        if unagreed and not options.agree(plan, unagreed):
            raise refuse_unagreed(unagreed)
        tally = await send(parts, plan, sending_of(workload, plan, fail_fast=options.fail_fast), run_id, progress, stop)
        return remember(parts, plan, run_id, ending_of(parts, tally, stop, settled, started))


async def apply(
    workload: Workload, parts: Parts, plan: Plan, progress: Progress, stop: Stop, *, fail_fast: bool = False
) -> RunReport:
    """Send a saved plan.

    It was reviewed, so it doesn't ask. If an earlier apply of it was interrupted, its open calls are settled and the
    rest is sent. Raises `PlanError` if it was made for something else, or if the state or the manifest has changed
    since.
    """
    check_plan(plan, workload, parts)
    started = parts.clock.now()
    run_id = new_run_id(started)
    parts.state.start_run(run_id, command="apply", target=workload.target, header=plan.header)
    progress.begin_run(run_id)
    with failure_remembered(parts, run_id):
        settled = await settle(parts, run_id, progress)
        await check_plan_not_behind(workload.syncs, workload.catalog, parts.stripe, parts.state, plan)
        ended = parts.state.ended_changes(plan.header.plan_id)
        sending = replace(sending_of(workload, plan, fail_fast=fail_fast), ended=ended)
        tally = await send(parts, plan, sending, run_id, progress, stop)
        return remember(parts, plan, run_id, ending_of(parts, tally, stop, settled, started))


async def settle(parts: Parts, run_id: str, progress: Progress) -> Sequence[Outcome]:
    """Resolve the changes that an earlier run left open, before anything is compared."""
    async with _sender(parts, run_id) as sender:
        return await settle_intents(sender, parts.state, progress)


def sending_of(workload: Workload, plan: Plan, *, fail_fast: bool) -> Sending:
    """How a plan's changes are sent."""
    limits = workload.limits(livemode=plan.header.livemode)
    return Sending(
        fail_fast=fail_fast,
        max_rejections_per_cause=workload.settings.max_rejections_per_cause,
        pace=limits.account,
    )


async def send(parts: Parts, plan: Plan, sending: Sending, run_id: str, progress: Progress, stop: Stop) -> Tally:
    """Write record updates that need no call, then send every change."""
    commit_refreshes(parts.state, plan.refreshes, run_id)
    progress.begin_apply(max(0, len(plan.changes) - len(sending.ended)))
    async with _sender(parts, run_id) as sender:
        return await apply_changes(plan.changes, plan.counts, sender, progress, stop, sending=sending)


def ending_of(parts: Parts, tally: Tally, stop: Stop, settled: Sequence[Outcome], started: datetime) -> Ending:
    """The results of a run at its end."""
    return Ending(
        tally=tally,
        stop=stop,
        settled=settled,
        requests=parts.stripe.requests,
        reads=parts.stripe.reads,
        started_at=started,
        finished_at=parts.clock.now(),
    )


def remember(parts: Parts, plan: Plan, run_id: str, ending: Ending) -> RunReport:
    """Store the report of a run in the state, and return it."""
    report = build_report(plan, ending, parts.state, run_id)
    parts.state.finish_run(report)
    return report


@asynccontextmanager
async def _sender(parts: Parts, run_id: str) -> AsyncIterator[Sender]:
    async with Journal(parts.state) as journal:
        yield Sender(stripe=parts.stripe, journal=journal, catalog=parts.catalog, clock=parts.clock, run_id=run_id)


@contextmanager
def failure_remembered(parts: Parts, run_id: str) -> Iterator[None]:
    """Record a run that failed or was declined, so that `runs` shows it, unless the state itself can't be written."""
    try:
        yield
    except SyncError as error:
        with suppress(StateError):
            parts.state.fail_run(run_id, error.problems)
        raise

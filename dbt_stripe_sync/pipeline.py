"""The story: discover the syncs, read their rows, compare, plan, apply, report.

Each public function here is one thing that a person asks for. The parts behind it are wired in `wiring.py`.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

from dbt_stripe_sync.engine.apply.journal import Journal
from dbt_stripe_sync.engine.apply.lanes import Sending, Stop, apply_changes
from dbt_stripe_sync.engine.apply.rebuild import rebuild_records
from dbt_stripe_sync.engine.apply.recovery import settle_intents
from dbt_stripe_sync.engine.apply.refresh import commit_refreshes
from dbt_stripe_sync.engine.apply.send import Sender
from dbt_stripe_sync.engine.plan.behind import Behind
from dbt_stripe_sync.engine.plan.guards import find_unagreed, refuse_unagreed
from dbt_stripe_sync.engine.plan.making import PlanMaker, PlanOptions, PlanProgress, Scope, Sources, note_unsettled
from dbt_stripe_sync.engine.plan.plan_file import PlanWriter
from dbt_stripe_sync.engine.plan.references import ExistingObjects
from dbt_stripe_sync.engine.stage.workspace import Workspace
from dbt_stripe_sync.model.change import Action
from dbt_stripe_sync.model.errors import Problem, Severity, StateError, SyncError
from dbt_stripe_sync.model.run import RunReport, RunStatus, Status
from dbt_stripe_sync.plan_header import build_header, check_plan
from dbt_stripe_sync.wiring import check_models, opened_warehouse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from dbt_stripe_sync.engine.apply.lanes import Tally
    from dbt_stripe_sync.engine.apply.rebuild import Rebuilt
    from dbt_stripe_sync.model.plan import PermanentRemovals, Plan
    from dbt_stripe_sync.model.run import Outcome
    from dbt_stripe_sync.wiring import Parts, Workload


class Progress(PlanProgress, Protocol):
    """Hears how far a run has come."""

    def begin_apply(self, total: int) -> None:
        """So many changes are about to be sent."""
        ...

    def on_outcome(self, outcome: Outcome) -> None:
        """One change has ended."""
        ...


class Agree(Protocol):
    """Says whether a plan may be sent that removes for good what no limit of the project bounds."""

    def __call__(self, plan: Plan, removals: Sequence[PermanentRemovals], /) -> bool:
        """Called once the plan is made and before anything of it is sent; `removals` are those in question."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a plan is sent: `agree` answers for removals that can't be undone, `fail_fast` ends at the first failure."""

    agree: Agree
    fail_fast: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of the changes that an earlier run had left open."""

    outcomes: tuple[Outcome, ...] = ()


async def make_plan(workload: Workload, parts: Parts, options: PlanOptions, progress: Progress, path: Path) -> Plan:
    """Read the tagged models, compare them with what was last written, and say what has to change, in a file at `path`.

    Sends nothing that changes Stripe. Raises `SyncError`.
    """
    with opened_warehouse(workload.dbt) as warehouse:
        check_models(workload, warehouse)
        writer = PlanWriter(path, build_header(workload, parts))
        try:
            scope = Scope(
                syncs=workload.syncs,
                catalog=workload.catalog,
                held=workload.held,
                dependents=workload.dependents,
                warnings=workload.warnings,
            )
            sources = Sources(warehouse=warehouse, stripe=parts.stripe, state=parts.state, clock=parts.clock)
            return await PlanMaker(scope, sources, options, progress, writer).make()
        except BaseException:
            writer.discard()
            raise


async def settle(workload: Workload, parts: Parts, run_id: str, progress: Progress) -> Settled:
    """Bring what an earlier run left open to its end, before anything is compared."""
    intents = list(parts.state.open_intents())
    if not intents:
        return Settled()
    workspace = Workspace(parts.state.workspace)
    existing = ExistingObjects(workspace, parts.stripe, workload.catalog, parts.clock)
    async with Journal(parts.state) as journal:
        sender = Sender(stripe=parts.stripe, journal=journal, catalog=parts.catalog, clock=parts.clock, run_id=run_id)
        outcomes = await settle_intents(intents, sender, existing, parts.state, progress)
    workspace.close()
    return Settled(outcomes=tuple(outcomes))


async def apply_plan(
    parts: Parts, plan: Plan, progress: Progress, stop: Stop, *, run_id: str, sending: Sending
) -> RunReport:
    """Send a plan's changes and say what became of each. Raises `StateError` where the state can't be written."""
    started = parts.clock.now()
    commit_refreshes(parts.state, plan.refreshes, run_id)
    progress.begin_apply(max(0, len(plan.changes) - len(sending.ended)))
    async with Journal(parts.state) as journal:
        sender = Sender(stripe=parts.stripe, journal=journal, catalog=parts.catalog, clock=parts.clock, run_id=run_id)
        tally = await apply_changes(plan.changes, plan.counts, sender, progress, stop, sending=sending)
    problems = (*plan.problems, *_left_out(tally, stop))
    owed = parts.state.owed()
    return RunReport(
        run_id=run_id,
        header=plan.header,
        status=_status(plan, problems, {status: tally.done[status] for status in Status}, stop, is_owed=bool(owed)),
        started_at=started,
        finished_at=parts.clock.now(),
        counts=plan.counts,
        problems=problems,
        outcomes=parts.state.outcomes(run_id),
        done={status.value: tally.done[status] for status in Status},
        requests=parts.stripe.requests,
        owed=tuple(owed),
    )


async def run(
    workload: Workload, parts: Parts, planning: PlanOptions, options: RunOptions, progress: Progress, stop: Stop
) -> RunReport:
    """Settle, plan, ask where something goes for good, and apply: what `dbt-stripe-sync` does without a command.

    Raises `PlanError` where nobody agrees to the plan; nothing of it has been sent then.
    """
    started = parts.clock.now()
    run_id = new_run_id(started)
    parts.state.start_run(run_id, command="run" if planning.only is None else "retry", target=workload.target)
    with _failure_remembered(parts, run_id):
        settled = await settle(workload, parts, run_id, progress)
        plan = await make_plan(workload, parts, planning, progress, parts.state.scratch / "plan.jsonl")
        unagreed = find_unagreed(workload.syncs, workload.catalog, plan.counts)
        if unagreed and not options.agree(plan, unagreed):
            raise refuse_unagreed(unagreed)
        sending = Sending(fail_fast=options.fail_fast)
        report = await apply_plan(parts, plan, progress, stop, run_id=run_id, sending=sending)
        report = _as_a_whole(report, settled, started)
        parts.state.finish_run(report)
    return report


async def apply(
    workload: Workload, parts: Parts, plan: Plan, progress: Progress, stop: Stop, *, fail_fast: bool = False
) -> RunReport:
    """Send a plan that was made before. Whoever has it sent has seen it, so nobody is asked.

    Where an earlier apply of it stopped half-way, what that one left open is settled and the rest is sent. Raises
    `PlanError` where it was made for something else, or where the state or the manifest has moved since.
    """
    check_plan(plan, workload, parts)
    started = parts.clock.now()
    run_id = new_run_id(started)
    parts.state.start_run(run_id, command="apply", target=workload.target, header=plan.header)
    with _failure_remembered(parts, run_id):
        settled = await settle(workload, parts, run_id, progress)
        await _check_not_behind(workload, parts, plan)
        sending = Sending(fail_fast=fail_fast, ended=parts.state.ended_changes(plan.header.plan_id))
        report = await apply_plan(parts, plan, progress, stop, run_id=run_id, sending=sending)
        report = _as_a_whole(report, settled, started)
        parts.state.finish_run(report)
    return report


async def _check_not_behind(workload: Workload, parts: Parts, plan: Plan) -> None:
    """A state that was put back with the plan that was made from it looks as if nothing of that had been sent."""
    workspace = Workspace(parts.state.workspace)
    note_unsettled(workspace, parts.state)
    behind = Behind(workspace, parts.stripe, parts.state)
    counts = {counts.sync: counts.by_action for counts in plan.counts}
    for sync in workload.syncs:
        made, replaced = (counts.get(sync.name, {}).get(action.value, 0) for action in (Action.CREATE, Action.REPLACE))
        resource = workload.catalog.resources[sync.resource]
        await behind.check(sync, resource, makes_new=made > 0, may_replace=replaced > 0)
    workspace.close()


@contextmanager
def _failure_remembered(parts: Parts, run_id: str) -> Iterator[None]:
    """Let `runs` tell of a run that could not go on, unless it is the state itself that takes nothing more."""
    try:
        yield
    except SyncError as error:
        with suppress(StateError):
            parts.state.fail_run(run_id, error.problems)
        raise


async def rebuild(workload: Workload, parts: Parts) -> tuple[Rebuilt, ...]:
    """Give the state back the records that it lacks, from the tags of the objects in Stripe. Changes nothing there."""
    # What a part of a sync sets has no tag of its own: the next run compares it with the object.
    whole = [sync for sync in workload.syncs if sync.part_of is None]
    return await rebuild_records(
        whole, workload.catalog, parts.stripe, parts.state, run_id=new_run_id(parts.clock.now())
    )


def new_run_id(now: datetime) -> str:
    """An id that sorts by time and that a person can say."""
    return f"{now:%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"


def _status(
    plan: Plan, problems: Sequence[Problem], done: dict[Status, int], stop: Stop, *, is_owed: bool
) -> RunStatus:
    if stop:
        return RunStatus.INTERRUPTED
    failed = sum(count for status, count in done.items() if status is not Status.SUCCEEDED)
    held = any(counts.held for counts in plan.counts)
    if failed or held or is_owed or any(problem.severity is Severity.ERROR for problem in problems):
        return RunStatus.PARTIAL
    return RunStatus.SUCCEEDED


def _left_out(tally: Tally, stop: Stop) -> Iterator[Problem]:
    """What of a plan this run did not do."""
    if tally.before:
        yield Problem(
            code="continued",
            summary=f"{tally.before:,} changes of this plan were done already, by an earlier `apply`",
            severity=Severity.WARNING,
        )
    if tally.not_sent:
        yield Problem(
            code="not-sent",
            summary=f"{tally.not_sent:,} changes were not sent: {stop.reason or 'their sync was stopped'}",
            hint="run it again: what was sent is remembered, and the rest is planned anew; a plan's file goes on where"
            " `apply` has stopped",
        )


def _as_a_whole(report: RunReport, settled: Settled, started: datetime) -> RunReport:
    """The report with what was settled before, and with the time that reading and comparing took."""
    report = replace(report, started_at=started)
    if not settled.outcomes:
        return report
    done = dict(report.done)
    for outcome in settled.outcomes:
        done[outcome.status.value] = done.get(outcome.status.value, 0) + 1
    clean = all(outcome.status is Status.SUCCEEDED for outcome in settled.outcomes)
    status = report.status if clean or report.status is not RunStatus.SUCCEEDED else RunStatus.PARTIAL
    return replace(report, done=done, status=status)

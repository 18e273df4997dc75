"""Builds the report of a run from its plan and outcomes: status, totals, and changes that were not sent."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.errors import Location, Problem, Severity
from dbt_stripe_sync.model.run import RunReport, RunStatus, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from dbt_stripe_sync.engine.apply.lanes import Stop, Tally
    from dbt_stripe_sync.engine.ports import State
    from dbt_stripe_sync.model.plan import Plan, SyncCounts
    from dbt_stripe_sync.model.run import Outcome


class Ending(Struct, frozen=True, kw_only=True):
    """The results of sending a plan. `settled` has the outcomes of changes that an earlier run left open."""

    tally: Tally
    stop: Stop
    settled: Sequence[Outcome]
    requests: int
    reads: int
    started_at: datetime
    finished_at: datetime


def build_report(plan: Plan, ending: Ending, state: State, run_id: str) -> RunReport:
    """The report of a run. Raises `StateError` if the state can't be read."""
    problems = (*plan.problems, *_not_sent(ending.tally, ending.stop))
    done = {status: ending.tally.done[status] for status in Status}
    for outcome in ending.settled:
        done[outcome.status] += 1
    owed = tuple(state.owed())
    return RunReport(
        run_id=run_id,
        header=plan.header,
        status=_status(plan, problems, done, ending.stop, is_owed=bool(owed)),
        started_at=ending.started_at,
        finished_at=ending.finished_at,
        counts=tuple(_with_results(counts, ending) for counts in plan.counts),
        problems=problems,
        outcomes=state.outcomes(run_id),
        done={status.value: count for status, count in done.items()},
        requests=ending.requests,
        reads=ending.reads,
        owed=owed,
    )


def _with_results(counts: SyncCounts, ending: Ending) -> SyncCounts:
    """A sync's counts with the results of its rows. Counts of further steps are separate, and stay unchanged."""
    counts = replace(counts, notes=tuple(note for note in counts.notes if not note.before_sending))
    if counts.part_of is not None:
        return counts
    tally, sync = ending.tally, counts.sync
    earlier = Counter(outcome.status for outcome in ending.settled if outcome.change.sync == sync)
    return replace(
        counts,
        ended={status.value: tally.rows[sync, status] for status in Status if tally.rows[sync, status]},
        steps={status.value: tally.steps[sync, status] for status in Status if tally.steps[sync, status]},
        before=tally.before[sync],
        earlier={status.value: number for status, number in earlier.items()},
    )


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


def _not_sent(tally: Tally, stop: Stop) -> Iterator[Problem]:
    """Problems for the changes of the plan that this run did not send."""
    if before := tally.before.total() + tally.steps_before:
        yield Problem(
            code="continued",
            summary=f"{_changes(before, ' of this plan')} done already, by an earlier `apply`",
            severity=Severity.WARNING,
        )
    for sync, reason in tally.closed.items():
        if count := tally.not_sent[sync]:
            yield Problem(
                code="sync-stopped",
                summary=f"{_changes(count, f' of `{sync}`')} not sent: {reason}",
                where=Location(sync=sync),
                hint="fix the cause and run again: the remaining rows are planned again."
                " the setting `max_rejections_per_cause` changes the limit"
                if "rejected" in reason
                else "give the key the permission and run again",
            )
    if count := sum(number for sync, number in tally.not_sent.items() if sync not in tally.closed):
        yield Problem(
            code="not-sent",
            summary=f"{_changes(count)} not sent: {stop.reason or 'their sync was stopped'}",
            hint="run it again: what was sent is recorded, and the rest is planned again; `apply` of a saved plan"
            " continues where it stopped",
        )


def _changes(count: int, of: str = "") -> str:
    return counted(count, f"change{of} was", f"changes{of} were")

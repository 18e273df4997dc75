"""A run as the few numbers that an orchestrator stores, without values or keys of rows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field, json

from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.errors import Severity
from dbt_stripe_sync.model.run import RunStatus, Status
from dbt_stripe_sync.report.problems_text import render_problems

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from dbt_stripe_sync.model.errors import Problem
    from dbt_stripe_sync.model.run import RunReport


class SyncSummary(Struct, frozen=True, kw_only=True):
    """One sync: its rows, how many were unchanged or rejected by a check, and its changes by status.

    `held` is the reason if none of it was sent. `done` counts the changes that succeeded, by action.
    """

    sync: str
    model: str
    resource: str
    rows: int
    unchanged: int
    rejected: int
    held: str | None
    statuses: Mapping[str, int] = field(default_factory=dict)
    done: Mapping[str, int] = field(default_factory=dict)
    errors: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        """Rows that are not in Stripe as the model has them."""
        succeeded = Status.SUCCEEDED.value
        return self.rejected + sum(count for status, count in self.statuses.items() if status != succeeded)

    @property
    def is_complete(self) -> bool:
        """Whether every row is in sync."""
        return self.held is None and not self.failed and not self.errors

    @property
    def explanation(self) -> str:
        """Why it is not complete, in a line."""
        if self.held is not None:
            return f"held: {self.held}"
        rows = f"{self.failed:,} of {counted(self.rows, 'row')} {'is' if self.failed == 1 else 'are'} not in Stripe"
        parts = [f"{rows} as the model has {'it' if self.failed == 1 else 'them'}"] if self.failed else []
        return "; ".join([*parts, *self.errors]) or "every row is in sync"


class RunSummary(Struct, frozen=True, kw_only=True):
    """A run. `owed` counts steps that are still to be done; `results` and `report` are the files that it wrote."""

    run_id: str
    status: str
    account: str
    livemode: bool
    requests: int
    seconds: float
    owed: int
    syncs: tuple[SyncSummary, ...]
    results: str
    report: str

    @property
    def has_succeeded(self) -> bool:
        """Whether nothing was rejected, held or left out."""
        return self.status == RunStatus.SUCCEEDED.value

    @property
    def explanation(self) -> str:
        """How it ended, with every sync that is not complete."""
        left = "; ".join(f"{sync.sync}: {sync.explanation}" for sync in self.syncs if not sync.is_complete)
        owed = f"{counted(self.owed, 'step is', 'steps are')} still owed" if self.owed else ""
        told = "; ".join(filter(None, (owed, left)))
        return f"run {self.run_id} ended {self.status}{f': {told}' if told else ''}"

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values. Airflow 3 stores a tuple as something other than a list."""
        values: dict[str, Any] = json.decode(json.encode(self))
        return values

    def as_markdown(self) -> str:
        """A table of the syncs."""
        mode = "live mode" if self.livemode else "test mode"
        requests = counted(self.requests, "request")
        head = f"Run `{self.run_id}`: **{self.status}**, account `{self.account}`, {mode}, {requests}"
        lines = ["| sync | resource | rows | unchanged | done | not done |", "|---|---|--:|--:|--:|---|"]
        for sync in self.syncs:
            done = ", ".join(f"{count:,} {action}" for action, count in sorted(sync.done.items())) or "-"
            left = "-" if sync.is_complete else _cell(sync.explanation)
            lines.append(f"| {sync.sync} | {sync.resource} | {sync.rows:,} | {sync.unchanged:,} | {done} | {left} |")
        return "\n".join([head, "", *lines])


def summarize(report: RunReport, artifacts: tuple[Path, Path]) -> RunSummary:
    """The numbers of a run's report."""
    statuses: dict[str, Counter[str]] = {}
    done: dict[str, Counter[str]] = {}
    for outcome in report.outcomes:
        sync = outcome.change.sync
        statuses.setdefault(sync, Counter())[outcome.status.value] += 1
        if outcome.status is Status.SUCCEEDED:
            done.setdefault(sync, Counter())[outcome.change.action.value] += 1
    return RunSummary(
        run_id=report.run_id,
        status=report.status.value,
        account=report.header.account,
        livemode=report.header.livemode,
        requests=report.requests,
        seconds=(report.finished_at - report.started_at).total_seconds(),
        owed=len(report.owed),
        syncs=tuple(
            SyncSummary(
                sync=counts.sync,
                model=counts.model,
                resource=counts.resource,
                rows=counts.rows,
                unchanged=counts.same,
                rejected=counts.rejected,
                held=counts.held,
                statuses=dict(statuses.get(counts.sync, {})),
                done=dict(done.get(counts.sync, {})),
                errors=tuple(_errors_of(report.problems, counts.sync, counts.model)),
            )
            for counts in report.counts
        ),
        results=str(artifacts[0]),
        report=str(artifacts[1]),
    )


def explain_problems(problems: Iterable[Problem]) -> str:
    """Problems as the command line prints them."""
    return "\n".join(render_problems(tuple(problems)))


def _errors_of(problems: Iterable[Problem], sync: str, model: str) -> Iterable[str]:
    """Codes of errors of a sync as a whole: a limit that it exceeded, a model without rows."""
    for problem in problems:
        is_row = problem.where.key is not None
        if (
            problem.severity is Severity.ERROR
            and not is_row
            and {sync, model} & {problem.where.sync, problem.where.model}
        ):
            yield problem.code


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

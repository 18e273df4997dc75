"""What a run did, on a terminal: a line a sync, failures by their cause, sums, and where the details lie."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.cells import cell_len

from dbt_stripe_sync.model.run import RunStatus, Status
from dbt_stripe_sync.report.lines import Paint, counted, cut, plain, took, wrap, wrap_marked
from dbt_stripe_sync.report.owed_text import render_owed
from dbt_stripe_sync.report.plan_words import BY_RISK, PARTICIPLES
from dbt_stripe_sync.report.problems_text import render_problems
from dbt_stripe_sync.report.summary import summarise

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from dbt_stripe_sync.model.plan import SyncCounts
    from dbt_stripe_sync.model.run import RunReport
    from dbt_stripe_sync.report.summary import Cause, Summary

NARROWEST = 40
NARROWEST_CELL = 20
MOST_SHOWN_CAUSES = 10
INDENT = "  "
MARKS = {Status.SUCCEEDED: "✓", Status.REJECTED: "!", Status.UNKNOWN: "?", Status.SKIPPED: "/"}
WORDS = {
    Status.SUCCEEDED: "done",
    Status.REJECTED: "rejected",
    Status.UNKNOWN: "unknown",
    Status.SKIPPED: "skipped",
}
ENDINGS = {
    RunStatus.SUCCEEDED: ("All well (exit 0).", "green"),
    RunStatus.PARTIAL: ("Some rows or models were not synced (exit 1).", "yellow"),
    RunStatus.FAILED: ("The run could not go on (exit 1).", "red"),
    RunStatus.INTERRUPTED: ("The run was ended before its time (exit 1); the next one goes on from there.", "yellow"),
    RunStatus.RUNNING: ("The run has not ended, or was killed; the next one finds out.", "yellow"),
}


def render_run(
    report: RunReport,
    *,
    width: int = 80,
    colour: bool = False,
    artifacts: Iterable[Path] = (),
    show_values: bool = False,
) -> Iterator[str]:
    """A run, line by line.

    `artifacts` are files with the details; `show_values` leaves in Stripe's messages what they repeat of a row.
    """
    width = max(NARROWEST, width)
    paint = Paint(on=colour)
    summary = summarise(report, with_values=show_values)
    for counts in report.counts:
        if counts.part_of is None or counts.notes:
            yield from _sync(counts, summary, width, paint)
    yield from _earlier(report, summary, width, paint)
    yield from _held(report, width)
    if report.problems:
        yield ""
        yield from render_problems(report.problems, colour=colour)
    causes = summary.in_order()
    for cause in causes[:MOST_SHOWN_CAUSES]:
        yield ""
        yield from render_cause(cause, width, paint)
    if len(causes) > MOST_SHOWN_CAUSES:
        yield ""
        yield f"… and {counted(len(causes) - MOST_SHOWN_CAUSES, 'more cause')}"
    if report.owed:
        yield ""
        yield from render_owed(report.owed, width=width, paint=paint, with_values=show_values)
    yield ""
    yield from _totals(report, width, paint)
    for path in artifacts:
        yield f"{INDENT}{plain(str(path))}"
    if report.done.get(Status.UNKNOWN.value) or report.done.get(Status.SKIPPED.value):
        text = "`dbt-stripe-sync retry` sends what was skipped or is unknown, once the causes are mended."
        yield from wrap_marked("hint:", text, width, paint, colour="cyan")


def render_cause(cause: Cause, width: int, paint: Paint) -> Iterator[str]:
    """One cause: what happened to how many rows, what Stripe said, which rows, what to do."""
    code = (cause.failure.code or cause.failure.type) if cause.failure else None
    mark = f"{WORDS[cause.status]}[{cut(plain(code), width // 2)}]:" if code else f"{WORDS[cause.status]}:"
    field = f" at `{plain(cause.path)}`" if cause.path else ""
    text = f"{counted(cause.rows, 'row')} of `{plain(cause.sync)}`{field}"
    yield from wrap_marked(mark, text, width, paint, colour="red" if cause.status is Status.REJECTED else "yellow")
    yield from wrap(f"{plain(cause.meaning)}.", width, first=INDENT, indent=INDENT)
    if cause.message:
        said = "Stripe" if cause.failure and cause.failure.status else "the connection"
        yield from wrap(plain(cause.message), width, first=f"{INDENT}{said}: ", indent=INDENT * 2)
    keys = ", ".join(plain(key) for key in cause.keys)
    more = cause.rows - len(cause.keys)
    name = "request" if len(cause.requests) == 1 else "requests"
    requests = f"; {name} {plain(', '.join(cause.requests))}" if cause.requests else ""
    shown = f"{'row' if cause.rows == 1 else 'rows'} {keys}{f', and {more:,} more' if more else ''}{requests}"
    yield from wrap(shown, width, first=INDENT, indent=INDENT * 2)
    if cause.hint:
        yield from wrap_marked("hint:", f"{plain(cause.hint)}.", width, paint, colour="cyan")


def _sync(counts: SyncCounts, summary: Summary, width: int, paint: Paint) -> Iterator[str]:
    """`✓ stripe_customers -> customer    12,401 rows   1 created, 2 updated`, the figures in the same columns."""
    parts = [*_done(counts.sync, summary), *_not_done(counts, summary)]
    is_well = not any(_not_done(counts, summary))
    mark = paint(MARKS[Status.SUCCEEDED], "green") if is_well else paint("!", "red")
    figures = f"{counts.rows:>11,} {'row' if counts.rows == 1 else 'rows':<4}"
    room = min(36, max(12, width // 2 - 6))
    name = cut(f"{plain(counts.sync)} -> {counts.resource}", room)
    start = f"{mark} {paint(name, 'bold')}{' ' * (room - cell_len(name))}{figures}   "
    used = 2 + room + len(figures) + 3
    text = ", ".join(parts) or "as they were"
    if width - used < NARROWEST_CELL:
        yield start.rstrip()
        yield from wrap(text, width, first=INDENT, indent=INDENT)
    else:
        for index, line in enumerate(wrap(text, width - used)):
            yield " " * used + line if index else start + line
    for note in counts.notes:
        yield from wrap(f"note: {plain(str(note))}", width, first=INDENT, indent=INDENT * 2)


def _not_done(counts: SyncCounts, summary: Summary) -> Iterator[str]:
    """What a sync did not do, in figures."""
    statuses = Counter(summary.statuses.get(counts.sync, {}))
    statuses[Status.REJECTED] += counts.rejected
    for status in list(Status)[1:]:
        if statuses[status]:
            yield f"{statuses[status]:,} {WORDS[status]}"
    if counts.drifted:
        yield f"{counts.drifted:,} drifted"
    if counts.held is not None:
        yield "held back"


def _done(sync: str, summary: Summary) -> Iterator[str]:
    actions = summary.actions.get(sync)
    for action in reversed(BY_RISK):
        if actions and actions[action]:
            yield f"{actions[action]:,} {PARTICIPLES[action]}"


def _earlier(report: RunReport, summary: Summary, width: int, paint: Paint) -> Iterator[str]:
    """Outcomes of syncs that this run did not plan: what an earlier run had left open."""
    planned = {counts.sync for counts in report.counts}
    for sync in [name for name in summary.statuses if name not in planned]:
        parts = [f"{number:,} {WORDS[status]}" for status, number in summary.statuses[sync].items()]
        text = f"{plain(sync)}: of an earlier run, {', '.join(parts)}"
        yield from wrap_marked("?", text, width, paint, colour="yellow")


def _held(report: RunReport, width: int) -> Iterator[str]:
    """Why syncs were held back, where no problem says it."""
    for counts in report.counts:
        held = counts.held
        if held is not None and not any(problem.summary.endswith(held) for problem in report.problems):
            yield from wrap(
                f"`{plain(counts.sync)}` is held back: {plain(held)}", width, first=INDENT, indent=INDENT * 2
            )


def requests_of(report: RunReport) -> str:
    """How many requests a run sent, and how many of them wrote: `217 requests (105 writes, 112 reads)`."""
    text = counted(report.requests, "request")
    if report.reads is None:
        return text
    return f"{text} ({counted(report.requests - report.reads, 'write')}, {counted(report.reads, 'read')})"


def _totals(report: RunReport, width: int, paint: Paint) -> Iterator[str]:
    parts = [f"{report.done.get(Status.SUCCEEDED.value, 0):,} {WORDS[Status.SUCCEEDED]}"]
    done = {status: report.done.get(status.value, 0) for status in Status}
    # A row is rejected, whether the plan did it or Stripe.
    done[Status.REJECTED] += sum(counts.rejected for counts in report.counts)
    parts += [f"{count:,} {WORDS[status]}" for status, count in list(done.items())[1:] if count]
    drifted = sum(counts.drifted for counts in report.counts)
    parts += [f"{drifted:,} drifted"] if drifted else []
    parts += [f"{sum(counts.same for counts in report.counts):,} as they were"]
    seconds = (report.finished_at - report.started_at).total_seconds()
    mode = "LIVE" if report.header.livemode else "test"
    sent = "nothing was sent (dry run)" if report.dry_run else requests_of(report)
    yield from wrap(f"{', '.join(parts)}; {sent} in {took(seconds)}.", width)
    yield from wrap(
        f"Run {report.run_id}, target {report.header.target}, account {report.header.account}, {mode} mode.", width
    )
    text, colour = ENDINGS[report.status]
    for line in wrap(text, width):
        yield paint(line, colour)

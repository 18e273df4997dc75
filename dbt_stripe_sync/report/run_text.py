"""Renders what a run did as text: a line for each sync, failures by cause, totals, and the paths of the details."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.run import RunStatus, Status
from dbt_stripe_sync.report.figures import ALWAYS, Figures, add_up, figures_of, of_syncs
from dbt_stripe_sync.report.lines import Paint, cut, plain, took, wrap, wrap_marked
from dbt_stripe_sync.report.owed_text import render_owed
from dbt_stripe_sync.report.plan_words import BY_RISK, PARTICIPLES
from dbt_stripe_sync.report.problems_text import render_problems
from dbt_stripe_sync.report.summary import summarize

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from dbt_stripe_sync.model.plan import SyncCounts
    from dbt_stripe_sync.model.run import RunEntry, RunReport
    from dbt_stripe_sync.report.summary import Cause, Summary

NARROWEST = 40
NARROWEST_CELL = 20
# The columns of a sync's line: how far its name may reach, and how wide `12,401 rows` may be.
FIGURES_FROM = 36
FIGURES_WIDTH = 16
MOST_SHOWN_CAUSES = 10
INDENT = "  "
MARKS = {Status.SUCCEEDED: "✓", Status.REJECTED: "!", Status.UNKNOWN: "?", Status.SKIPPED: "/"}
WORDS = {
    Status.SUCCEEDED: "written",
    Status.REJECTED: "rejected",
    Status.UNKNOWN: "unresolved",
    Status.SKIPPED: "skipped",
}
ENDINGS = {
    RunStatus.SUCCEEDED: ("Run succeeded (exit 0).", "green"),
    RunStatus.PARTIAL: ("Some rows or models were not synced (exit 1).", "yellow"),
    RunStatus.FAILED: ("The run failed (exit 2).", "red"),
    RunStatus.DECLINED: ("Nothing was sent, because the answer was no (exit 2).", "yellow"),
    RunStatus.INTERRUPTED: ("The run was interrupted (exit 1); the next one continues from there.", "yellow"),
    RunStatus.RUNNING: ("The run is still running, or was killed; the next one finds out which.", "yellow"),
}


def render_run(
    report: RunReport,
    *,
    width: int = 80,
    color: bool = False,
    artifacts: Iterable[Path] = (),
    show_values: bool = False,
    summary: Summary | None = None,
) -> Iterator[str]:
    """The lines of a run.

    `artifacts` are files with the details; `show_values` shows row values in Stripe's messages. `summary` are the run's
    totals, if they are known; otherwise its outcomes are read.
    """
    width = max(NARROWEST, width)
    paint = Paint(on=color)
    if summary is None or show_values:
        summary = summarize(report, with_values=show_values)
    for counts in of_syncs(report.counts):
        if counts.part_of is None or counts.notes:
            yield from _sync(counts, summary, width, paint)
    yield from _earlier(report, summary, width, paint)
    yield from _held(report, width)
    if report.problems:
        yield ""
        yield from render_problems(report.problems, color=color, width=width)
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
    is_over = report.status is not RunStatus.RUNNING
    if is_over and (report.done.get(Status.UNKNOWN.value) or report.done.get(Status.SKIPPED.value)):
        text = "`dbt-stripe-sync retry` sends what was skipped or is unresolved, once the causes are fixed."
        yield from wrap_marked("hint:", text, width, paint, color="cyan")


def render_cause(cause: Cause, width: int, paint: Paint) -> Iterator[str]:
    """One cause: what happened to how many rows, Stripe's message, which rows, what to do."""
    code = (cause.failure.code or cause.failure.type) if cause.failure else None
    mark = f"{WORDS[cause.status]}[{cut(plain(code), width // 2)}]:" if code else f"{WORDS[cause.status]}:"
    field = f" at `{plain(cause.path)}`" if cause.path else ""
    text = f"{counted(cause.rows, cause.noun)} of `{plain(cause.sync)}`{field}"
    yield from wrap_marked(mark, text, width, paint, color="red" if cause.status is Status.REJECTED else "yellow")
    yield from wrap(f"{plain(cause.meaning)}.", width, first=INDENT, indent=INDENT)
    if cause.message:
        said = "the connection" if cause.failure and cause.failure.is_ours else "Stripe"
        yield from wrap(plain(cause.message), width, first=f"{INDENT}{said}: ", indent=INDENT * 2)
    keys = ", ".join(plain(key) for key in cause.keys)
    more = cause.rows - len(cause.keys)
    name = "request" if len(cause.requests) == 1 else "requests"
    requests = f"; {name} {plain(', '.join(cause.requests))}" if cause.requests else ""
    shown = f"{'row' if cause.rows == 1 else 'rows'} {keys}{f', and {more:,} more' if more else ''}{requests}"
    yield from wrap(shown, width, first=INDENT, indent=INDENT * 2)
    if cause.hint:
        yield from wrap_marked("hint:", f"{plain(cause.hint)}.", width, paint, color="cyan")


def _sync(counts: SyncCounts, summary: Summary, width: int, paint: Paint) -> Iterator[str]:
    """A line like `stripe_customers -> customer 12,401 rows 1 created, 2 updated`, with aligned figures."""
    parts = [*_done(counts.sync, summary), *_not_done(counts)]
    found = figures_of(counts)
    is_well = not (found.not_done or found.drifted or counts.held)
    mark = paint(MARKS[Status.SUCCEEDED], "green") if is_well else paint("!", "red")
    figures = f"{counts.rows:,} {'row' if counts.rows == 1 else 'rows':<4}"
    room = max(12, width // 2 - 6)
    name = cut(f"{plain(counts.sync)} -> {counts.resource}", room)
    # A long name takes the space before the figures, but their columns stay the same.
    room = max(min(room, FIGURES_FROM) + FIGURES_WIDTH, cell_len(name) + 2 + len(figures))
    start = f"{mark} {paint(name, 'bold')}{' ' * (room - cell_len(name) - len(figures))}{figures}   "
    used = 2 + room + 3
    text = ", ".join(parts) or "unchanged"
    if width - used < NARROWEST_CELL:
        yield start.rstrip()
        yield from wrap(text, width, first=INDENT, indent=INDENT)
    else:
        for index, line in enumerate(wrap(text, width - used)):
            yield " " * used + line if index else start + line
    for note in counts.notes:
        yield from wrap(f"note: {plain(str(note))}", width, first=INDENT, indent=INDENT * 2)


def _not_done(counts: SyncCounts) -> Iterator[str]:
    """What a sync did not do, in figures."""
    for name, number, word in figures_of(counts).parts():
        if name not in ALWAYS:
            yield f"{number:,} {word}"
    if counts.held is not None and not counts.rows:
        yield "held back"


def _done(sync: str, summary: Summary) -> Iterator[str]:
    actions = summary.actions.get(sync)
    for action in reversed(BY_RISK):
        if actions and actions[action]:
            yield f"{actions[action]:,} {PARTICIPLES[action]}"


def _earlier(report: RunReport, summary: Summary, width: int, paint: Paint) -> Iterator[str]:
    """The results of changes that an earlier run had left open; for a killed run, which has no counts, all results."""
    planned = {counts.sync for counts in report.counts}
    for sync in [name for name in summary.statuses if name not in planned or name in summary.earlier]:
        statuses = summary.earlier.get(sync) or summary.statuses[sync]
        parts = [f"{number:,} {WORDS[status]}" for status, number in statuses.items()]
        # A run that is running or was killed hasn't recorded its syncs yet, so all outcomes are its own.
        of = " of an earlier run," if planned else ""
        text = f"{plain(sync)}:{of} {', '.join(parts)}{' so far' if report.status is RunStatus.RUNNING else ''}"
        yield from wrap_marked("?", text, width, paint, color="yellow")


def _held(report: RunReport, width: int) -> Iterator[str]:
    """Why syncs were held back, if no problem says it."""
    for counts in report.counts:
        held = counts.held
        if held is not None and not any(problem.summary.endswith(held) for problem in report.problems):
            yield from wrap(
                f"`{plain(counts.sync)}` is held back: {plain(held)}", width, first=INDENT, indent=INDENT * 2
            )


_COUNTED = (Status.SUCCEEDED, Status.REJECTED, Status.UNKNOWN, Status.SKIPPED)


def totals_of(report: RunReport | RunEntry) -> Figures:
    """The counts of all rows. A killed run has only recorded the results of its changes."""
    figures, done = add_up(report.counts), report.done
    if any(counts.ended or counts.steps or counts.earlier for counts in report.counts) or not any(done.values()):
        return figures
    # Killed, or written by a version that didn't count rows separately from further steps.
    written, rejected, unknown, skipped = (done.get(status.value, 0) for status in _COUNTED)
    figures.written, figures.unknown, figures.skipped = written, unknown, skipped
    figures.rejected += rejected
    figures.not_sent = max(0, figures.not_sent - written - rejected - unknown - skipped)
    if not report.counts:
        figures.rows = figures.written + figures.not_done
    return figures


def requests_of(report: RunReport) -> str:
    """How many requests a run sent, and how many of them wrote: `217 requests (105 writes, 112 reads)`."""
    text = counted(report.requests, "request")
    if report.reads is None:
        return text
    return f"{text} ({counted(report.requests - report.reads, 'write')}, {counted(report.reads, 'read')})"


def _totals(report: RunReport, width: int, paint: Paint) -> Iterator[str]:
    figures = totals_of(report)
    parts = [f"{number:,} {word}" for _, number, word in figures.parts()]
    parts += [f"{counted(figures.steps.total(), 'further step')}"] if figures.steps else []
    of = counted(figures.rows, "row") + (f" and {counted(figures.removals, 'removal')}" if figures.removals else "")
    seconds = (report.finished_at - report.started_at).total_seconds()
    mode = "LIVE" if report.header.livemode else "test"
    # A run records how many requests it has sent at its end.
    sent = "" if report.status is RunStatus.RUNNING else f"; {requests_of(report)}"
    yield from wrap(f"{of}: {', '.join(parts)}{sent} in {took(seconds)}.", width)
    yield from wrap(
        f"Run {report.run_id}, target {report.header.target}, account {report.header.account}, {mode} mode.", width
    )
    text, color = ENDINGS[report.status]
    for line in wrap(text, width):
        yield paint(line, color)

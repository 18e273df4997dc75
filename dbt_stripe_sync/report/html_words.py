"""The words and figures of a run's page, as plain values for its template."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.model.change import Action
from dbt_stripe_sync.model.errors import Severity
from dbt_stripe_sync.model.run import RunStatus, Status
from dbt_stripe_sync.report.lines import counted, took
from dbt_stripe_sync.report.owed_text import MOST_SHOWN, describe_owed, explain_owed
from dbt_stripe_sync.report.plan_words import BY_RISK, PARTICIPLES, field_of
from dbt_stripe_sync.report.problems_text import group_problems, render_keys
from dbt_stripe_sync.report.run_text import WORDS, requests_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dbt_stripe_sync.model.run import RunReport
    from dbt_stripe_sync.report.summary import Cause, Summary

# An SVG of this many units; what is there at all is seen at all.
BAR_UNITS = 1000
NARROWEST_BAR = 6
_TITLES = {
    Status.REJECTED: "rejected by Stripe",
    Status.UNKNOWN: "may or may not have happened",
    Status.SKIPPED: "not sent, since a reference is missing",
}


def build_headline(report: RunReport) -> str:
    """The run in one sentence."""
    done = report.done.get(Status.SUCCEEDED.value, 0)
    failed = _failed(report)
    if report.dry_run:
        return "A dry run: nothing was sent to Stripe"
    if report.status is RunStatus.INTERRUPTED:
        return f"Ended early, after {counted(done, 'change')}"
    if failed:
        return f"{counted(failed, 'row')} {'is' if failed == 1 else 'are'} not in step"
    if any(counts.held is not None for counts in report.counts):
        return "Some syncs were held back"
    if report.status is not RunStatus.SUCCEEDED:
        return "The run has something to mend"
    return f"{counted(done, 'change')} written, all is in step" if done else "Everything was in step"


def build_lead(report: RunReport, summary: Summary) -> str:
    """What to know next."""
    done = report.done.get(Status.SUCCEEDED.value, 0)
    unknown = report.done.get(Status.UNKNOWN.value, 0)
    held = sum(counts.held is not None for counts in report.counts)
    parts = []
    if done and (_failed(report) or held):
        others = "the other changes were" if done > 1 else "the other change was"
        parts.append(f"{others[:1].upper()}{others[1:]} written and recorded.")
    if summary.causes:
        parts.append(f"The failures have {counted(len(summary.causes), 'cause')}.")
    if unknown:
        parts.append(
            f"{counted(unknown, 'change')} got no clear answer: the next run finds out first, nothing is made twice."
        )
    if held:
        parts.append(f"{counted(held, 'sync')} {'was' if held == 1 else 'were'} held back.")
    return " ".join(parts) or "There is nothing to mend."


def build_run(report: RunReport) -> dict[str, Any]:
    """Whose run it was, and when."""
    header = report.header
    return {
        "id": report.run_id,
        "project": header.project,
        "target": header.target,
        "account": header.account,
        "livemode": header.livemode,
        "dry_run": report.dry_run,
        "api_version": header.api_version,
        "version": header.version,
        "started": f"{report.started_at:%Y-%m-%d %H:%M} {report.started_at:%Z}".rstrip(),
        "started_iso": report.started_at.isoformat(),
        "took": took((report.finished_at - report.started_at).total_seconds()),
        "requests": requests_of(report),
    }


def build_sums(report: RunReport) -> list[dict[str, str]]:
    """The figures at the top: what was done always, what was not where there is some."""
    sums = [
        {
            "kind": status.value,
            "figure": f"{number:,}",
            "word": "written" if status is Status.SUCCEEDED else WORDS[status],
        }
        for status in Status
        if (number := report.done.get(status.value, 0)) or status is Status.SUCCEEDED
    ]
    rejected = sum(counts.rejected for counts in report.counts)
    if rejected:
        sums.append({"kind": "rejected", "figure": f"{rejected:,}", "word": "not fit to be sent"})
    same = sum(counts.same for counts in report.counts)
    return [*sums, {"kind": "same", "figure": f"{same:,}", "word": "as they were"}]


def build_bars(report: RunReport) -> list[dict[str, Any]]:
    """The shares of the changes as rectangles side by side."""
    total = sum(report.done.values())
    present = [(status.value, report.done.get(status.value, 0)) for status in Status if report.done.get(status.value)]
    if not total:
        return []
    wide = [max(NARROWEST_BAR, BAR_UNITS * number / total) for _, number in present]
    scale = BAR_UNITS / sum(wide)
    bars, x = [], 0.0
    for (kind, _), width in zip(present, wide, strict=True):
        bars.append({"kind": kind, "x": round(x, 2), "width": round(width * scale, 2)})
        x += width * scale
    return bars


def build_causes(causes: Sequence[Cause]) -> list[dict[str, Any]]:
    """Failures by their cause, as cards."""
    return [
        {
            "number": cause.number,
            "kind": cause.status.value,
            "rows": f"{cause.rows:,}",
            "title": _title(cause),
            "meaning": cause.meaning,
            "message": cause.message,
            "hint": cause.hint,
            "code": (cause.failure.code or cause.failure.type) if cause.failure else cause.status.value,
            "http_status": cause.failure.status if cause.failure else None,
            "doc_url": _doc_url(cause),
            "shown_keys": _keys(cause.keys, cause.rows),
        }
        for cause in causes
    ]


def build_owed(report: RunReport, *, with_values: bool) -> list[dict[str, str]]:
    """The steps that were still to be done when the run ended."""
    return [
        {"title": describe_owed(step), "why": explain_owed(step, with_values=with_values)}
        for step in report.owed[:MOST_SHOWN]
    ]


def build_problems(report: RunReport) -> list[dict[str, Any]]:
    """What was wrong before anything was sent, as cards."""
    cards = []
    for group in group_problems(report.problems):
        problem = group.first
        place = replace(problem.where, key=None)
        sync = problem.where.sync or problem.where.model
        field = field_of(problem)
        of = f" of {sync}" if sync else ""
        at = f", at {field}" if field and group.rows else ""
        word = "row" if group.rows == 1 else "rows"
        title = f"{word}{of} not fit to be sent{at}" if group.rows else f"{problem.severity.value}{of}".capitalize()
        cards.append(
            {
                "kind": "rejected" if problem.severity is Severity.ERROR else "warning",
                "rows": f"{group.rows:,}" if group.rows else None,
                "title": title,
                "summary": problem.summary,
                "varies": group.varies,
                "first_key": group.keys[0] if group.keys else None,
                "hint": problem.hint,
                "code": problem.code,
                "place": str(place),
                "shown_keys": render_keys(group) if group.keys else None,
            }
        )
    return cards


def build_syncs(report: RunReport, summary: Summary) -> list[dict[str, Any]]:
    """What each sync did, as rows of a table; those of an earlier run at the end."""
    rows = [
        {
            "name": counts.sync,
            "detail": f"{counts.model} to {counts.resource}",
            "rows": f"{counts.rows:,}",
            "same": f"{counts.same:,}",
            "done": _done(counts.sync, summary),
            "failed": _not_done(counts.sync, summary, rejected=counts.rejected, held=counts.held),
            "read": took(counts.read_seconds),
            "compared": took(counts.diff_seconds),
            "notes": [str(note) for note in counts.notes],
        }
        for counts in report.counts
    ]
    planned = {counts.sync for counts in report.counts}
    rows += [
        {
            "name": sync,
            "detail": "left open by an earlier run",
            "rows": "—",
            "same": "—",
            "done": _done(sync, summary),
            "failed": _not_done(sync, summary, rejected=0, held=None),
            "read": "—",
            "compared": "—",
            "notes": (),
        }
        for sync in summary.statuses
        if sync not in planned
    ]
    return rows


def _done(sync: str, summary: Summary) -> str:
    actions = summary.actions.get(sync, Counter[Action]())
    return ", ".join(
        f"{actions[action]:,} {PARTICIPLES[action]}" for action in reversed(BY_RISK) if actions.get(action)
    )


def _not_done(sync: str, summary: Summary, *, rejected: int, held: str | None) -> str:
    statuses = summary.statuses.get(sync, Counter[Status]())
    parts = [f"{statuses[s]:,} {WORDS[s]}" for s in Status if s is not Status.SUCCEEDED and statuses.get(s)]
    parts += [f"{rejected:,} not fit to be sent"] if rejected else []
    parts += [f"held back: {held}"] if held is not None else []
    return ", ".join(parts)


def _failed(report: RunReport) -> int:
    sent = sum(number for status, number in report.done.items() if status != Status.SUCCEEDED.value)
    return sent + sum(counts.rejected for counts in report.counts)


def _title(cause: Cause) -> str:
    field = f", at {cause.path}" if cause.path else ""
    word = "row" if cause.rows == 1 else "rows"
    return f"{word} of {cause.sync} {_TITLES[cause.status]}{field}"


def _keys(keys: Sequence[str], rows: int) -> str:
    more = rows - len(keys)
    return ", ".join(keys) + (f", and {more:,} more" if more else "")


def _doc_url(cause: Cause) -> str | None:
    """Stripe's page on the error. Only Stripe's own address is made a link."""
    url = cause.failure.doc_url if cause.failure else None
    return url if url and url.startswith(("https://docs.stripe.com/", "https://stripe.com/docs/")) else None

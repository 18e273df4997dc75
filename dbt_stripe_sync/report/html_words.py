"""The texts and numbers of a run's page, as plain values for its template."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from dbt_stripe_sync.model.change import Action
from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.errors import Severity
from dbt_stripe_sync.model.run import RunStatus, Status
from dbt_stripe_sync.report.figures import ALWAYS, figures_of, of_syncs
from dbt_stripe_sync.report.lines import took
from dbt_stripe_sync.report.owed_text import MOST_SHOWN, describe_owed, explain_owed
from dbt_stripe_sync.report.plan_words import BY_RISK, PARTICIPLES, field_of, verdict_of
from dbt_stripe_sync.report.problems_text import group_problems, render_keys
from dbt_stripe_sync.report.run_text import WORDS, requests_of, totals_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dbt_stripe_sync.model.run import RunReport
    from dbt_stripe_sync.report.figures import Figures
    from dbt_stripe_sync.report.summary import Cause, Summary

# The width of the SVG in units; even the smallest part is visible.
BAR_UNITS = 1000
NARROWEST_BAR = 6
_TITLES = {
    Status.REJECTED: "rejected by Stripe",
    Status.UNKNOWN: "unresolved: may or may not have happened",
    Status.SKIPPED: "skipped: another row comes first",
}
# The color of each figure.
KINDS = {
    "written": "succeeded",
    "rejected": "rejected",
    "unknown": "unknown",
    "skipped": "skipped",
    "not_sent": "unknown",
    "held": "skipped",
    "before": "succeeded",
    "drifted": "unknown",
    "left_out": "skipped",
    "unchanged": "same",
}


def build_headline(report: RunReport) -> str:
    """The run in one sentence."""
    figures = totals_of(report)
    done, failed = figures.written, figures.not_done
    if report.status is RunStatus.INTERRUPTED:
        return f"Interrupted after {counted(done, 'change')}"
    if report.status is RunStatus.DECLINED:
        return "Declined: nothing was sent"
    if failed:
        return f"{counted(failed, 'row')} {'is' if failed == 1 else 'are'} not in sync"
    if any(counts.held is not None for counts in report.counts):
        return "Some syncs were held back"
    if report.status is not RunStatus.SUCCEEDED:
        return "The run needs your attention"
    if figures.left_out:
        return f"{counted(done, 'change')} written, {counted(figures.left_out, 'row')} left out"
    return f"{counted(done, 'change')} written, everything is in sync" if done else "Everything was in sync"


def build_lead(report: RunReport, summary: Summary) -> str:
    """What to know next."""
    figures = totals_of(report)
    done, unknown = figures.written, figures.unknown
    held = sum(counts.held is not None for counts in report.counts)
    parts = []
    if done and (figures.not_done or held):
        parts.append(f"The other {'changes were' if done > 1 else 'change was'} written and recorded.")
    before_sending = [problem for problem in report.problems if problem.severity is Severity.ERROR]
    causes = len(summary.causes) + len(group_problems(before_sending))
    if causes:
        parts.append(f"There {'is' if causes == 1 else 'are'} {counted(causes, 'thing')} to fix.")
    if unknown:
        parts.append(
            f"{counted(unknown, 'change')} got no clear answer: the next run settles it, creating nothing twice."
        )
    if held:
        parts.append(f"{counted(held, 'sync')} {'was' if held == 1 else 'were'} held back.")
    return " ".join(parts) or "There is nothing to fix."


def build_run(report: RunReport) -> dict[str, Any]:
    """Which run it was, and when."""
    header = report.header
    return {
        "id": report.run_id,
        "project": header.project,
        "target": header.target,
        "account": header.account,
        "livemode": header.livemode,
        "api_version": header.api_version,
        "version": header.version,
        "started": f"{report.started_at:%Y-%m-%d %H:%M} {report.started_at:%Z}".rstrip(),
        "started_iso": report.started_at.isoformat(),
        "took": took((report.finished_at - report.started_at).total_seconds()),
        "requests": requests_of(report),
    }


def build_sums(report: RunReport) -> list[dict[str, str]]:
    """The figures at the top. What was done is always shown, what was not only if there is some."""
    return [
        {"kind": KINDS[name], "figure": f"{number:,}", "word": word} for name, number, word in totals_of(report).parts()
    ]


def build_sums_note(report: RunReport, summary: Summary) -> str:
    """What the figures at the top add up to, and what is counted separately."""
    figures = totals_of(report)
    text = f"Of {counted(figures.rows, 'row')}"
    text += f" and {counted(figures.removals, 'removal')}" if figures.removals else ""
    if steps := figures.steps.total():
        failed = steps - figures.steps[Status.SUCCEEDED.value]
        text += f"; also {counted(steps, 'further step')}, such as the end of what was replaced"
        text += f", {failed:,} of them not done" if failed else ""
    earlier = sum((counts for counts in summary.earlier.values()), Counter[Status]())
    if earlier:
        parts = ", ".join(f"{earlier[status]:,} {WORDS[status]}" for status in Status if earlier[status])
        text += f"; changes that an earlier run had left open: {parts}"
    return f"{text}."


def build_bars(report: RunReport) -> list[dict[str, Any]]:
    """The shares of the changes as rectangles side by side."""
    present = [(KINDS[name], number) for name, number, _ in totals_of(report).parts() if number and name != "unchanged"]
    total = sum(number for _, number in present)
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
    """The steps that were still owed when the run ended."""
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
        title = f"{word}{of} {verdict_of(problem)}{at}" if group.rows else f"{problem.severity.value}{of}".capitalize()
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
            "removals": figures.removals,
            "same": f"{counts.same:,}",
            "done": _done(counts.sync, summary),
            "failed": _not_done(figures, counts.held),
            "read": took(counts.read_seconds),
            "compared": took(counts.diff_seconds),
            "notes": [str(note) for note in counts.notes],
        }
        for counts in of_syncs(report.counts)
        for figures in [figures_of(counts)]
        if counts.part_of is None or counts.notes
    ]
    planned = {counts.sync for counts in report.counts}
    rows += [
        {
            "name": sync,
            "detail": "left open by an earlier run",
            "rows": "—",
            "removals": 0,
            "same": "—",
            "done": _done(sync, summary),
            "failed": _statuses(sync, summary),
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


def _not_done(figures: Figures, held: str | None) -> str:
    parts = [f"{number:,} {word}" for name, number, word in figures.parts() if name not in ALWAYS]
    return ", ".join(parts) + (f": {held}" if held is not None and parts else f"held back: {held}" if held else "")


def _statuses(sync: str, summary: Summary) -> str:
    statuses = summary.statuses.get(sync, Counter[Status]())
    return ", ".join(f"{statuses[s]:,} {WORDS[s]}" for s in Status if s is not Status.SUCCEEDED and statuses.get(s))


def _title(cause: Cause) -> str:
    field = f", at {cause.path}" if cause.path else ""
    word = cause.noun if cause.rows == 1 else f"{cause.noun}s"
    return f"{word} of {cause.sync} {_TITLES[cause.status]}{field}"


def _keys(keys: Sequence[str], rows: int) -> str:
    more = rows - len(keys)
    return ", ".join(keys) + (f", and {more:,} more" if more else "")


def _doc_url(cause: Cause) -> str | None:
    """Stripe's page on the error. Only Stripe's own address becomes a link."""
    url = cause.failure.doc_url if cause.failure else None
    return url if url and url.startswith(("https://docs.stripe.com/", "https://stripe.com/docs/")) else None

"""A run as an alert: what it contains, and how it is rendered as JSON or for Slack."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from dbt_stripe_sync.model.alert import REASONS, AlertMessage, SyncAlert
from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.errors import Severity
from dbt_stripe_sync.model.run import RunStatus, Status
from dbt_stripe_sync.report.json_values import json_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dbt_stripe_sync.model.errors import Problem
    from dbt_stripe_sync.model.plan import SyncCounts
    from dbt_stripe_sync.model.run import RunReport
    from dbt_stripe_sync.report.summary import Summary

FORMAT_VERSION = 1
# Codes with their own reason; every other error is a `failure`.
REASON_OF = {
    "model-held": "held",
    "empty-model": "limits",
    "keys-respelled": "limits",
    "max-changes": "limits",
    "max-rejected": "limits",
    "max-removed": "limits",
    "not-sent": "owed",
    "object-deleted": "drift",
    "sync-stopped": "owed",
    "unsettled": "owed",
}
# Prefixes of codes.
REASON_OF_PREFIX = {"drift": "drift", "owed": "owed"}
DASHBOARD = "https://dashboard.stripe.com"
SHOWN_CODES = 8


def build_alert(report: RunReport, summary: Summary) -> AlertMessage:
    """The contents of an alert about a run, whose totals are `summary`.

    `reasons` is empty if there is no reason to send one.
    """
    header = report.header
    reasons = {reason for problem in report.problems if (reason := _reason(problem))}
    done = report.done
    if done.get(Status.REJECTED.value) or report.status in {RunStatus.FAILED, RunStatus.INTERRUPTED}:
        reasons.add("failure")
    if report.owed or done.get(Status.UNKNOWN.value) or done.get(Status.SKIPPED.value):
        reasons.add("owed")
    if any(counts.drifted for counts in report.counts):
        reasons.add("drift")
    if report.status is RunStatus.PARTIAL and not reasons:
        reasons.add("failure")
    return AlertMessage(
        reasons=tuple(reason for reason in REASONS if reason in reasons),
        status=report.status.value,
        project=header.project,
        target=header.target,
        run_id=report.run_id,
        account=header.account,
        livemode=header.livemode,
        started_at=json_time(report.started_at),
        finished_at=json_time(report.finished_at),
        totals={status.value: done.get(status.value, 0) for status in Status},
        owed=len(report.owed),
        problems=_count(report.problems),
        syncs=tuple(
            SyncAlert(
                sync=counts.sync,
                resource=counts.resource,
                rows=counts.rows,
                rejected=rejected,
                is_held=counts.held is not None,
            )
            for counts in report.counts
            if (rejected := _rejected(counts, summary)) or counts.held is not None
        ),
        links={"stripe": _dashboard(header.account, livemode=header.livemode)},
    )


def build_stop_alert(problems: Iterable[Problem], *, project: str, target: str) -> AlertMessage:
    """The contents of an alert about a run that failed."""
    problems = tuple(problems)
    others = {reason for problem in problems if (reason := _reason(problem))}
    reasons = {"failure", *others}
    return AlertMessage(
        reasons=tuple(reason for reason in REASONS if reason in reasons),
        status=RunStatus.FAILED.value,
        project=project,
        target=target,
        problems=_count(problems),
    )


def render_alert_json(message: AlertMessage) -> dict[str, Any]:
    """The generic form."""
    return {"version": FORMAT_VERSION, "event": "stripe_sync_run", **to_builtins(message)}


def render_alert_slack(message: AlertMessage) -> dict[str, Any]:
    """A Slack message (api.slack.com/messaging/webhooks): a line, then the counts, then the links."""
    title = f"Stripe sync of {message.project} ({message.target}) {_verb(message)}"
    lines = [line for line in _slack_lines(message) if line]
    blocks: list[dict[str, Any]] = [{"type": "section", "text": _mrkdwn(f"*{_escape(title)}*")}]
    if lines:
        blocks.append({"type": "section", "text": _mrkdwn("\n".join(lines))})
    links = "  |  ".join(f"<{_escape(url)}|{_escape(name)}>" for name, url in message.links.items())
    context = ", ".join(filter(None, (message.run_id and f"run {message.run_id}", message.account, _mode(message))))
    foot = "  |  ".join(filter(None, (_escape(context), links)))
    if foot:
        blocks.append({"type": "context", "elements": [_mrkdwn(foot)]})
    return {"text": title, "blocks": blocks}


def _slack_lines(message: AlertMessage) -> Iterator[str]:
    told = {name: count for name, count in message.totals.items() if count}
    if told:
        yield ", ".join(f"{count:,} {name}" for name, count in told.items())
    if message.owed:
        yield f"{message.owed:,} {'step is' if message.owed == 1 else 'steps are'} still owed"
    for sync in message.syncs:
        what = "held" if sync.is_held else f"{sync.rejected:,} of {counted(sync.rows, 'row')} rejected"
        yield f"• `{_escape(sync.sync)}`: {what}"
    codes = list(message.problems.items())
    if codes:
        shown = ", ".join(f"{count:,} `{_escape(code)}`" for code, count in codes[:SHOWN_CODES])
        yield f"Problems: {shown}{f' and {len(codes) - SHOWN_CODES} more' if len(codes) > SHOWN_CODES else ''}"


def _verb(message: AlertMessage) -> str:
    if message.status == RunStatus.FAILED.value:
        return "stopped"
    if message.status == RunStatus.INTERRUPTED.value:
        return "was interrupted"
    return f"needs attention: {', '.join(message.reasons)}"


def _rejected(counts: SyncCounts, summary: Summary) -> int:
    """The rows of a sync that were rejected, before they were sent and by Stripe."""
    return counts.rejected + summary.statuses.get(counts.sync, Counter())[Status.REJECTED]


def _reason(problem: Problem) -> str | None:
    for prefix, reason in REASON_OF_PREFIX.items():
        if problem.code.startswith(prefix):
            return reason
    found = REASON_OF.get(problem.code)
    return found or ("failure" if problem.severity is Severity.ERROR else None)


def _count(problems: Iterable[Problem]) -> dict[str, int]:
    return dict(Counter(problem.code for problem in problems).most_common())


def _dashboard(account: str, *, livemode: bool) -> str:
    path = f"/{account}" if account.startswith("acct_") else ""
    return f"{DASHBOARD}{path}{'' if livemode else '/test'}/logs"


def _mode(message: AlertMessage) -> str | None:
    return None if message.livemode is None else "live mode" if message.livemode else "test mode"


def _mrkdwn(text: str) -> dict[str, str]:
    return {"type": "mrkdwn", "text": text[:2900]}  # Slack rejects a text of more than 3,000 characters


def _escape(text: str) -> str:
    """api.slack.com/reference/surfaces/formatting#escaping: these three characters, and no others."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

"""Describes owed steps: which step on which object, since when, why Stripe rejected it, and what to do."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.report.lines import Paint, plain, wrap, wrap_marked
from dbt_stripe_sync.report.redact import hide_secrets, hide_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dbt_stripe_sync.model.change import Owed

INDENT = "  "
MOST_SHOWN = 20
HINT = (
    "every run retries these steps; `dbt-stripe-sync state settle SYNC KEY` drops a step that you have done by hand or "
    "no longer want"
)


def render_owed(owed: Sequence[Owed], *, width: int, paint: Paint, with_values: bool = False) -> Iterator[str]:
    """Owed steps, line by line, oldest first, with one hint for all. Empty if nothing is owed."""
    if not owed:
        return
    for step in owed[:MOST_SHOWN]:
        yield from wrap_marked("owed:", describe_owed(step), width, paint, color="yellow")
        if why := explain_owed(step, with_values=with_values):
            yield from wrap(why, width, first=INDENT, indent=INDENT * 2)
    if len(owed) > MOST_SHOWN:
        yield f"… and {counted(len(owed) - MOST_SHOWN, 'more owed step')}"
    yield from wrap_marked("hint:", HINT, width, paint, color="cyan")


def describe_owed(step: Owed) -> str:
    """`archive price_1Abc of `prices` [basic], since 2026-11-26 03:10 UTC: a new object has replaced it`."""
    since = f", since {step.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if step.since is not None else ""
    return plain(f"{step.action.value} {step.target} of `{step.sync}` [{step.key}]{since}: {step.reason}")


def explain_owed(step: Owed, *, with_values: bool = False) -> str:
    """Stripe's reason for rejecting it; empty if it wasn't tried yet."""
    if step.failure is None:
        return "not sent yet" if step.attempts == 0 else ""
    times = counted(step.attempts, "time")
    said = step.failure.message or step.failure.code or step.failure.type
    said = (
        hide_secrets(said)
        if with_values or not step.failure.message or step.failure.is_ours
        else hide_values(said, dict(step.params))
    )
    request = f" (request {step.request_id})" if step.request_id else ""
    code = f" ({step.failure.code})" if step.failure.code and step.failure.message else ""
    return plain(f"rejected {times}{code}: {said}{request}")

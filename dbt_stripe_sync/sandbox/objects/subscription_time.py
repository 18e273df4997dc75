"""Moves a subscription forward in time: trials end, periods start, and the subscription ends when it is due."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.sandbox.objects import cycles
from dbt_stripe_sync.sandbox.objects.subscription_changes import end_subscription
from dbt_stripe_sync.sandbox.objects.subscription_shape import ENDED, SHAPE

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

# The first invoice must be paid within 23 hours (docs.stripe.com/billing/subscriptions/overview).
INCOMPLETE_SECONDS = 23 * 3600


def advance_subscription(work: Work, body: Body) -> None:
    """Process the time that has passed: trials end, periods start, the subscription ends."""
    if body["status"] in ENDED:
        return
    target = work.now
    held = work.edit(SHAPE.kind, body["id"])
    while held["status"] not in ENDED:
        moment = _next_event(work, held)
        if moment is None or moment > target:
            break
        work.now = moment
        _process_event(work, held, target)
    work.now = target


def _next_event(work: Work, body: Body) -> int | None:
    if body["status"] == "incomplete":
        return int(body["created"] + INCOMPLETE_SECONDS)
    ends = [item["current_period_end"] for item in cycles.items_of(work, body["id"])]
    resumes = (body["pause_collection"] or {}).get("resumes_at")
    return min([m for m in (body["cancel_at"], resumes, *ends) if m is not None], default=None)


def _process_event(work: Work, body: Body, target: int) -> None:
    if body["status"] == "incomplete":
        body.update(status="incomplete_expired", ended_at=work.now)
        return
    paused = body["pause_collection"]
    if paused is not None and paused["resumes_at"] is not None and paused["resumes_at"] <= work.now:
        body["pause_collection"] = None
    if body["cancel_at"] is not None and body["cancel_at"] <= work.now:
        end_subscription(work, body)
        return
    due = [item for item in cycles.items_of(work, body["id"]) if item["current_period_end"] <= work.now]
    if not due:
        return
    if body["status"] == "trialing":
        body["status"] = "active"
    cycles.refresh_periods(work, body)
    ids = {item["id"] for item in due}
    renewed = [item for item in cycles.items_of(work, body["id"]) if item["id"] in ids]
    if body["status"] != "paused":
        invoice = cycles.bill(work, body, "subscription_cycle", renewed)
        cycles.collect_later(work, body, invoice, at_once=work.now + cycles.HOUR <= target)

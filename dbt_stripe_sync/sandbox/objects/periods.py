"""Billing periods: months and days counted from an anchor, as Stripe counts them."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, timedelta

_DAYS = {"day": 1, "week": 7}
_MONTHS = {"month": 1, "year": 12}
DAY = 86_400


def add_intervals(anchor: int, interval: str, count: int) -> int:
    """The moment `count` intervals (day, week, month, year) after `anchor`, all in Unix seconds and UTC.

    A month that lacks the anchor's day ends on its last one (docs.stripe.com/billing/subscriptions/billing-cycle).
    """
    start = datetime.fromtimestamp(anchor, UTC)
    if interval in _DAYS:
        return int((start + timedelta(days=_DAYS[interval] * count)).timestamp())
    months = start.year * 12 + start.month - 1 + _MONTHS[interval] * count
    year, month = divmod(months, 12)
    day = min(start.day, monthrange(year, month + 1)[1])
    return int(start.replace(year=year, month=month + 1, day=day).timestamp())


def period_at(anchor: int, interval: str, interval_count: int, moment: int) -> tuple[int, int]:
    """The period of a cycle through `anchor` that holds `moment`."""
    number = 0
    while add_intervals(anchor, interval, number * interval_count) > moment:
        number -= 1
    while add_intervals(anchor, interval, (number + 1) * interval_count) <= moment:
        number += 1
    return (
        add_intervals(anchor, interval, number * interval_count),
        add_intervals(anchor, interval, (number + 1) * interval_count),
    )


def share_left(start: int, end: int, moment: int) -> float:
    """How much of a period is still to come, from 0 to 1."""
    return min(1.0, max(0.0, (end - moment) / (end - start))) if end > start else 0.0

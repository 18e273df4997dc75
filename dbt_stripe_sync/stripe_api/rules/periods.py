"""Adds months and days to a time, the way Stripe does for billing periods."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, timedelta

_DAYS = {"day": 1, "week": 7}
_MONTHS = {"month": 1, "year": 12}
DAY = 86_400


def add_intervals(anchor: int, interval: str, count: int) -> int:
    """Return the time `count` intervals (day, week, month, year) after `anchor`, in Unix seconds and UTC.

    If a month doesn't have the anchor's day, its last day is used
    (docs.stripe.com/billing/subscriptions/billing-cycle).
    """
    start = datetime.fromtimestamp(anchor, UTC)
    if interval in _DAYS:
        return int((start + timedelta(days=_DAYS[interval] * count)).timestamp())
    months = start.year * 12 + start.month - 1 + _MONTHS[interval] * count
    year, month = divmod(months, 12)
    day = min(start.day, monthrange(year, month + 1)[1])
    return int(start.replace(year=year, month=month + 1, day=day).timestamp())

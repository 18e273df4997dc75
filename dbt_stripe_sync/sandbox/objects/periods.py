"""Billing periods: months and days counted from an anchor, the way Stripe counts them."""

from __future__ import annotations

from dbt_stripe_sync.stripe_api.rules.periods import DAY, add_intervals

__all__ = ["DAY", "add_intervals", "period_at", "share_left"]


def period_at(anchor: int, interval: str, interval_count: int, moment: int) -> tuple[int, int]:
    """Return the period that contains `moment`, in a cycle through `anchor`."""
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
    """Return the remaining share of a period, from 0 to 1."""
    return min(1.0, max(0.0, (end - moment) / (end - start))) if end > start else 0.0

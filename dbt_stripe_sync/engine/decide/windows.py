"""Checks times that Stripe accepts only within a window, before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime, timedelta

    from dbt_stripe_sync.model.change import Params
    from dbt_stripe_sync.model.errors import Location
    from dbt_stripe_sync.model.foreseen import Window


def check_windows(
    params: Params, windows: Mapping[str, Window], now: datetime, where: Location, key: str
) -> Iterator[Problem]:
    """A problem for each time of a new object that Stripe would reject. Times are Unix seconds."""
    for name, window in windows.items():
        moment = params.get(name)
        if not isinstance(moment, int):
            continue
        away = moment - now.timestamp()
        if away < -window.past.total_seconds():
            reason = f"is more than {_span_text(window.past)} in the past"
            hint = "filter older rows out of the model: Stripe no longer accepts them"
        elif away > window.ahead.total_seconds():
            reason = f"is more than {_span_text(window.ahead)} in the future"
            hint = "send it later; a time without a zone counts as UTC"
        else:
            continue
        yield Problem(
            code="time-out-of-window",
            summary=f"`{name}` {reason}, and Stripe rejects this time",
            where=where.at_field("fields", name).at_key(key),
            hint=hint,
        )


def _span_text(span: timedelta) -> str:
    return counted(span.days, "day") if span.days else counted(int(span.total_seconds() // 60), "minute")

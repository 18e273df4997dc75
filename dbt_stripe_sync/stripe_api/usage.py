"""Reads a meter's totals: its summaries are the only way to check events, which can't be listed or retrieved.

docs.stripe.com/api/billing/meter-event-summary: summaries are per customer, from one whole minute to another, and
available some time after the events arrive.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.model.calls import Usage
from dbt_stripe_sync.stripe_api.catalog import EVENT_SUMMARY
from dbt_stripe_sync.stripe_api.meters import RESOURCE, Meter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.stripe_api.ports import Api

_MOST = 100


async def read_usage(api: Api, event: Mapping[str, Any], start: int, end: int) -> Usage | None:
    """Return what an event's meter counted for the event's customer between two times, or None without such a meter.

    `start` and `end` are Unix seconds on a whole minute. Raises `StripeError`.
    """
    name = str(event.get("event_name"))
    meters = [body async for page in api.pages(RESOURCE, {"limit": _MOST}) for body in page]
    named = [body for body in meters if body["event_name"] == name]
    body = next((body for body in named if body["status"] == "active"), named[0] if named else None)
    if body is None:
        return None
    meter = Meter.of(body)
    customer = str((event.get("payload") or {}).get(meter.customer_key))
    asked = {"id": body["id"], "customer": customer, "start_time": start, "end_time": end, "limit": _MOST}
    counted = Decimal(0)
    async for page in api.pages(EVENT_SUMMARY.name, asked):
        counted += sum((Decimal(str(summary["aggregated_value"])) for summary in page), Decimal(0))
    return Usage(
        meter=name,
        customer=customer,
        customer_key=meter.customer_key,
        value_key=meter.value_key,
        formula=str(body["default_aggregation"]["formula"]),
        counted=counted,
    )

"""What Stripe would refuse of a meter event, found out here, for the stream: it takes such an event and drops it later.

The codes are those of docs.stripe.com/billing/subscriptions/usage-based/recording-usage-api#handle-meter-event-errors.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.errors import StripeError
from dbt_stripe_sync.stripe_api.calls import StripeFailure
from dbt_stripe_sync.stripe_api.lifecycle import lifecycle_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.stripe_api.ports import Api, Clock

RESOURCE = "billing.meter"
EVENT = "billing.meter_event"
# An event of no meter that is known has them read again, but no more often than this.
READ_AGAIN_SECONDS = 5.0
# The type of a failure that is not Stripe's own answer.
NOT_SENT = "not_sent"
_NO_PERMISSION = "stripe-permission"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """How a meter reads its events. `counts` says that it needs no value."""

    customer_key: str = "stripe_customer_id"
    value_key: str = "value"
    counts: bool = False

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Meter:
        """The meter as the API shows it."""
        return cls(
            customer_key=body["customer_mapping"]["event_payload_key"],
            value_key=body["value_settings"]["event_payload_key"],
            counts=body["default_aggregation"]["formula"] == "count",
        )


class Meters:
    """The active meters of the account, read when the first event is sent."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._lock = asyncio.Lock()
        self._meters: dict[str, Meter] | None = None
        self._read_at = float("-inf")
        self._is_open = True

    async def fault_of(self, params: Mapping[str, Any]) -> StripeFailure | None:
        """What is wrong with an event, None where nothing is. Raises `StripeError` where the meters can't be read.

        A restricted key that may not read meters is taken as it is: then only the event itself is looked at.
        """
        name = params.get("event_name")
        meter = await self._meter(str(name)) if name else None
        if meter is None and (not name or self._is_open):
            return _fault("no_meter", "event_name")
        return self._fault_of_time(params) or _fault_of_payload(params.get("payload") or {}, meter)

    async def _meter(self, name: str) -> Meter | None:
        if self._meters is None or (name not in self._meters and self._is_open):
            async with self._lock:
                # Others have waited for the same answer; a meter that another sync has just made is worth a second one.
                late = self._clock.monotonic() - self._read_at >= READ_AGAIN_SECONDS
                if self._meters is None or (name not in self._meters and late):
                    await self._read()
        return (self._meters or {}).get(name)

    async def _read(self) -> None:
        meters: dict[str, Meter] = {}
        try:
            async for page in self._api.pages(RESOURCE, {"status": "active", "limit": 100}):
                meters |= {str(body["event_name"]): Meter.of(body) for body in page}
        except StripeError as error:
            if any(problem.code != _NO_PERMISSION for problem in error.problems):
                raise
            self._is_open = False
        self._meters = meters
        self._read_at = self._clock.monotonic()

    def _fault_of_time(self, params: Mapping[str, Any]) -> StripeFailure | None:
        """Planned long ago, an event may lie outside of Stripe's window by now."""
        moment = params.get("timestamp")
        window = lifecycle_of(EVENT).windows["timestamp"]
        if moment is None:
            return None
        away = int(moment) - self._clock.now().timestamp()
        if away < -window.past.total_seconds():
            return _fault("timestamp_too_far_in_past", "timestamp")
        return _fault("timestamp_in_future", "timestamp") if away > window.ahead.total_seconds() else None


def _fault_of_payload(payload: Mapping[str, Any], meter: Meter | None) -> StripeFailure | None:
    if meter is None:
        return None
    if not str(payload.get(meter.customer_key) or "").strip():
        return _fault("meter_event_no_customer_defined", f"payload[{meter.customer_key}]")
    value = payload.get(meter.value_key)
    if value is None:
        return None if meter.counts else _fault("meter_event_value_not_found", f"payload[{meter.value_key}]")
    if not _is_number(value):
        return _fault("meter_event_invalid_value", f"payload[{meter.value_key}]")
    return None


def _is_number(value: Any) -> bool:
    try:
        return Decimal(str(value)).is_finite()
    except InvalidOperation:
        return False


def _fault(code: str, param: str) -> StripeFailure:
    return StripeFailure(type=NOT_SENT, code=code, param=param)

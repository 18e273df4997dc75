"""Checks meter events for the stream, which accepts invalid ones and drops them later.

The codes are those of Stripe's event `v1.billing.meter.error_report_triggered` about dropped events
(docs.stripe.com/api/v2/core/events/event-types).
"""

from __future__ import annotations

import asyncio
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dbt_stripe_sync.model.calls import StripeFailure
from dbt_stripe_sync.model.errors import StripeError
from dbt_stripe_sync.stripe_api.catalog import lifecycle_of
from dbt_stripe_sync.stripe_api.rules.numbers import VALUE_DIGITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.stripe_api.ports import Api

RESOURCE = "billing.meter"
EVENT = "billing.meter_event"
# The meters are read again for an event with an unknown meter, but not more often than this.
READ_AGAIN_SECONDS = 5.0
# The type of a failure that isn't an answer of Stripe's.
NOT_SENT = "not_sent"
_NO_PERMISSION = "stripe-permission"


class Meter(Struct, frozen=True, kw_only=True):
    """How a meter reads its events. If `counts` is true, it needs no value."""

    customer_key: str = "stripe_customer_id"
    value_key: str = "value"
    counts: bool = False

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Meter:
        """Build a meter from the API's object."""
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
        self._reading: asyncio.Task[None] | None = None
        self._meters: dict[str, Meter] | None = None
        self._read_at = float("-inf")
        self._is_readable = True

    async def fault_of(self, params: Mapping[str, Any]) -> StripeFailure | None:
        """Return what is wrong with an event, or None.

        Raises `StripeError` if the meters can't be read. If a restricted key may not read meters, only the event itself
        is checked.
        """
        name = params.get("event_name")
        meter = await self._meter(str(name)) if name else None
        if meter is None and (not name or self._is_readable):
            return _fault("no_meter", "event_name")
        return self._fault_of_time(params) or _fault_of_payload(params.get("payload") or {}, meter)

    def value_key(self, event_name: str) -> str:
        """Return the payload key that a meter reads its value from.

        Call `fault_of` for the event first, since that reads the meters.
        """
        return (self._meters or {}).get(event_name, Meter()).value_key

    async def _meter(self, name: str) -> Meter | None:
        # Another sync may have created the meter in the meantime.
        late = self._is_readable and self._clock.monotonic() - self._read_at >= READ_AGAIN_SECONDS
        if self._meters is None or (name not in self._meters and late):
            # Concurrent callers wait for the same answer.
            self._reading = self._reading or asyncio.create_task(self._read())
            await asyncio.shield(self._reading)
        return (self._meters or {}).get(name)

    async def _read(self) -> None:
        meters: dict[str, Meter] = {}
        try:
            async for page in self._api.pages(RESOURCE, {"status": "active", "limit": 100}):
                meters |= {str(body["event_name"]): Meter.of(body) for body in page}
        except StripeError as error:
            if any(problem.code != _NO_PERMISSION for problem in error.problems):
                raise
            self._is_readable = False
        finally:
            self._reading = None
        self._meters = meters
        self._read_at = self._clock.monotonic()

    def _fault_of_time(self, params: Mapping[str, Any]) -> StripeFailure | None:
        """Check the time again: an event that was planned long ago may have left Stripe's window."""
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
    if value is None and meter.counts:
        return None
    number = shortest(value)
    if number is None:
        return _fault("meter_event_invalid_value", f"payload[{meter.value_key}]")
    if len(number.replace(".", "").lstrip("-0")) > VALUE_DIGITS:
        return _fault("meter_event_value_too_many_digits", f"payload[{meter.value_key}]")
    return None


def shortest(value: Any) -> str | None:
    """Return a number without superfluous digits, since Stripe counts them, or None if it isn't a number."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    if not number.is_finite():
        return None
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _fault(code: str, param: str) -> StripeFailure:
    return StripeFailure(type=NOT_SENT, code=code, param=param)

"""Determines from a meter's totals whether Stripe counted a usage event.

Stripe can't list or search events, and after a day it accepts the same identifier again
(docs.stripe.com/api/billing/meter-event/create). A meter's summaries show a customer's total for whole minutes, which
is compared with the records and open changes of the same minutes. The answer is None unless only one is possible.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dbt_stripe_sync.engine.ports import State, Stripe
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.calls import Usage
    from dbt_stripe_sync.model.run import Intent

MINUTE = 60
# An event without a timestamp gets the time at which Stripe received it. That can be this long before or after the time
# at which we sent it, because clocks differ and a call takes time.
BEFORE = timedelta(minutes=2)
AFTER = timedelta(minutes=20)

Span: TypeAlias = "tuple[int, int]"


class Counted(Struct, frozen=True, kw_only=True):
    """Whether Stripe counted an event; None if unknown. `facts` lets a person decide."""

    is_counted: bool | None
    facts: str


class _Sums(Struct, frozen=True, kw_only=True):
    """The sums for one customer, meter and time span: of the records (`known`) and of the open events (`open_`)."""

    known: Decimal | None
    open_: Decimal | None
    is_same_time: bool


class Counts(Struct, kw_only=True):
    """Compares meters' totals with `intents`. Each total is read once, before any event is sent again."""

    stripe: Stripe
    state: State
    workspace: Workspace
    intents: Sequence[Intent]
    _read: dict[tuple[str, str, Span], asyncio.Task[Usage | None]] = field(default_factory=dict)
    _sums: dict[tuple[str, str, Span], _Sums] = field(default_factory=dict)

    async def judge(self, intent: Intent, at: str) -> Counted:
        """Determine whether an event was counted. `at` is the parameter with its timestamp. Raises `StripeError`."""
        event = _event(intent)
        span = _span(intent, at)
        usage = await self._usage(event, span)
        if usage is None:
            return Counted(is_counted=None, facts=f"no meter has the event name `{event.get('event_name')}`")
        sums = self._sums_of(intent, at, span, usage)
        known, open_ = sums.known, sums.open_
        facts = _facts(usage, span, known, open_)
        mine = usage.added_by(event)
        if mine is None or open_ is None:
            return Counted(is_counted=None, facts=facts)
        if usage.counted == 0 and mine > 0 and not known:
            return Counted(is_counted=False, facts=facts)
        adds_up = usage.formula in ("sum", "count") and known is not None and sums.is_same_time
        if adds_up and known is not None and open_ > 0 and usage.counted == known + open_:
            return Counted(is_counted=True, facts=facts)
        return Counted(is_counted=None, facts=facts)

    async def _usage(self, event: Mapping[str, Any], span: Span) -> Usage | None:
        named = (str(event.get("event_name")), str(event.get("payload")), span)
        if named not in self._read:
            self._read[named] = asyncio.ensure_future(self.stripe.usage(event, *span))
        return await self._read[named]

    def _sums_of(self, intent: Intent, at: str, span: Span, usage: Usage) -> _Sums:
        """The sums for an event. Events of one customer, meter and time span share them, so records are read once."""
        place = (usage.meter, usage.customer, span)
        if place not in self._sums:
            open_, is_same_time = self._open(intent, at, span, usage)
            known = self._known(intent, at, span, usage)
            self._sums[place] = _Sums(known=known, open_=open_, is_same_time=is_same_time)
        return self._sums[place]

    def _known(self, intent: Intent, at: str, span: Span, usage: Usage) -> Decimal | None:
        """The sum of recorded events; None if a record doesn't store its values.

        Open events don't count as recorded, even those that were settled a moment ago.
        """
        total = Decimal(0)
        open_ = {(other.change.sync, other.change.key) for other in self.intents}
        for batch in self.workspace.batches(
            "SELECT sync, key, params, salt, CAST(epoch(updated_at) AS BIGINT) AS sent FROM known_records "
            "WHERE resource = $resource "
            "AND (salt IS NOT NULL OR (contains(params, $meter) AND contains(params, $customer)))",
            {"resource": intent.change.resource, "meter": usage.meter, "customer": usage.customer},
        ):
            for row in batch:
                if (row["sync"], row["key"]) in open_:
                    continue
                if row["salt"] is not None:
                    return None
                event = self.state.fingerprints.parse(row["params"], row["salt"], row["key"])
                moment = event.get(at, row["sent"])
                if _is_counted_in(event, usage) and span[0] <= int(moment) < span[1]:
                    value = usage.added_by(event)
                    if value is None:
                        return None
                    total += value
        return total

    def _open(self, intent: Intent, at: str, span: Span, usage: Usage) -> tuple[Decimal | None, bool]:
        """The sum of the open events whose time overlaps `span`, including this one, and whether all have that span."""
        total, is_same_time = Decimal(0), True
        for other in self._others(intent, usage):
            start, end = _span(other, at)
            if start >= span[1] or end <= span[0]:
                continue
            is_same_time = is_same_time and (start, end) == span
            value = usage.added_by(_event(other))
            if value is None:
                return None, False
            total += value
        return total, is_same_time

    def _others(self, intent: Intent, usage: Usage) -> Iterator[Intent]:
        for other in self.intents:
            is_event = other.change.resource == intent.change.resource and other.step < len(other.change.calls)
            if is_event and _is_counted_in(_event(other), usage):
                yield other


def _event(intent: Intent) -> Mapping[str, Any]:
    return intent.change.calls[intent.step].params


def _is_counted_in(event: Mapping[str, Any], usage: Usage) -> bool:
    payload = event.get("payload") or {}
    return event.get("event_name") == usage.meter and str(payload.get(usage.customer_key)) == usage.customer


def _span(intent: Intent, at: str) -> Span:
    """The whole minutes in which Stripe would count an event, as Unix seconds."""
    moment = _event(intent).get(at)
    if moment is not None:
        start = int(moment) // MINUTE * MINUTE
        return start, start + MINUTE
    sent = intent.key_sent_at
    if sent is None:
        raise ValueError(intent.id)
    start = int((sent - BEFORE).timestamp()) // MINUTE * MINUTE
    end = -(-int((sent + AFTER).timestamp()) // MINUTE) * MINUTE
    return start, end


def _facts(usage: Usage, span: Span, known: Decimal | None, open_: Decimal | None) -> str:
    start, end = (f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M}" for moment in span)
    ours = "the state hides what it sent" if known is None else f"{_number(known)} of it is recorded"
    unsettled = "" if open_ is None else f", {_number(open_)} is unresolved"
    return (
        f"from {start} to {end} UTC the meter `{usage.meter}` has counted {_number(usage.counted)} "
        f"({usage.formula}) for {usage.customer}; {ours}{unsettled}"
    )


def _number(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text

"""Intents that a crash or a lost answer left open, settled before anything else is compared or sent.

While Stripe keeps an idempotency key, sending the same call again is safe: it answers what it answered. After that, or
where it keeps a failure under the key, our tag in Stripe tells whether the object was made.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from dbt_stripe_sync.engine.references import TAG_FIELD, object_value
from dbt_stripe_sync.engine.types import Outcome, Status
from dbt_stripe_sync.errors import StripeError
from dbt_stripe_sync.stripe_api.lifecycle import lifecycle_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dbt_stripe_sync.engine.apply import Observer
    from dbt_stripe_sync.engine.ports import Clock
    from dbt_stripe_sync.engine.references import ExistingObjects
    from dbt_stripe_sync.engine.send import Sender
    from dbt_stripe_sync.engine.types import Intent

# Stripe keeps a key for at least 24 hours (docs.stripe.com/api/idempotent_requests). An hour is left for the time
# that the call itself takes and for clocks that differ.
KEY_RETENTION = timedelta(hours=23)


async def settle_intents(
    intents: Iterable[Intent], sender: Sender, existing: ExistingObjects, observer: Observer
) -> list[Outcome]:
    """Bring every open intent to its end, or say why it stays open.

    Raises `StateError` where the state can't be written.
    """
    outcomes = []
    for intent in intents:
        outcome = await _settle(intent, sender, existing)
        observer.on_outcome(outcome)
        outcomes.append(outcome)
    return outcomes


async def _settle(intent: Intent, sender: Sender, existing: ExistingObjects) -> Outcome:
    if intent.key_sent_at is None or _can_replay(intent, sender.clock):
        return await sender.carry_out(intent)
    if _is_told_apart(intent, sender.clock):
        return await sender.carry_out(_with_new_key(intent))
    if intent.change.calls[intent.step].operation != "create":
        # An update or a removal names its whole effect: sending it again under a new key leaves the same object.
        return await sender.carry_out(_with_new_key(intent))
    tag = object_value(dict(intent.change.calls[intent.step].params), TAG_FIELD)
    if tag is None:
        return await _leave_open(intent, sender, f"a {intent.change.resource} has no metadata to find it by")
    try:
        await existing.list_beside(intent.change.resource, TAG_FIELD, intent.change.calls[intent.step].params)
    except StripeError:
        return await _leave_open(intent, sender, "Stripe could not be asked whether it was made")
    found = existing.find(intent.change.resource, {intent.change.key: [(TAG_FIELD, str(tag))]}).get(intent.change.key)
    # A replaced object carries the tag until it ends: it is not the one that the call would have made.
    others = [body for body in found.objects if body["id"] != intent.change.stripe_id] if found else []
    if not others:
        return await sender.carry_out(_with_new_key(intent))
    made = replace(
        intent,
        step=intent.step + 1,
        stripe_id=str(others[0]["id"]),
        key_sent_at=None,
        key_spent=False,
    )
    return await sender.carry_out(made)


def _can_replay(intent: Intent, clock: Clock) -> bool:
    return not intent.key_spent and _is_recent(intent, clock)


def _is_recent(intent: Intent, clock: Clock) -> bool:
    if intent.key_sent_at is None:
        return False
    age = clock.now() - intent.key_sent_at
    # A clock that stepped back says nothing of the key's age.
    return timedelta(0) <= age < KEY_RETENTION


def _is_told_apart(intent: Intent, clock: Clock) -> bool:
    """Whether Stripe itself refuses a second such object, for as long as it keeps a key."""
    return lifecycle_of(intent.change.resource).key_as is not None and _is_recent(intent, clock)


def _with_new_key(intent: Intent) -> Intent:
    keys = (*intent.keys[: intent.step], str(uuid4()), *intent.keys[intent.step + 1 :])
    return replace(intent, keys=keys, key_sent_at=None, key_spent=False)


async def _leave_open(intent: Intent, sender: Sender, reason: str) -> Outcome:
    outcome = Outcome(
        intent_id=intent.id,
        run_id=sender.run_id,
        change=intent.change,
        status=Status.UNKNOWN,
        record=None,
        stripe_id=intent.stripe_id,
        reason=reason,
        finished_at=sender.clock.now(),
    )
    await sender.journal.close(outcome)
    return outcome

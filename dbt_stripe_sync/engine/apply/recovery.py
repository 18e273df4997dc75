"""Settles intents that a crash or a lost response left open, before anything else is compared or sent.

While Stripe keeps an idempotency key, the same call can be sent again and returns the first response. After that, or if
Stripe saved a failure under the key, Stripe's lists show whether the object was created. The object is identified by
its tag or, without one, by all parameters that were sent. For usage events, the meter's totals show it.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from msgspec.structs import replace

from dbt_stripe_sync.engine.apply.counted import Counts
from dbt_stripe_sync.engine.apply.happened import Effect, effect_of
from dbt_stripe_sync.engine.plan.references import ExistingObjects
from dbt_stripe_sync.engine.stage.workspace import Workspace
from dbt_stripe_sync.model.errors import StripeError
from dbt_stripe_sync.model.objects import TAG_FIELD, object_value
from dbt_stripe_sync.model.run import Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dbt_stripe_sync.engine.apply.lanes import Observer
    from dbt_stripe_sync.engine.apply.send import Sender
    from dbt_stripe_sync.engine.ports import State
    from dbt_stripe_sync.model.change import Params
    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.model.run import Intent

# Stripe keeps a key for at least 24 hours (docs.stripe.com/api/idempotent_requests). One hour of that is a margin for
# the duration of the call and for clocks that differ.
KEY_RETENTION = timedelta(hours=23)
BULK_GROUP_SIZE = 500


async def settle_intents(sender: Sender, state: State, observer: Observer) -> list[Outcome]:
    """Finish every open intent, or leave it open with the reason. Returns an outcome for each.

    Side effects: calls Stripe, and writes the outcomes to the state. Raises `StateError` if the state can't be written.
    """
    intents = list(state.open_intents())
    if not intents:
        return []
    workspace = Workspace(state.workspace)
    existing = ExistingObjects(workspace, sender.stripe, sender.catalog, sender.clock)
    counts = Counts(stripe=sender.stripe, state=state, workspace=workspace, intents=intents)
    outcomes: list[Outcome] = []
    for group in _grouped(intents):
        settled = await asyncio.gather(*(_settle(intent, sender, existing, counts, state) for intent in group))
        for outcome in settled:
            observer.on_outcome(outcome)
        outcomes += settled
    workspace.close()
    return outcomes


def _grouped(intents: Iterable[Intent]) -> Iterator[list[Intent]]:
    """Groups of one, because an object found for one intent isn't available to the next; larger for bulk requests."""
    for in_bulk, group in groupby(intents, key=lambda intent: intent.change.calls[intent.step].in_bulk):
        size = BULK_GROUP_SIZE if in_bulk else 1
        while some := list(islice(group, size)):
            yield some


async def _settle(intent: Intent, sender: Sender, existing: ExistingObjects, counts: Counts, state: State) -> Outcome:
    call = intent.change.calls[intent.step]
    if intent.key_sent_at is None or _can_replay(intent, sender.clock):
        return await sender.carry_out(intent)
    if not call.creates:
        return await _settle_repeatable(intent, sender)
    if _rejects_duplicate(intent, sender):
        # Stripe recognizes the object by a parameter, whatever the key. The time still counts from the first attempt.
        return await sender.carry_out(_still_in_doubt(intent))
    if (counted_at := sender.catalog.resources[intent.change.resource].lifecycle.counted_at) is not None:
        return await _settle_counted(intent, sender, counts, counted_at)
    try:
        is_listed = await existing.list_candidates(intent.change.resource, TAG_FIELD, call.params)
    except StripeError:
        return await _leave_open(intent, sender, "Stripe could not be asked whether it was made; run it again")
    if not is_listed:
        return await _leave_open(intent, sender, _not_listed(intent))
    made = _find_created(intent, call.params, existing, state)
    if made is None:
        return await sender.carry_out(_with_new_key(intent))
    return await sender.carry_out(_after_this(intent, made))


async def _settle_repeatable(intent: Intent, sender: Sender) -> Outcome:
    """Settle an update or a removal: most of them leave the same object if they are sent again under a new key."""
    try:
        effect = await effect_of(intent, sender)
    except StripeError:
        return await _leave_open(intent, sender, "Stripe could not be asked whether it was done; run it again")
    match effect:
        case Effect.HAPPENED:
            return await sender.carry_out(_after_this(intent, intent.stripe_id))
        case Effect.DID_NOT_HAPPEN:
            return await sender.carry_out(_with_new_key(intent))
        case Effect.REPEATABLE:
            return await sender.carry_out(_still_in_doubt(intent))
        case Effect.HIDDEN:
            return await _leave_open(intent, sender, _not_shown(intent))


async def _settle_counted(intent: Intent, sender: Sender, counts: Counts, at: str) -> Outcome:
    """Settle a usage event whose identifier has expired from its meter's totals, or leave it for a person to decide."""
    try:
        counted = await counts.judge(intent, at)
    except StripeError:
        return await _leave_open(intent, sender, "Stripe could not be asked what its meter has counted; run it again")
    if counted.is_counted is None:
        change = intent.change
        reason = (
            f"there is no way to tell whether the event was counted: {counted.facts}; if it was not, `dbt-stripe-sync "
            f"state forget {change.sync} KEY` lets the next run send it; if it was, leave its row out of the model, too"
        )
        return await _leave_open(intent, sender, reason)
    if counted.is_counted:
        return await sender.carry_out(_after_this(intent, intent.change.id))
    return await sender.carry_out(_with_new_key(intent))


def _find_created(intent: Intent, params: Params, existing: ExistingObjects, state: State) -> str | None:
    """The id of the newest object that the call can have created, or None."""
    change = intent.change
    tag = object_value(dict(params), TAG_FIELD)
    if tag is not None:
        found = existing.find(change.resource, {change.key: [(TAG_FIELD, str(tag))]}).get(change.key)
        bodies = found.objects if found else ()
    else:
        bodies = tuple(body for body in existing.listed(change.resource) if _matches(body, dict(params)))
    ids = [str(body["id"]) for body in bodies]
    if (chosen := params.get("id")) in ids and (change.resource, chosen) not in _owed_ends(state):
        # The object that it replaced, or that its row had before, may have had the same id: it ended first.
        return str(chosen)
    # A replaced object, and one that ended before its row returned, have the same tag.
    known = {change.stripe_id, *state.known_objects(ids, resource=change.resource, sync=change.sync, key=change.key)}
    return next((found_id for found_id in ids if found_id not in known), None)


def _owed_ends(state: State) -> set[tuple[str, str]]:
    """The objects whose end is owed, by resource and id."""
    return {(step.resource, step.target) for step in state.owed()}


def _matches(body: Any, params: Any) -> bool:
    """Whether an object, or a part of one, has the values that were sent. What it doesn't show is ignored."""
    if isinstance(params, dict):
        shared = params.keys() & body.keys() if isinstance(body, dict) else set()
        return bool(shared) and all(_matches(body[name], params[name]) for name in shared)
    if isinstance(params, list):
        return isinstance(body, list) and len(body) == len(params) and all(map(_matches, body, params))
    shown = body.get("id") if isinstance(body, dict) else body
    return str(shown) == str(params)


def _not_listed(intent: Intent) -> str:
    change = intent.change
    return (
        f"Stripe has no list of its {change.resource} objects, so there is no way to tell whether it was created; if "
        f"it was not, `dbt-stripe-sync state forget {change.sync} KEY` lets the next run send it"
    )


def _not_shown(intent: Intent) -> str:
    change = intent.change
    return (
        f"{change.stripe_id} doesn't show whether the change was made, and making it twice could bill twice; make it "
        f"in Stripe if it is missing, then `dbt-stripe-sync state forget {change.sync} KEY`"
    )


def _after_this(intent: Intent, stripe_id: str | None) -> Intent:
    """The intent after its current call, which turned out to have had its effect."""
    return replace(intent, step=intent.step + 1, stripe_id=stripe_id, key_sent_at=None, key_spent=False)


def _can_replay(intent: Intent, clock: Clock) -> bool:
    return not intent.key_spent and _is_recent(intent, clock)


def _is_recent(intent: Intent, clock: Clock) -> bool:
    if intent.key_sent_at is None:
        return False
    age = clock.now() - intent.key_sent_at
    # If the clock was set back, the key's age is unknown.
    return timedelta(0) <= age < KEY_RETENTION


def _rejects_duplicate(intent: Intent, sender: Sender) -> bool:
    """Whether Stripe itself still rejects a duplicate of the object, as it does for as long as it keeps a key."""
    lifecycle = sender.catalog.resources[intent.change.resource].lifecycle
    return lifecycle.key_as is not None and _is_recent(intent, sender.clock)


def _with_new_key(intent: Intent) -> Intent:
    keys = (*intent.keys[: intent.step], str(uuid4()), *intent.keys[intent.step + 1 :])
    return replace(intent, keys=keys, key_sent_at=None, key_spent=False)


def _still_in_doubt(intent: Intent) -> Intent:
    """The intent with a new key. A 403, for example, doesn't say what the first attempt did, so it stays open then."""
    return replace(_with_new_key(intent), key_sent_at=intent.key_sent_at)


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

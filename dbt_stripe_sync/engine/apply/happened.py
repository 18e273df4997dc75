"""Determines from its object whether a call without a known outcome took effect, before it is sent again.

Most updates and removals leave the same object if they are sent twice. But an item without an id would be added twice,
and Stripe refuses to finalize, void or accept an object a second time. And if Stripe rejects the second attempt, the
record must still have what the first one did: a row that changes back would otherwise look unchanged. A deletion shows
it by itself: the object is missing.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.engine.payload.drift import shows
from dbt_stripe_sync.engine.payload.items import pair_items
from dbt_stripe_sync.engine.plan.listing import everything
from dbt_stripe_sync.model.calls import Call, Verdict
from dbt_stripe_sync.model.errors import StripeError
from dbt_stripe_sync.model.lifecycle import ByStatus
from dbt_stripe_sync.model.objects import object_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.engine.apply.send import Sender
    from dbt_stripe_sync.model.change import PlannedCall
    from dbt_stripe_sync.model.lifecycle import Lifecycle
    from dbt_stripe_sync.model.params import Resource
    from dbt_stripe_sync.model.run import Intent


class Effect(Enum):
    """What is known about the effect of a call that got no clear answer.

    `REPEATABLE` means that nothing shows the effect, and that a second one would leave the same object; `HIDDEN` that
    nothing shows it, and that a second one could bill twice.
    """

    HAPPENED = "happened"
    DID_NOT_HAPPEN = "did not happen"
    REPEATABLE = "repeatable"
    HIDDEN = "hidden"


async def effect_of(intent: Intent, sender: Sender) -> Effect:
    """Whether an open update or removal took effect.

    Reads the object unless its deletion shows that by itself. Raises `StripeError` if Stripe doesn't return it.
    """
    call = intent.change.calls[intent.step]
    resource = sender.catalog.resources[call.resource or intent.change.resource]
    lifecycle = resource.lifecycle
    lists = [name for name in call.params if _adds_items(call, name, lifecycle)]  # a resource has one at most
    unseen = [name for name in call.params if name in lifecycle.added_each_time]
    if call.operation == "delete" or "retrieve" not in resource.operations:
        return Effect.REPEATABLE
    target = call.target if isinstance(call.target, str) else intent.stripe_id
    answer = await sender.stripe.send(Call(resource=resource.name, operation="retrieve", target=target))
    if answer.is_missing:
        return Effect.REPEATABLE
    if answer.verdict is not Verdict.DONE:
        raise StripeError([])
    if call.operation != "update":
        return _shown(_has_status(call.operation, lifecycle, answer.body))
    if lists:
        existing = await _items(sender, resource, lists[0], answer.body)
        return _shown(_has_items(call.params[lists[0]], existing, lists[0], lifecycle))
    changed = {part.path.partition(".")[0] for part in intent.change.changed} - set(unseen)
    seen = {name: call.params[name] for name in changed if name in call.params and name in answer.body}
    if not seen:
        return Effect.HIDDEN if unseen else Effect.REPEATABLE
    return _shown(shows(seen, answer.body))


def _shown(happened: bool) -> Effect:  # noqa: FBT001 - the object's answer
    return Effect.HAPPENED if happened else Effect.DID_NOT_HAPPEN


def _adds_items(call: PlannedCall, name: str, lifecycle: Lifecycle) -> bool:
    rule = lifecycle.item_lists.get(name)
    return rule is not None and bool(rule.gone) and any("id" not in item for item in call.params[name])


def _has_status(operation: str, lifecycle: Lifecycle, body: Mapping[str, Any]) -> bool:
    """Whether an object's status is what an operation that Stripe accepts once would have made of it."""
    finish = next((finish for finish in lifecycle.finishes.values() if finish.operation == operation), None)
    if finish is not None:
        return str(object_value(body, finish.status_field)) != finish.status
    by_status = [rule for rule in lifecycle.on_removed.values() if isinstance(rule, ByStatus)]
    steps = [(rule, status, step) for rule in by_status for status, step in rule.steps.items()]
    made = {(rule.status_field, step.becomes) for rule, _, step in steps if step.operation == operation}
    made |= {(rule.status_field, status) for rule, status, step in steps if step.revive_by == operation}
    return any(status is not None and object_value(body, field) == status for field, status in made)


def _has_items(
    sent: Sequence[Mapping[str, Any]], existing: Sequence[Mapping[str, Any]], name: str, lifecycle: Lifecycle
) -> bool:
    """Whether an object has the items that a call added, besides those that it changed."""
    changed = {item["id"] for item in sent if "id" in item}
    added = [item for item in sent if "id" not in item]
    found, _ = pair_items(added, [item for item in existing if item["id"] not in changed], lifecycle.item_lists[name])
    return None not in found


async def _items(sender: Sender, resource: Resource, name: str, body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    page = body.get(name) or {}
    listed_by = resource.lifecycle.item_lists[name].listed_by
    if not page.get("has_more") or listed_by is None:
        return list(page.get("data", ()))
    listed, parent = listed_by
    pages = everything(sender.stripe, sender.catalog.resources[listed], {parent: body["id"]})
    return [item async for items in pages for item in items]

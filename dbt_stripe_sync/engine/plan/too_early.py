"""Holds back removals that would end another synced object, or a part of it, too early.

Removing an item takes effect immediately, although its subscription is paid until the end of its period. Canceling a
schedule also cancels its subscription. The first waits until the other object has ended, the second until a person
decides.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from msgspec import Struct

from dbt_stripe_sync.engine.plan.ordering import ends_later, stays
from dbt_stripe_sync.engine.plan.reads import no_reads_left
from dbt_stripe_sync.engine.plan.settling import Referrer
from dbt_stripe_sync.model.calls import Call, Verdict
from dbt_stripe_sync.model.errors import Location, Problem, ReadLimitError
from dbt_stripe_sync.model.sql import ID_SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dbt_stripe_sync.engine.plan.order import Order
    from dbt_stripe_sync.engine.plan.settling import Settling
    from dbt_stripe_sync.engine.ports import Stripe
    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.lifecycle import CutsShort
    from dbt_stripe_sync.model.params import Catalog


class _Other(Struct, frozen=True, kw_only=True):
    """The object that a removal affects, by its row. `end` is the change of this plan that ends it, if any."""

    resource: str
    stripe_id: str
    sync: str
    key: str
    leaves: bool
    end: Change | None


async def keep_from_ending_early(settling: Settling, stripe: Stripe, catalog: Catalog, order: Order) -> None:
    """Withhold removals that would end another synced object, or a part of it, too early."""
    over: dict[str, bool] = {}
    for change, rule, other in _pairs(settling, catalog):
        if rule.wholly:
            if other.end is not None and other.end.gone:
                continue
            order.withheld[change.id] = _ends_too(change, other)
            if other.end is not None:
                order.withheld[other.end.id] = stays(other.end, _as_referrer(change))
            continue
        if other.end is None and other.leaves and other.stripe_id not in over:
            try:
                over[other.stripe_id] = await _is_over(stripe, catalog, other)
            except ReadLimitError:
                order.withheld[change.id] = no_reads_left(change, other.resource)
                continue
        is_later = not other.end.gone if other.end is not None else other.leaves and not over[other.stripe_id]
        if is_later:
            order.withheld[change.id] = ends_later(change, (other.resource, other.sync, other.key))


def _pairs(settling: Settling, catalog: Catalog) -> Iterator[tuple[Change, CutsShort, _Other]]:
    """Each removal that affects another synced object, with its rule and that object."""
    found: list[tuple[Change, CutsShort]] = [
        (change, rule)
        for change in settling.cutting_short
        for rule in catalog.resources[change.resource].lifecycle.cuts_short
        if rule.operation == change.calls[-1].operation
    ]
    ids = [stripe_id for change, _ in found for stripe_id in _named(change)]
    if not ids:
        return
    ends = {(change.sync, change.key): change for change in settling.removed}
    others: defaultdict[str, list[_Other]] = defaultdict(list)
    rows = settling.workspace.all(
        "SELECT resource, stripe_id, sync, key, removed FROM known_records WHERE stripe_id IN (SELECT unnest($ids))",
        {"ids": list(dict.fromkeys(ids))},
    )
    for resource, stripe_id, sync, key, leaves in rows:
        end = ends.get((sync, key))
        others[stripe_id].append(
            _Other(resource=resource, stripe_id=stripe_id, sync=sync, key=key, leaves=leaves, end=end)
        )
    for change, rule in found:
        for stripe_id in _named(change):
            yield from ((change, rule, other) for other in others[stripe_id] if other.resource == rule.resource)


def _named(change: Change) -> Sequence[str]:
    return [stripe_id for stripe_id in (change.refs or "").split(ID_SEPARATOR) if stripe_id]


async def _is_over(stripe: Stripe, catalog: Catalog, other: _Other) -> bool:
    """Whether an object that was set to end later has ended. If it can't be read, it has not."""
    answer = await stripe.send(Call(resource=other.resource, operation="retrieve", target=other.stripe_id))
    if answer.is_missing:
        return True
    ended = catalog.resources[other.resource].lifecycle.ended
    return answer.verdict is Verdict.DONE and answer.body.get("status") in ended


def _as_referrer(change: Change) -> Referrer:
    return Referrer(
        sync=change.sync, key=change.key, change_id=None, is_planned=True, resource=change.resource, ends=False
    )


def _ends_too(change: Change, other: _Other) -> Problem:
    return Problem(
        code="ends-with-it",
        summary=f"the {other.resource} of row [{other.key}] of `{other.sync}` would end immediately with this "
        f"{change.resource}, and its own sync does not end it now",
        where=Location(sync=change.sync, field="on_removed", key=change.key),
        hint=f"set `on_removed: deactivate` on `{change.sync}` to release the {other.resource} first, or "
        f"`on_removed: cancel` on `{other.sync}` to end both",
    )

"""Holds back the removal of an object that others need until they end: a meter counts for running subscriptions.

Stripe is asked which objects need it, since some of them may not come from a sync.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.engine.plan.listing import everything
from dbt_stripe_sync.engine.plan.ordering import ends_later
from dbt_stripe_sync.engine.plan.reads import no_reads_left
from dbt_stripe_sync.model.change import nested
from dbt_stripe_sync.model.errors import Location, Problem, ReadLimitError, Severity, StripeError
from dbt_stripe_sync.model.sync import PART_SEPARATOR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from dbt_stripe_sync.engine.plan.order import Order
    from dbt_stripe_sync.engine.plan.settling import Settling
    from dbt_stripe_sync.engine.ports import Stripe
    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.lifecycle import UsedBy
    from dbt_stripe_sync.model.params import Catalog


async def keep_while_in_use(settling: Settling, stripe: Stripe, catalog: Catalog, order: Order) -> None:
    """Withhold a removal while something needs its object. If that ends in the same plan, the removal waits for it."""
    for change in settling.in_use:
        for rule in catalog.resources[change.resource].lifecycle.used_by:
            if rule.operation != change.calls[-1].operation:
                continue
            try:
                async for user in _users(stripe, catalog, rule, str(change.stripe_id)):
                    _keep_for(settling, order, change, rule, user)
                    if change.id in order.withheld:
                        break
            except StripeError:
                order.withheld[change.id] = _unanswered(change, rule)
            except ReadLimitError:
                order.withheld[change.id] = no_reads_left(change, rule.resource)


async def _users(stripe: Stripe, catalog: Catalog, rule: UsedBy, stripe_id: str) -> AsyncIterator[Mapping[str, Any]]:
    """The objects that need an object and have not ended."""
    through, users = catalog.resources[rule.through.resource], catalog.resources[rule.resource]
    async for page in everything(stripe, through, nested(str(rule.through.listed_by), stripe_id)):
        for body in page:
            async for using in everything(stripe, users, {rule.listed_by: body["id"]}):
                for user in using:
                    if user.get("status") not in users.lifecycle.ended:
                        yield user


def _keep_for(settling: Settling, order: Order, change: Change, rule: UsedBy, user: Mapping[str, Any]) -> None:
    """Hold a removal back until an object that needs its object has ended."""
    rows = settling.workspace.all(
        "SELECT sync, key, removed FROM known_records WHERE resource = $resource AND stripe_id = $id "
        "AND NOT contains(sync, $part)",
        {"resource": rule.resource, "id": user["id"], "part": PART_SEPARATOR},
    )
    for sync, key, is_removed in rows:
        end = settling.users_ending.get((sync, key))
        if end is not None and end.gone:
            order.after[change.id].append(end.id)
            return
        if end is not None or is_removed:
            order.withheld[change.id] = ends_later(change, (rule.resource, sync, key))
            return
    whose = f"of row [{rows[0][1]}] of `{rows[0][0]}`" if rows else f"{user['id']}, which no sync writes,"
    name = change.resource
    if any(user.get(part) for part in rule.ends_by_itself):
        order.withheld[change.id] = Problem(
            code="dependent-ends-later",
            summary=f"the {rule.resource} {whose} still uses this {name}, and will end or change by itself",
            where=Location(sync=change.sync, key=change.key),
            hint=f"nothing to do: the {name} is removed by the first run after that",
            severity=Severity.WARNING,
        )
        return
    order.withheld[change.id] = Problem(
        code="dependent-stays",
        summary=f"the {rule.resource} {whose} still uses this {name}",
        where=Location(sync=change.sync, key=change.key),
        hint=f"end the {rule.resource}, or put the row back; `on_removed: ignore` on `{change.sync}` leaves both",
    )


def _unanswered(change: Change, rule: UsedBy) -> Problem:
    return Problem(
        code="lookup-failed",
        summary=f"Stripe could not be asked which {rule.resource}s still use this {change.resource}, so it stays",
        where=Location(sync=change.sync, key=change.key),
        hint=f"run it again; a restricted key has to be allowed to read {rule.through.resource} and {rule.resource} "
        "(`dbt-stripe-sync debug`)",
    )

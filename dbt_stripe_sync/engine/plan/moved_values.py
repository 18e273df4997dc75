"""Leaves rows for the next run whose look-up found an object by a value that this plan gives to another one.

A look-up is answered with the objects as they are before the plan. If two customers swap their addresses in the same
plan, an invoice that looks its customer up by address would be billed to the wrong one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.model.change import Action
from dbt_stripe_sync.model.errors import Location, Problem, Severity
from dbt_stripe_sync.model.sql import ID_SEPARATOR
from dbt_stripe_sync.model.sync import Lookup

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dbt_stripe_sync.engine.payload.layout import Layout
    from dbt_stripe_sync.engine.plan.order import Order
    from dbt_stripe_sync.engine.plan.plan_file import PlanWriter
    from dbt_stripe_sync.engine.plan.planning import SyncPlan
    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.sync import Sync

ID = "id"


def leave_moved_lookups(plans: Sequence[SyncPlan], writer: PlanWriter, order: Order) -> None:
    """Withhold the changes whose look-up may find another object once the plan is sent."""
    # A new object takes a value from none that was found.
    changing = [plan.staged.sync for plan in plans if plan.counts.by_action.keys() - {Action.CREATE.value}]
    for plan in plans:
        moving = {
            str(change.stripe_id): lookup
            for lookup in _lookups(plan.staged.layout)
            for change in _losing(lookup, changing, writer)
        }
        for change in writer.changes_of(plan.staged.sync.name) if moving else ():
            found = next((id_ for id_ in (change.refs or "").split(ID_SEPARATOR) if id_ in moving), None)
            if found is not None and not change.removed:
                order.withheld.setdefault(change.id, _left_for_later(change, found, moving[found]))


def _lookups(layout: Layout) -> Iterator[Lookup]:
    for part in layout.parts:
        for reference in part.references:
            if isinstance(reference, Lookup) and reference.by != ID:
                yield reference


def _losing(lookup: Lookup, syncs: Sequence[Sync], writer: PlanWriter) -> Iterator[Change]:
    """The changes after which an object may no longer have the value that a look-up found it by."""
    for sync in syncs:
        if sync.resource == lookup.resource:
            for change in writer.changes_of(sync.name):
                if change.stripe_id is not None and (change.action is Action.REPLACE or _changes(change, lookup.by)):
                    yield change


def _changes(change: Change, field: str) -> bool:
    return any(field == part.path or field.startswith(f"{part.path}.") for part in change.changed)


def _left_for_later(change: Change, found: str, lookup: Lookup) -> Problem:
    return Problem(
        code="lookup-moves",
        summary=f"it looks up {found} by `{lookup.by}`, which this plan changes: then another {lookup.resource} may be "
        "the right one",
        where=Location(sync=change.sync, key=change.key),
        hint="nothing to do: the next run looks it up again",
        severity=Severity.WARNING,
    )

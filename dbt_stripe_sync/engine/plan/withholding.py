"""Withholds changes that wait for a change that can't be part of the plan."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING

from msgspec import Struct

from dbt_stripe_sync.model.change import ENDS_FIRST, row_of
from dbt_stripe_sync.model.errors import Location, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dbt_stripe_sync.engine.plan.order import Order
    from dbt_stripe_sync.model.change import Change


class _Waiting(Struct, frozen=True):
    """A change that waits for another, with what a message needs to name it."""

    whole: str
    where: Location
    refers_to: frozenset[str]


def withhold_waiting(lanes: Iterable[tuple[str, Iterable[Change]]], order: Order) -> None:
    """Withhold all changes that wait for withheld ones, directly or not, in one pass through a plan's lanes.

    In the lanes, parents come before children, so what a change waits for has usually been seen. Only changes that wait
    for one in their own lane or a later one, or for another such change, are kept in memory until its fate is known.
    """
    walked: set[str] = set()
    waiting: defaultdict[str, list[_Waiting]] = defaultdict(list)
    undecided: set[str] = set()
    for lane, changes in lanes:
        for change in changes:
            if order.is_withheld(change):
                continue
            one = _Waiting(
                change.id.removesuffix(ENDS_FIRST),
                Location(sync=change.sync, key=change.key),
                frozenset(other.removesuffix(ENDS_FIRST) for other in change.depends_on),
            )
            others = order.waits_for(change)
            parent = next((other for other in others if other in order.withheld), None)
            if parent is not None:
                _withhold(one, parent, waiting, order)
                continue
            open_ones = [other for other in others if other in undecided or row_of(other)[0] not in walked]
            if open_ones:
                undecided.add(one.whole)
            for other in open_ones:
                waiting[other].append(one)
        walked.add(lane)


def _withhold(one: _Waiting, parent: str, waiting: dict[str, list[_Waiting]], order: Order) -> None:
    """Withhold a change, and all changes known to wait for it."""
    found = deque([(one, parent)])
    while found:
        one, parent = found.popleft()
        if one.whole not in order.withheld:
            order.withheld[one.whole] = _waits_for_ever(one, parent)
            found += [(other, one.whole) for other in waiting.pop(one.whole, ())]


def _waits_for_ever(one: _Waiting, parent: str) -> Problem:
    sync, key = row_of(parent)
    why = "which it refers to" if parent in one.refers_to else "which has to change first"
    return Problem(
        code="dependency-withheld",
        summary=f"row [{key}] of `{sync}`, {why}, can't be changed in this plan",
        where=one.where,
        hint=f"fix row [{key}] of `{sync}` first",
    )

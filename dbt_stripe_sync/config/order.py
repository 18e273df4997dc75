"""Sorts syncs by their references: a sync comes after those that it refers to."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dbt_stripe_sync.model.sync import Sync


def in_reference_order(syncs: Iterable[Sync]) -> tuple[Sync, ...]:
    """The syncs, each after those that it refers to, and otherwise by name. Raises `graphlib.CycleError`."""
    known = {sync.name: sync for sync in sorted(syncs, key=lambda sync: sync.name)}
    sorter = TopologicalSorter({name: [p for p in sync.depends_on if p in known] for name, sync in known.items()})
    return tuple(known[name] for name in sorter.static_order())


def find_cycle(syncs: Iterable[Sync]) -> Sequence[str]:
    """The names of syncs that refer to each other in a cycle, the first one at both ends; empty if there is none."""
    try:
        tuple(TopologicalSorter({sync.name: sync.depends_on for sync in syncs}).static_order())
    except CycleError as error:
        cycle: Sequence[str] = error.args[1]
        return cycle
    return ()

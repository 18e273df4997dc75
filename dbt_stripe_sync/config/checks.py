"""What a sync asks of Stripe that Stripe can't do, and what several syncs ask of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.config.order import find_cycle
from dbt_stripe_sync.config.suggest import did_you_mean, listed
from dbt_stripe_sync.stripe_api.lifecycle import Mode, Removal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dbt_stripe_sync.config.problems import Problems
    from dbt_stripe_sync.engine.types import Sync
    from dbt_stripe_sync.stripe_api.catalog import Resource
    from dbt_stripe_sync.stripe_api.lifecycle import Lifecycle


def check_resource(sync: Sync, resource: Resource, lifecycle: Lifecycle, problems: Problems) -> None:
    """Whether the resource can be synced, in this mode, with this removal and these matches."""
    if lifecycle.refused is not None:
        problems.add(
            "refused-resource",
            sync.where.at_field("resource"),
            f"`{resource.name}` is not synced: {lifecycle.refused}",
            "`dbt-stripe-sync fields` lists what can be",
        )
        return
    if sync.mode not in lifecycle.modes:
        problems.add(
            "mode-not-allowed",
            sync.where.at_field("mode"),
            f"a {resource.name} can't be synced by `{sync.mode.value}`",
            f"use {listed(mode.value for mode in lifecycle.modes)}",
        )
    if sync.on_removed is not Removal.IGNORE and sync.on_removed not in lifecycle.on_removed:
        allowed = [Removal.IGNORE.value, *(removal.value for removal in lifecycle.on_removed)]
        problems.add(
            "removal-not-allowed",
            sync.where.at_field("on_removed"),
            f"Stripe can't {sync.on_removed.value.replace('_', ' ')} a {resource.name}",
            f"use {listed(allowed)}",
        )
    for match in sync.match:
        by = match.by.split(".")[0]
        if by not in {*(found.split(".")[0] for found in lifecycle.found_by), "id"} and resource.param((by,)) is None:
            problems.add(
                "match-not-possible",
                sync.where.at_field("match"),
                f"a {resource.name} can't be found by `{match.by}`",
                f"it is found by {listed(lifecycle.found_by)}",
            )


def check_required(sync: Sync, resource: Resource, problems: Problems) -> None:
    """Whether everything that creation requires is mapped, and nothing that an update can't take."""
    mapped = {field.path[0] for field in sync.fields}
    if sync.mode is not Mode.UPDATE:
        for name, param in resource.params.items():
            if param.required and param.creatable and name not in mapped:
                problems.add(
                    "missing-parameter",
                    sync.where.at_field("fields"),
                    f"`{name}` is not mapped, and Stripe requires it to create a {resource.name}",
                    f"add `{name}: <column>`, or `mode: update` if no object is to be created",
                )
        return
    for field in sync.fields:
        param = resource.params[field.path[0]]
        if param.immutable and not param.in_path:
            problems.add(
                "immutable-parameter",
                field.where,
                f"`{field.path[0]}` is fixed once a {resource.name} exists, and the sync's mode is `update`",
                "remove the field, or use `mode: upsert`",
            )


def check_together(syncs: Sequence[Sync], problems: Problems) -> None:
    """Names that are taken twice, references to nowhere, and references in a circle."""
    by_name: dict[str, Sync] = {}
    for sync in syncs:
        other = by_name.setdefault(sync.name, sync)
        if other is not sync:
            problems.add(
                "duplicate-sync",
                sync.where,
                f"the sync `{sync.name}` is in `{other.model.name}` already",
                "give one of them another `name:`",
            )
    for sync in syncs:
        for name in sync.depends_on:
            if name not in by_name:
                problems.add(
                    "unknown-sync",
                    sync.where.at_field("fields"),
                    f"`{sync.name}` refers to the sync `{name}`, which there is none of",
                    f"there are {listed(sorted(by_name))}{did_you_mean(name, by_name)}",
                )
    cycle = find_cycle(syncs)
    if cycle:
        problems.add(
            "reference-cycle",
            by_name[cycle[0]].where,
            f"these syncs refer to each other in a circle: {' -> '.join(cycle)}",
            "Stripe needs one of the objects first: remove one of the references",
        )

"""Holds a sync back if its plan exceeds the sync's limits or looks like an accident."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.model.change import REMOVALS
from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.difference import Kind
from dbt_stripe_sync.model.errors import PlanError, Problem
from dbt_stripe_sync.model.lifecycle import Removal
from dbt_stripe_sync.model.plan import PermanentRemovals
from dbt_stripe_sync.model.sql import key_order, plain_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dbt_stripe_sync.engine.stage.diff import DiffCounts
    from dbt_stripe_sync.engine.stage.staged import Staged
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.lifecycle import Lifecycle
    from dbt_stripe_sync.model.params import Catalog
    from dbt_stripe_sync.model.plan import SyncCounts
    from dbt_stripe_sync.model.sync import Sync, Threshold

SHOWN_KEYS = 20
# Of so many new keys, and of so many that left. If the type of the column changes, all do.
COMPARED_SPELLINGS = 1_000_000


def check_keys(workspace: Workspace, staged: Staged, counts: DiffCounts) -> Iterator[Problem]:
    """Find rows with a null key, and keys of several rows: they can't be identified."""
    sync = staged.sync
    at_key = sync.where.at_field("key")
    columns = ", ".join(f"`{column}`" for column in sync.key)
    if without_key := counts.model.without_key:
        rows = counted(without_key, "row")
        yield Problem(
            code="null-key",
            summary=f"{rows} of `{sync.model.label}` {'has' if without_key == 1 else 'have'} no {columns}",
            where=at_key,
            hint="filter them out in the model; a dbt `not_null` test finds them",
        )
    if counts.duplicate_keys:
        query = f"SELECT key, rows FROM {staged.duplicates} ORDER BY {key_order('key')} LIMIT {SHOWN_KEYS}"
        for key, rows in workspace.all(query):
            yield Problem(
                code="duplicate-key",
                summary=f"{rows:,} rows of `{sync.model.label}` have the same {columns}",
                where=at_key.at_key(key),
                hint="one row is one object: make the key unique; a dbt `unique` test finds them",
            )
        if counts.duplicate_keys > SHOWN_KEYS:
            more = counted(counts.duplicate_keys - SHOWN_KEYS, "more key")
            yield Problem(
                code="duplicate-key",
                summary=f"`{sync.model.label}` has {more} of several rows",
                where=at_key,
                hint=f"group by {columns} having count(*) > 1",
            )


def check_empty(staged: Staged, counts: DiffCounts) -> Iterator[Problem]:
    """An empty model never removes the objects that were created from it."""
    is_empty = counts.model.rows == counts.model.without_key
    if staged.sync.on_removed is not Removal.IGNORE and is_empty and counts.records:
        objects = counted(counts.records, "object")
        yield Problem(
            code="empty-model",
            summary=f"`{staged.sync.model.label}` has no rows, and {objects} in Stripe came from it",
            where=staged.sync.where.at_field("on_removed"),
            hint=f"check the model; if it should be empty, `dbt-stripe-sync state forget {staged.sync.name} --all` "
            "leaves the objects in Stripe unchanged",
        )


def check_spelling(workspace: Workspace, staged: Staged, counts: DiffCounts) -> Iterator[Problem]:
    """Find new keys that are those of rows that left, spelled differently, since a row's object would be created again.

    That happens if the type of the key's column changes: `1` becomes `1.00`.
    """
    if not counts.kinds[Kind.NEW] or not counts.kinds[Kind.REMOVED]:
        return
    new_keys, gone = (
        f"(SELECT key, {plain_key('key')} AS plain FROM "
        f"(SELECT key FROM {staged.changed} WHERE kind = '{kind.value}' LIMIT {COMPARED_SPELLINGS}))"
        for kind in (Kind.NEW, Kind.REMOVED)
    )
    count, new, old = workspace.one(
        f"SELECT count(*), min(n.key), min_by(r.key, n.key) FROM {new_keys} AS n JOIN {gone} AS r ON n.plain = r.plain"
    )
    if count:
        rows = "a new row has" if count == 1 else f"{count:,} new rows have"
        yield Problem(
            code="keys-respelled",
            summary=f"{rows} the key of a row that left `{staged.sync.model.label}`, spelled differently: "
            f"[{new}] was [{old}]",
            where=staged.sync.where.at_field("key"),
            hint="cast the key as before, so that each row keeps its object; if they are other rows, "
            f"`dbt-stripe-sync state forget {staged.sync.name} KEY` drops an old record and leaves its object",
        )


def check_limits(sync: Sync, *, changes: int, removed: int, rejected: int, records: int) -> Iterator[Problem]:
    """Check the sync's `limits`: more changes, removals or rejections than they allow is a problem with the numbers."""
    limits = sync.limits
    for name, count, what, limit in (
        ("max_changes", changes, "to change", limits.max_changes),
        ("max_removed", removed, "to remove", limits.max_removed),
        ("max_rejected", rejected, "rejected", limits.max_rejected),
    ):
        if limit is not None and _passes(count, limit, records):
            share = f"{100 * count / records:.1f}% of {counted(records, 'record')}" if records else "and no records yet"
            yield Problem(
                code=name.replace("_", "-"),
                summary=f"{counted(count, 'row')} {what}, {share}: `limits.{name}` of `{sync.name}` is {limit}",
                where=sync.where.at_field("limits", name),
                hint="if this is intended, raise the limit; until then nothing is sent for this sync",
            )


def count_removals(by_action: Mapping[str, int]) -> int:
    """How many rows have left the model and have an object to remove."""
    return sum(by_action.get(action.value, 0) for action in REMOVALS)


def is_agreement_needed(sync: Sync, lifecycle: Lifecycle) -> bool:
    """Whether a person must approve the sync's removals: they can't be undone, and no limit bounds them."""
    return sync.on_removed in lifecycle.permanent and sync.limits.max_removed is None


def find_unagreed(
    syncs: Iterable[Sync], catalog: Catalog, counts: Iterable[SyncCounts]
) -> tuple[PermanentRemovals, ...]:
    """The removals of a plan that aren't approved yet, by sync."""
    removed = {count.sync: count_removals(count.by_action) for count in counts}
    return tuple(
        PermanentRemovals(
            sync=sync.name,
            resource=sync.resource,
            removal=sync.on_removed,
            count=removed[sync.name],
            where=sync.where.at_field("on_removed"),
        )
        for sync in syncs
        if removed.get(sync.name) and is_agreement_needed(sync, catalog.resources[sync.resource].lifecycle)
    )


def refuse_unagreed(unagreed: Sequence[PermanentRemovals]) -> PlanError:
    """The error of a run with permanent removals that nobody can approve."""
    return PlanError(
        Problem(
            code="confirmation-required",
            summary=f"`{part.removal.value}` of {part.count:,} {part.resource} object{'s' * (part.count != 1)}"
            f" of `{part.sync}` can't be undone and isn't approved: nothing was sent",
            where=part.where,
            hint="review it with `dbt-stripe-sync plan`, then add `--yes`; in a scheduled job, "
            "`limits: {max_removed: 10%}` on the sync approves removals up to that limit, and `on_removed: ignore` "
            "keeps the objects in Stripe",
        )
        for part in unagreed
    )


def _passes(count: int, limit: Threshold, records: int) -> bool:
    if limit.count is not None and count > limit.count:
        return True
    # On the first sync there is nothing to take a percentage of.
    return limit.percent is not None and records > 0 and 100 * count > limit.percent * records

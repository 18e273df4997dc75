"""Where a sync holds itself back: what the plan found is more than its limits, or looks like an accident."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.engine.layout import KEY
from dbt_stripe_sync.engine.sql import quoted
from dbt_stripe_sync.errors import Problem
from dbt_stripe_sync.stripe_api.lifecycle import Removal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dbt_stripe_sync.engine.diff import DiffCounts
    from dbt_stripe_sync.engine.extract import Staged
    from dbt_stripe_sync.engine.types import Sync, Threshold
    from dbt_stripe_sync.engine.workspace import Workspace

SHOWN_KEYS = 20


def check_keys(workspace: Workspace, staged: Staged, counts: DiffCounts) -> Iterator[Problem]:
    """Rows without a key, and keys of several rows: neither can be told from the others."""
    sync = staged.sync
    at_key = sync.where.at_field("key")
    columns = ", ".join(f"`{column}`" for column in sync.key)
    if counts.null_keys:
        yield Problem(
            code="null-key",
            summary=f"{counts.null_keys:,} rows of `{sync.model.name}` have no {columns}",
            where=at_key,
            hint="filter them out in the model; a dbt `not_null` test finds them",
        )
    if counts.duplicate_keys:
        query = f"SELECT key, rows FROM {staged.duplicates} ORDER BY key LIMIT {SHOWN_KEYS}"
        for key, rows in workspace.all(query):
            yield Problem(
                code="duplicate-key",
                summary=f"{rows:,} rows of `{sync.model.name}` have the same {columns}",
                where=at_key.at_key(key),
                hint="one row is one object: make the key unique; a dbt `unique` test finds them",
            )
        if counts.duplicate_keys > SHOWN_KEYS:
            yield Problem(
                code="duplicate-key",
                summary=f"{counts.duplicate_keys - SHOWN_KEYS:,} more keys of `{sync.model.name}` are not unique",
                where=at_key,
                hint=f"group by {columns} having count(*) > 1",
            )


def check_empty(workspace: Workspace, staged: Staged, counts: DiffCounts) -> Iterator[Problem]:
    """A model without a row never removes what it once held."""
    (any_row,) = workspace.one(f"SELECT count(*) FROM {staged.raw} WHERE {quoted(KEY)} IS NOT NULL")
    if staged.sync.on_removed is not Removal.IGNORE and not any_row and counts.records:
        yield Problem(
            code="empty-model",
            summary=f"`{staged.sync.model.name}` has no rows, and {counts.records:,} objects in Stripe came from it",
            where=staged.sync.where.at_field("on_removed"),
            hint="check the model; to remove all of them, `state forget` the sync or remove them in Stripe",
        )


def check_limits(sync: Sync, *, changes: int, removed: int, rejected: int, records: int) -> Iterator[Problem]:
    """More changes, removals or rejects than the sync's `limits` allow, with the numbers."""
    limits = sync.limits
    for name, count, limit in (
        ("max_changes", changes, limits.max_changes),
        ("max_removed", removed, limits.max_removed),
        ("max_rejected", rejected, limits.max_rejected),
    ):
        if limit is not None and _passes(count, limit, records):
            share = f", {100 * count / records:.1f}% of {records:,} records" if records else ""
            yield Problem(
                code=name.replace("_", "-"),
                summary=f"{count:,} rows{share}: `limits.{name}` of `{sync.name}` is {limit}",
                where=sync.where.at_field("limits", name),
                hint="if that is meant, raise the limit; until then nothing of this sync is sent",
            )


def _passes(count: int, limit: Threshold, records: int) -> bool:
    if limit.count is not None and count > limit.count:
        return True
    # A percentage says nothing of the first sync, when there is nothing to compare with.
    return limit.percent is not None and records > 0 and 100 * count > limit.percent * records

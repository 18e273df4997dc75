"""Compares the hashes that the warehouse computes with the records, so that only rows that differ are read.

The warehouse stores nothing. Its result must be consistent: duplicate keys, and keys whose text differs between the
warehouse and DuckDB, are detected, and then every row is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.engine.payload.layout import KEY
from dbt_stripe_sync.engine.stage.differing import UNSIGNED_HASH
from dbt_stripe_sync.engine.stage.staged import RowCounts
from dbt_stripe_sync.model.hashes import ROW_KEY
from dbt_stripe_sync.model.sql import literal, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dbt_stripe_sync.engine.stage.staged import Staged
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.sync import Sync

# With fewer records, reading every row is faster than two queries.
MANY_RECORDS = 50_000
# The most rows that are requested by key. If more rows differ, all rows are read.
MAX_DIFFERING = 200_000


def has_many_records(workspace: Workspace, sync: Sync) -> bool:
    """Whether a sync has enough records for reading hashes first to be faster."""
    return _count_records(workspace, sync) >= MANY_RECORDS


def hashes_that_differ(sync: Sync) -> str:
    """SQL for the hashes in `incoming` that differ from the records.

    Its columns are the row's key, the record's key (either may be NULL), and whether the record is removed.
    """
    return f"""
        SELECT s.key AS row_key, r.key AS known_key, r.removed
        FROM (SELECT {quoted(ROW_KEY)} AS key, {UNSIGNED_HASH} AS source_hash FROM incoming) AS s
        FULL JOIN (SELECT key, source_hash, removed, missing FROM known_records
                   WHERE sync = {literal(sync.name)}) AS r ON r.key = s.key
        WHERE r.key IS NULL OR s.key IS NULL OR r.removed OR r.missing OR s.source_hash IS DISTINCT FROM r.source_hash
    """


def count_hashed(workspace: Workspace, staged: Staged, hashed: int) -> RowCounts | None:
    """The row counts of a model with `hashed` hashes; None if several rows have the key of one record."""
    differing, without_key, known = workspace.one(
        f"SELECT count(*) FILTER (row_key IS NOT NULL), count(*) FILTER (row_key IS NULL AND known_key IS NULL), "
        f"count(DISTINCT known_key) FROM {staged.answer}"
    )
    # If the numbers of unchanged rows and of unchanged records differ, several rows have the same key.
    if hashed - without_key - differing != _count_records(workspace, staged.sync) - known:
        return None
    return RowCounts(rows=hashed, without_key=int(without_key))


def differing_keys(workspace: Workspace, staged: Staged) -> Sequence[str] | None:
    """The keys of the rows that differ; None if there are too many for a query."""
    query = f"SELECT DISTINCT row_key FROM {staged.answer} WHERE row_key IS NOT NULL LIMIT {MAX_DIFFERING + 1}"
    keys = [key for (key,) in workspace.all(query)]
    return None if len(keys) > MAX_DIFFERING else keys


def is_complete(workspace: Workspace, staged: Staged) -> bool:
    """Whether all rows that differ were read, and DuckDB computes the same key for each as the warehouse."""
    missing, otherwise = workspace.one(
        f"SELECT (SELECT count(*) FROM {staged.answer} AS a WHERE a.row_key IS NOT NULL AND NOT EXISTS "
        f"(SELECT 1 FROM {staged.raw} AS s WHERE s.{quoted(KEY)} = a.row_key)), "
        f"(SELECT count(*) FROM {staged.raw} WHERE {quoted(ROW_KEY)} IS DISTINCT FROM {quoted(KEY)})"
    )
    return not missing and not otherwise


def store_gone_keys(workspace: Workspace, staged: Staged) -> None:
    """Write the keys of records without a row to the table `staged.gone`."""
    workspace.execute(
        f"CREATE OR REPLACE TABLE {staged.gone} AS "
        f"SELECT known_key AS key FROM {staged.answer} WHERE row_key IS NULL AND NOT removed"
    )


def _count_records(workspace: Workspace, sync: Sync) -> int:
    (count,) = workspace.one("SELECT count(*) FROM known_records WHERE sync = $sync", {"sync": sync.name})
    return int(count)

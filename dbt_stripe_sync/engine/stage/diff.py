"""Finds what changed since the last sync, in SQL, so that unchanged rows never reach Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pyarrow as pa
from msgspec import Struct

from dbt_stripe_sync.engine.payload.layout import HASH, KEY, REFS
from dbt_stripe_sync.engine.stage.staged import RowCounts
from dbt_stripe_sync.model.difference import Kind, RowDiff
from dbt_stripe_sync.model.sql import key_order, quoted
from dbt_stripe_sync.model.tables import build_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dbt_stripe_sync.engine.stage.staged import Staged
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.fingerprints import Fingerprints

_KEYS = pa.schema([("key", pa.string())])
_KINDS = {kind.value: kind for kind in Kind}


class DiffCounts(Struct, frozen=True, kw_only=True):
    """The numbers of a sync's rows, keys by kind of difference, and records.

    `records` counts those with a live object; percentage limits apply to it.
    """

    model: RowCounts
    kinds: Mapping[Kind, int]
    same: int
    records: int
    duplicate_keys: int
    duplicate_rows: int


def find_differences(
    workspace: Workspace, staged: Staged, *, recheck: bool, only: frozenset[str] | None = None
) -> DiffCounts:
    """Compare the staged rows with the records, and write the keys that differ to the table `staged.changed`.

    `recheck` counts every row as possibly changed, because the mapping or the hash function has changed. `only`
    restricts the plan to some keys; other keys that differ are written to `staged.left_out`.
    """
    key, row_hash, refs = quoted(KEY), quoted(HASH), quoted(REFS)
    # Rows that the warehouse found unchanged were not read, so a missing row says nothing about its key.
    among = f"SELECT {key} FROM {staged.table} UNION ALL SELECT key FROM {staged.gone}"
    looked_at = f"AND key IN ({among})" if staged.counts is not None else ""
    workspace.execute(
        f"""
        CREATE OR REPLACE TABLE {staged.changed} AS
        SELECT coalesce(s.key, r.key) AS key,
               CASE WHEN r.key IS NULL THEN 'new' WHEN s.key IS NULL THEN 'removed'
                    WHEN r.removed THEN 'returned' ELSE 'changed' END AS kind
        FROM (SELECT {key} AS key, {row_hash} AS source_hash, {refs} AS refs FROM {staged.table}
              WHERE {key} IS NOT NULL) AS s
        FULL JOIN (SELECT key, source_hash, refs, removed, missing FROM known_records
                   WHERE sync = $sync {looked_at}) AS r
            ON s.key = r.key
        WHERE (r.key IS NULL OR r.removed OR s.key IS NULL OR $recheck
               OR r.missing OR r.key IN (SELECT key FROM work.read_back WHERE sync = $sync)
               OR s.source_hash IS DISTINCT FROM r.source_hash OR s.refs IS DISTINCT FROM r.refs)
          AND NOT (s.key IS NULL AND r.removed)
          AND coalesce(s.key, r.key) NOT IN (SELECT key FROM {staged.duplicates})
          AND coalesce(s.key, r.key) NOT IN (SELECT key FROM work.unsettled WHERE sync = $sync)
        """,
        {"sync": staged.sync.name, "recheck": recheck},
    )
    if only is not None:
        workspace.fill(
            f"CREATE OR REPLACE TABLE {staged.left_out} AS "
            f"SELECT * FROM {staged.changed} WHERE key NOT IN (SELECT key FROM incoming)",
            build_table(_KEYS, [(key,) for key in sorted(only)]).to_reader,
        )
        workspace.execute(f"DELETE FROM {staged.changed} WHERE key IN (SELECT key FROM {staged.left_out})")
    kinds = dict(workspace.all(f"SELECT kind, count(*) FROM {staged.changed} GROUP BY kind"))
    duplicate_keys, duplicate_rows = workspace.one(f"SELECT count(*), coalesce(sum(rows), 0) FROM {staged.duplicates}")
    counted = staged.counts or _count_rows(workspace, staged)
    # Rows that this plan doesn't include: they aren't in `only`, or their last change is unresolved.
    excluded = "SELECT key FROM work.unsettled WHERE sync = $sync"
    if only is not None:
        excluded += f" UNION SELECT key FROM {staged.left_out}"
    (left_out,) = workspace.one(
        f"SELECT count(*) FROM {staged.table} WHERE {key} IN ({excluded}) "
        f"AND {key} NOT IN (SELECT key FROM {staged.duplicates})",
        {"sync": staged.sync.name},
    )
    (records,) = workspace.one(
        "SELECT count(*) FROM known_records WHERE sync = $sync AND NOT removed", {"sync": staged.sync.name}
    )
    by_kind = {kind: int(kinds.get(kind.value, 0)) for kind in Kind}
    in_model = sum(count for kind, count in by_kind.items() if kind is not Kind.REMOVED)
    return DiffCounts(
        model=counted,
        kinds=by_kind,
        same=counted.rows - counted.without_key - int(duplicate_rows) - int(left_out) - in_model,
        records=int(records),
        duplicate_keys=int(duplicate_keys),
        duplicate_rows=int(duplicate_rows),
    )


def _count_rows(workspace: Workspace, staged: Staged) -> RowCounts:
    key = quoted(KEY)
    rows, without_key = workspace.one(f"SELECT count(*), count(*) FILTER ({key} IS NULL) FROM {staged.raw}")
    return RowCounts(rows=int(rows), without_key=int(without_key))


def read_differences(workspace: Workspace, staged: Staged, fingerprints: Fingerprints) -> Iterator[list[RowDiff]]:
    """The rows that differ, in batches, ordered by key."""
    query = f"""
        SELECT c.kind, c.key, r.stripe_id, r.params, r.payload_hash, r.adopted, r.salt, r.refs,
               s.{quoted(HASH)} IS NOT DISTINCT FROM r.source_hash, coalesce(b.missing, r.missing),
               b.body, b.digest, b.is_known, b.author, s.*
        FROM {staged.changed} AS c
        LEFT JOIN {staged.table} AS s ON s.{quoted(KEY)} = c.key
        LEFT JOIN (SELECT * FROM known_records WHERE sync = $sync AND key IN (SELECT key FROM {staged.changed})) AS r
            ON r.key = c.key
        LEFT JOIN (SELECT * FROM work.read_back WHERE sync = $sync) AS b ON b.key = c.key
        ORDER BY {key_order("c.key")}
    """
    for batch in workspace.split_batches(query, {"sync": staged.sync.name}, after=len(_Compared._fields)):
        yield [_row_diff(_Compared(*compared), row, fingerprints) for compared, row in batch]


def read_forgotten(workspace: Workspace, sync: str) -> dict[str, str | None]:
    """Keys of a sync whose records were dropped from the state while their objects stayed in Stripe, with the ids.

    The id is None if it is unknown.
    """
    return dict(workspace.all("SELECT key, stripe_id FROM forgotten_rows WHERE sync = $sync", {"sync": sync}))


class _Compared(NamedTuple):
    """The columns before those of the row: how it differs, its record, and its object if that was read from Stripe."""

    kind: str
    key: str
    stripe_id: str | None
    params: str | None
    payload_hash: str | None
    adopted: bool | None
    salt: str | None
    refs: str | None
    same_row: bool
    missing: bool | None
    body: str | None
    drift: str | None
    is_drift_known: bool | None
    drift_author: str | None


def _row_diff(found: _Compared, row: dict[str, Any], fingerprints: Fingerprints) -> RowDiff:
    kind = _KINDS[found.kind]
    refs, source_hash = row.pop(REFS), row.pop(HASH)
    return RowDiff(
        kind=kind,
        key=found.key,
        source_hash=source_hash,
        # Only the record has the references of a removed row. They put its removal before its parent's, and are kept if
        # the row returns.
        refs=found.refs if kind is Kind.REMOVED else refs,
        stripe_id=found.stripe_id,
        params=fingerprints.parse(found.params, found.salt, found.key) if found.params else {},
        payload_hash=found.payload_hash,
        adopted=bool(found.adopted),
        unreadable=not fingerprints.can_read(found.salt),
        only_refs=found.same_row and kind is Kind.CHANGED,
        missing=bool(found.missing),
        drifted=orjson.loads(found.body) if found.body else None,
        drift=found.drift,
        is_drift_known=bool(found.is_drift_known),
        drift_author=found.drift_author,
        row={} if kind is Kind.REMOVED else row,
    )

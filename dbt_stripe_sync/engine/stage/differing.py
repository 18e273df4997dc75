"""Rows that the warehouse compares: which keys to request in any case, and whether the result is consistent.

The warehouse has a hash of each row as last accepted. It doesn't know which object a row refers to, so rows whose
references have changed are requested by key. The counts in the result must match the state's. That detects duplicate
keys, and a copy of the hashes that doesn't match its mark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.engine.payload.layout import keeps
from dbt_stripe_sync.engine.stage.staged import RowCounts
from dbt_stripe_sync.model.hashes import (
    CHANGED,
    COUNTS,
    GONE,
    NEW,
    ROW_HASH,
    ROW_KEY,
    ROW_KIND,
    TWICE,
    HashedChild,
    HashedRows,
)
from dbt_stripe_sync.model.sql import ID_SEPARATOR, key_text, literal, quoted
from dbt_stripe_sync.model.sync import Lookup, SyncRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dbt_stripe_sync.engine.payload.layout import ChildPart, Layout
    from dbt_stripe_sync.engine.stage.staged import Staged
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.sync import Sync

# The most keys that are put into a query. If there are more, all rows are read.
MAX_KEYS = 10_000
# The hash as the state stores it: the same 64 bits, unsigned.
UNSIGNED_HASH = (
    f"CAST(CASE WHEN CAST(incoming.{quoted(ROW_HASH)} AS BIGINT) < 0 "
    f"THEN CAST(incoming.{quoted(ROW_HASH)} AS HUGEINT) + 18446744073709551616 "
    f"ELSE CAST(incoming.{quoted(ROW_HASH)} AS HUGEINT) END AS UBIGINT)"
)


def reason_to_read_all(sync: Sync, layout: Layout) -> str | None:
    """Why every row of a sync must be read, even if the warehouse can compare rows; None if that isn't necessary."""
    if any(isinstance(reference, Lookup) for part in layout.parts for reference in part.references):
        return "it looks objects up in Stripe"
    return "it completes objects of another sync" if sync.part_of is not None else None


def build_hashed_rows(sync: Sync, layout: Layout, salt: str) -> HashedRows:
    """The inputs of the hash of a sync's rows."""
    return HashedRows(
        sync=sync.name,
        source=sync.model.source(tuple(layout.row.columns)),
        key=sync.key,
        salt=salt,
        children=tuple(hashed_child(part) for part in layout.children),
    )


def hashed_child(part: ChildPart) -> HashedChild:
    """A child model's part of the inputs."""
    child = part.child
    return HashedChild(source=child.model.source(tuple(part.columns)), on=child.on, parent_on=child.parent_on)


def keys_to_read(workspace: Workspace, sync: Sync, layout: Layout) -> Sequence[str] | None:
    """The keys of rows that are needed even if their hash is unchanged; None if there are too many for a query."""
    queries = ["SELECT key FROM work.unsettled WHERE sync = $sync"]
    references = {ref for part in layout.parts for ref in part.references if isinstance(ref, SyncRef)}
    if references:
        parents = sorted({ref.sync for ref in references})
        kept = [name for name in parents if all(keeps(ref) for ref in references if ref.sync == name)]
        queries.append(_rows_with_changed_references(parents, kept))
    query = f"SELECT DISTINCT key FROM ({' UNION ALL '.join(queries)}) LIMIT {MAX_KEYS + 1}"
    keys = [key for (key,) in workspace.all(query, {"sync": sync.name})]
    return None if len(keys) > MAX_KEYS else keys


def split_answer(workspace: Workspace, staged: Staged, selected: str) -> RowCounts | None:
    """Split the warehouse's result into the tables `staged.raw` and `staged.gone`; None if it is inconsistent.

    `selected` is the select list, in SQL, for a staged row.
    """
    source, key, mark = staged.answer, staged.sync.key, staged.compared and staged.compared.mark
    kind, row_key = quoted(ROW_KIND), quoted(ROW_KEY)
    numbers = workspace.all(f"SELECT {row_key} FROM {source} WHERE {kind} = {literal(COUNTS)}")
    if len(numbers) != 1:
        return None
    rows, without_key, known = (int(number) for number in str(numbers[0][0]).split(" "))
    of_rows = f"{kind} IN ({literal(NEW)}, {literal(CHANGED)})"
    is_otherwise = f"{row_key} IS DISTINCT FROM {key_text(key, 'incoming')}"
    is_known = f"{row_key} IN (SELECT key FROM known_records WHERE sync = $sync AND NOT coalesce(removed, false))"
    new, gone, inconsistent = workspace.one(
        f"SELECT count(*) FILTER ({kind} = {literal(NEW)} AND {row_key} IS NOT NULL), "
        f"count(*) FILTER ({kind} = {literal(GONE)}), "
        f"count(*) FILTER ({kind} = {literal(TWICE)} OR {of_rows} AND {is_otherwise} "
        f"OR {kind} = {literal(NEW)} AND {is_known}) FROM {source} AS incoming",
        {"sync": staged.sync.name},
    )
    # The number of rows that matched a hash must equal the number of hashes that matched a row. Otherwise, several rows
    # have the same key, or a row matched the hash of another key. The latter is also the case if a new row's key has a
    # record. If a key's text differs between the warehouse and DuckDB, the row would look removed.
    if mark is None or known != mark.rows or rows - without_key - new != known - gone or inconsistent:
        return None
    workspace.execute(
        f"CREATE OR REPLACE TABLE {staged.raw} AS SELECT {selected} FROM {source} AS incoming WHERE {of_rows}"
    )
    workspace.execute(
        f"CREATE OR REPLACE TABLE {staged.gone} AS SELECT {row_key} AS key FROM {source} WHERE {kind} = {literal(GONE)}"
    )
    return RowCounts(rows=rows, without_key=without_key)


def parent_keys(workspace: Workspace, table: str, part: ChildPart) -> Sequence[str] | None:
    """The values by which the rows of a table join their child rows; None if there are too many for a query."""
    column = quoted(f"$on{part.name}")
    query = f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL LIMIT {MAX_KEYS + 1}"
    keys = [key for (key,) in workspace.all(query)]
    return None if len(keys) > MAX_KEYS else keys


def _rows_with_changed_references(parents: Sequence[str], kept: Sequence[str]) -> str:
    """SQL for the keys of rows whose referenced object no longer belongs to any row, or now belongs to another row.

    If someone dropped an object's record and its row was matched with the same object again, nothing has changed. Rows
    keep their references to objects of the syncs in `kept`, even if those objects were replaced.
    """
    objects = [
        f"""
        SELECT o.id, CASE WHEN f.key IS NULL THEN o.since END AS since
        FROM (SELECT coalesce(p.key, r.key) AS key, CASE WHEN p.key IS NULL THEN r.stripe_id ELSE p.id END AS id,
                     CASE WHEN p.key IS NOT NULL AND p.id IS DISTINCT FROM r.stripe_id THEN TIMESTAMPTZ 'infinity'
                          ELSE r.created_at END AS since
              FROM (SELECT key, stripe_id, created_at FROM known_records WHERE sync = {literal(parent)}) AS r
              FULL JOIN (SELECT key, id FROM work.planned WHERE sync = {literal(parent)}) AS p ON p.key = r.key) AS o
        LEFT JOIN (SELECT stripe_id, any_value(key) AS key FROM forgotten_rows
                   WHERE sync = {literal(parent)} AND stripe_id IS NOT NULL
                   GROUP BY stripe_id HAVING count(*) = 1) AS f
            ON f.stripe_id = o.id AND f.key = o.key
        """
        for parent in parents
    ]
    if kept:
        among = ", ".join(map(literal, kept))
        objects += [
            f"SELECT stripe_id, NULL FROM known_former_ids WHERE sync IN ({among})",
            f"SELECT id, NULL FROM work.former WHERE sync IN ({among})",
            f"SELECT former, NULL FROM work.planned WHERE sync IN ({among}) AND former IS NOT NULL",
        ]
    return f"""
        SELECT r.key
        FROM (SELECT key, updated_at, unnest(string_split(refs, {literal(ID_SEPARATOR)})) AS id
              FROM known_records WHERE sync = $sync AND NOT removed AND refs <> '') AS r
        LEFT JOIN (SELECT id, min(since) AS since FROM ({" UNION ALL ".join(objects)}) GROUP BY id) AS o
            ON o.id = r.id
        WHERE r.id <> '' AND (o.id IS NULL OR o.since > r.updated_at)
    """

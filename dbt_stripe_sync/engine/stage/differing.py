"""Rows that the warehouse has compared itself: which it is asked for, and whether its answer adds up.

The warehouse knows a hash of each row as last accepted. It does not know which object a row refers to, so the rows
whose references have moved are asked for by their keys. What its answer counts must fit what the state has: a key that
several rows have, or a copy of the hashes that is not what its mark says, is found out by that.
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

# So many keys fit into a query; past that, all rows are read.
MOST_ASKED = 10_000
# The hash as the state has it: the same 64 bits without a sign.
UNSIGNED_HASH = (
    f"CAST(CASE WHEN CAST(incoming.{quoted(ROW_HASH)} AS BIGINT) < 0 "
    f"THEN CAST(incoming.{quoted(ROW_HASH)} AS HUGEINT) + 18446744073709551616 "
    f"ELSE CAST(incoming.{quoted(ROW_HASH)} AS HUGEINT) END AS UBIGINT)"
)


def reason_to_read_all(sync: Sync, layout: Layout) -> str | None:
    """Why this machine has to see every row of a sync, whatever the warehouse can do; None where it has not."""
    if any(isinstance(reference, Lookup) for part in layout.parts for reference in part.references):
        return "it looks objects up in Stripe"
    return "it completes objects of another sync" if sync.part_of is not None else None


def build_hashed_rows(sync: Sync, layout: Layout, salt: str) -> HashedRows:
    """What goes into the hash of a sync's rows."""
    return HashedRows(
        sync=sync.name,
        source=sync.model.source(tuple(layout.row.columns)),
        key=sync.key,
        salt=salt,
        children=tuple(hashed_child(part) for part in layout.children),
    )


def hashed_child(part: ChildPart) -> HashedChild:
    """A child model's share of it."""
    child = part.child
    return HashedChild(source=child.model.source(tuple(part.columns)), on=child.on, parent_on=child.parent_on)


def read_asked(workspace: Workspace, sync: Sync, layout: Layout) -> Sequence[str] | None:
    """The keys of rows that are wanted whatever their hash; None where they are too many to ask for."""
    queries = ["SELECT key FROM work.unsettled WHERE sync = $sync"]
    references = {ref for part in layout.parts for ref in part.references if isinstance(ref, SyncRef)}
    if references:
        parents = sorted({ref.sync for ref in references})
        kept = [name for name in parents if all(keeps(ref) for ref in references if ref.sync == name)]
        queries.append(_moved(parents, kept))
    query = f"SELECT DISTINCT key FROM ({' UNION ALL '.join(queries)}) LIMIT {MOST_ASKED + 1}"
    keys = [key for (key,) in workspace.all(query, {"sync": sync.name})]
    return None if len(keys) > MOST_ASKED else keys


def take_differing(workspace: Workspace, staged: Staged, selected: str) -> RowCounts | None:
    """Split what the warehouse answered into rows and keys that are gone; None where it does not add up.

    `selected` is SQL for what is staged of a row.
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
    new, left, odd = workspace.one(
        f"SELECT count(*) FILTER ({kind} = {literal(NEW)} AND {row_key} IS NOT NULL), "
        f"count(*) FILTER ({kind} = {literal(GONE)}), "
        f"count(*) FILTER ({kind} = {literal(TWICE)} OR {of_rows} AND {is_otherwise} "
        f"OR {kind} = {literal(NEW)} AND {is_known}) FROM {source} AS incoming",
        {"sync": staged.sync.name},
    )
    # Rows that met a hash, and hashes that met a row: where they are not as many, several rows have one key, or one met
    # the hash of another key. Of a new row whose key has a hash that another row met, it is the same. A key whose text
    # is another one here than in the warehouse would pass for gone.
    if mark is None or known != mark.rows or rows - without_key - new != known - left or odd:
        return None
    workspace.execute(
        f"CREATE OR REPLACE TABLE {staged.raw} AS SELECT {selected} FROM {source} AS incoming WHERE {of_rows}"
    )
    workspace.execute(
        f"CREATE OR REPLACE TABLE {staged.gone} AS SELECT {row_key} AS key FROM {source} WHERE {kind} = {literal(GONE)}"
    )
    return RowCounts(rows=rows, without_key=without_key)


def read_parents(workspace: Workspace, table: str, part: ChildPart) -> Sequence[str] | None:
    """By what the rows of a table name their child rows; None where they are too many to ask for."""
    column = quoted(f"$on{part.name}")
    query = f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL LIMIT {MOST_ASKED + 1}"
    keys = [key for (key,) in workspace.all(query)]
    return None if len(keys) > MOST_ASKED else keys


def _moved(parents: Sequence[str], kept: Sequence[str]) -> str:
    """SQL for the rows that refer to an object that no row has any longer, or that another row has now.

    An object has not moved if a person removed its record and its row found it again. For the parents in `kept`, rows
    stay with their objects although others have replaced them.
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

"""Joins references, look-ups and child rows to the staged rows of a sync.

A row's hash excludes the resolved ids, which are in `$refs`. So if an object is created in this run, rows that refer to
it don't look changed in the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.engine.payload.layout import HASH, KEY, PARENT, REFS, keeps, kept_column, newest_column
from dbt_stripe_sync.model.sql import ID_SEPARATOR, literal, quoted
from dbt_stripe_sync.model.sync import Lookup, SyncRef

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dbt_stripe_sync.engine.payload.layout import ChildPart, Part
    from dbt_stripe_sync.engine.stage.staged import Staged
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.sync import Sync


def link_rows(workspace: Workspace, staged: Staged) -> None:
    """Join references, look-ups and child rows to the rows. Their targets must be known."""
    if not staged.layout.is_linked:
        return
    children = staged.layout.children
    joins = [*_reference_joins(staged, staged.layout.row, KEY)]
    joins += [
        f"LEFT JOIN ({_child_rows(staged, child)}) AS {quoted(child.name)} "
        f"ON {quoted(child.name)}.{quoted(PARENT)} = s.{quoted('$on' + child.name)}"
        for child in children
    ]
    ids = [f"{found} AS {quoted(name)}" for name, found in _columns_of(staged.layout.row)]
    lists = [f"{quoted(child.name)}.items AS {quoted(child.name)}" for child in children]
    refs = [f"coalesce({_id_of(*reference)}, '')" for reference in staged.layout.row.references.items()]
    refs += [f"coalesce({quoted(child.name)}.refs, '')" for child in children]
    hashes = [f"s.{quoted(HASH)}", *(f"{quoted(child.name)}.items_hash" for child in children)]
    # A hash from the warehouse already includes the child rows.
    hashed = f"hash({', '.join(hashes)})" if staged.compared is None else hashes[0]
    selected = ", ".join(
        [
            f"s.* EXCLUDE ({', '.join([quoted(HASH), *([] if staged.layout.row.references else [quoted(REFS)])])})",
            *ids,
            *lists,
            f"{hashed} AS {quoted(HASH)}",
            f"concat_ws({literal(ID_SEPARATOR)}, {', '.join(refs)}) AS {quoted(REFS)}",
        ]
    )
    workspace.execute(
        f"CREATE OR REPLACE TABLE {staged.table} AS SELECT {selected} FROM {staged.raw} AS s {' '.join(joins)}"
    )


def _child_rows(staged: Staged, child: ChildPart) -> str:
    """SQL with one row for each parent: its child rows as a list of structs, their ids, and their hash."""
    references = list(child.references.items())
    fields = [f"{quoted(column)} := s.{quoted(column)}" for column in child.columns]
    fields += [f"{quoted(name)} := {found}" for name, found in _columns_of(child)]
    # Without a fixed order, a list would look changed whenever the warehouse returns its rows in a different order.
    order = ", ".join(f"s.{quoted(column)}" for column in (child.child.order_by or tuple(child.columns)))
    ids = ", ".join(f"coalesce({_id_of(*reference)}, '')" for reference in references) or "''"
    separator = literal(ID_SEPARATOR)
    joins = " ".join(_reference_joins(staged, child, PARENT))
    return (
        f"SELECT s.{quoted(PARENT)}, list(struct_pack({', '.join(fields)}) ORDER BY {order}) AS items, "
        f"string_agg(concat_ws({separator}, {ids}), {separator} ORDER BY {order}) AS refs, "
        f"hash(list(s.{quoted(HASH)} ORDER BY {order})) AS items_hash "
        f"FROM {staged.child_table(child)} AS s {joins} GROUP BY s.{quoted(PARENT)}"
    )


def _reference_joins(staged: Staged, part: Part, row_key: str) -> Sequence[str]:
    """A join for each reference. `row_key` is the column with the key of the sync's own row."""
    joins = []
    for reference, name in part.references.items():
        key = f"s.{quoted(part.reference_key(reference))}"
        joins.append(f"LEFT JOIN ({_targets(reference)}) AS {quoted(name)} ON {quoted(name)}.key = {key}")
        if keeps(reference):
            kept = quoted(kept_column(name))
            joins.append(
                f"LEFT JOIN ({_kept_ids(staged.sync, reference)}) AS {kept} "
                f"ON {kept}.key = {key} AND {kept}.row_key = s.{quoted(row_key)}"
            )
    return joins


def _id_of(reference: SyncRef | Lookup, name: str) -> str:
    found = f"{quoted(name)}.id"
    return f"coalesce({quoted(kept_column(name))}.id, {found})" if keeps(reference) else found


def _columns_of(part: Part) -> Iterator[tuple[str, str]]:
    """The columns for the ids that a part's references resolve to, with SQL for each."""
    for reference, name in part.references.items():
        yield name, _id_of(reference, name)
        if keeps(reference):
            yield newest_column(name), f"{quoted(name)}.id"


def _kept_ids(sync: Sync, reference: SyncRef | Lookup) -> str:
    """SQL for the objects that a row already refers to although they were replaced, or will be by this plan."""
    if not isinstance(reference, SyncRef):
        raise TypeError(reference)
    parent = literal(reference.sync)
    return f"""
        SELECT mine.row_key, former.key, any_value(former.id) AS id
        FROM (SELECT key AS row_key, unnest(string_split(refs, {literal(ID_SEPARATOR)})) AS id
              FROM known_records WHERE sync = {literal(sync.name)}) AS mine
        JOIN (SELECT key, stripe_id AS id FROM known_former_ids WHERE sync = {parent}
              UNION
              SELECT key, id FROM work.former WHERE sync = {parent}
              UNION
              SELECT key, former FROM work.planned WHERE sync = {parent} AND former IS NOT NULL
             ) AS former ON former.id = mine.id
        GROUP BY ALL
    """


def _targets(reference: SyncRef | Lookup) -> str:
    """SQL for the ids that a reference can resolve to. Objects of this plan take precedence over the records."""
    if isinstance(reference, Lookup):
        return (
            f"SELECT value AS key, id FROM work.lookups WHERE resource = {literal(reference.resource)} "
            f"AND field = {literal(reference.by)}"
        )
    sync = literal(reference.sync)
    return (
        "SELECT coalesce(p.key, r.key) AS key, CASE WHEN p.key IS NULL THEN r.stripe_id ELSE p.id END AS id "
        f"FROM (SELECT key, stripe_id FROM known_records WHERE sync = {sync}) AS r "
        f"FULL JOIN (SELECT key, id FROM work.planned WHERE sync = {sync}) AS p ON p.key = r.key"
    )

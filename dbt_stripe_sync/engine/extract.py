"""Rows into staging tables, each with the canonical text of its key and a hash of all that its sync maps.

First every model is loaded as it is; then references, look-ups and child rows are joined to it. The hash leaves the
resolved ids out (they stand beside it as `$refs`), so that an object made in this run does not make its referrers look
changed in the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from dbt_stripe_sync.engine.layout import HASH, KEY, PARENT, REFS
from dbt_stripe_sync.engine.sql import ID_SEPARATOR, key_text, literal, quoted
from dbt_stripe_sync.engine.types import Lookup, RowSource, SyncRef
from dbt_stripe_sync.errors import Location, Problem, WarehouseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dbt_stripe_sync.engine.layout import ChildPart, Layout, Part
    from dbt_stripe_sync.engine.ports import Warehouse
    from dbt_stripe_sync.engine.types import ModelNode, Sync
    from dbt_stripe_sync.engine.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A sync's rows in the workspace. `number` tells its tables from those of other syncs.

    `salt` is the secret that goes into the rows' hashes where their values are not stored.
    """

    sync: Sync
    layout: Layout
    number: int
    salt: str | None = None

    @property
    def raw(self) -> str:
        """The table of the rows as read."""
        return f"work.raw_{self.number}"

    @property
    def table(self) -> str:
        """The table of the rows as compared."""
        return f"work.stage_{self.number}" if self.layout.is_linked else self.raw

    @property
    def duplicates(self) -> str:
        """The table of the keys that several rows claim."""
        return f"work.duplicates_{self.number}"

    @property
    def changed(self) -> str:
        """The table of the keys that are not as last written."""
        return f"work.changed_{self.number}"

    def child_table(self, child: ChildPart) -> str:
        """The table of a child model's rows as read."""
        return f"work.{child.name.strip('$')}_{self.number}"


def load_rows(workspace: Workspace, staged: Staged, warehouse: Warehouse) -> int:
    """Read the sync's model and its child models into the workspace; the number of rows of the model.

    Raises `WarehouseError`.
    """
    row = staged.layout.row
    keys = [f"{key_text(staged.sync.key, 'incoming')} AS {quoted(KEY)}"]
    keys += [
        f"{key_text(child.child.parent_on, 'incoming')} AS {quoted('$on' + child.name)}"
        for child in staged.layout.children
    ]
    # The mapping and the engine that hashes are part of the hash: where one moves, every row is looked at again.
    salt = literal(f"{staged.sync.fingerprint} {duckdb.__version__}")
    _load(
        workspace,
        warehouse,
        staged.sync.model,
        staged.raw,
        row,
        [*keys, f"{_salted(f'hash({salt}, {_columns(row)})', staged.salt)} AS {quoted(HASH)}"],
    )
    for child in staged.layout.children:
        parent = f"{key_text(child.child.on, 'incoming')} AS {quoted(PARENT)}"
        hashed = f"hash({_columns(child)}) AS {quoted(HASH)}"
        _load(workspace, warehouse, child.child.model, staged.child_table(child), child, [parent, hashed])
    workspace.execute(
        f"CREATE OR REPLACE TABLE {staged.duplicates} AS SELECT {quoted(KEY)} AS key, count(*) AS rows "
        f"FROM {staged.raw} WHERE {quoted(KEY)} IS NOT NULL GROUP BY ALL HAVING count(*) > 1"
    )
    return int(workspace.one(f"SELECT count(*) FROM {staged.raw}")[0])


def _salted(hashed: str, salt: str | None) -> str:
    """SQL for a hash that nobody can compute who has not the salt. DuckDB's own `hash` can be turned back."""
    return hashed if salt is None else f"hash(sha256(concat({literal(salt)}, {hashed})))"


def _load(
    workspace: Workspace, warehouse: Warehouse, model: ModelNode, table: str, part: Part, keys: Sequence[str]
) -> None:
    source = RowSource(name=model.name, relation=model.relation, sql=model.sql, columns=tuple(part.columns))
    references = [
        f"{key_text(_columns_of(reference), 'incoming')} AS {quoted(part.reference_key(reference))}"
        for reference in part.references
    ]
    extra = [] if part.references else [f"'' AS {quoted(REFS)}"]
    selected = ", ".join([*keys, _columns(part), *references, *extra])
    try:
        workspace.fill(f"CREATE OR REPLACE TABLE {table} AS SELECT {selected} FROM incoming", warehouse.rows(source))
    except duckdb.Error:
        # What the reader said stands in DuckDB's message with a traceback and perhaps values: neither is for a log.
        raise WarehouseError(
            Problem(
                code="read-failed",
                summary=f"`{model.name}` could not be read to its end",
                where=Location(file=model.file, model=model.name),
                hint="run it again; nothing was sent. If it persists, query the model in your warehouse",
            )
        ) from None


def _columns(part: Part) -> str:
    return ", ".join(f"incoming.{quoted(column)}" for column in part.columns)


def _columns_of(reference: SyncRef | Lookup) -> Sequence[str]:
    return reference.columns if isinstance(reference, SyncRef) else (reference.column,)


def link_rows(workspace: Workspace, staged: Staged) -> None:
    """Join references, look-ups and child rows to the rows, once their targets are known."""
    if not staged.layout.is_linked:
        return
    children = staged.layout.children
    joins = [*_reference_joins(staged.layout.row)]
    joins += [
        f"LEFT JOIN ({_child_rows(staged, child)}) AS {quoted(child.name)} "
        f"ON {quoted(child.name)}.{quoted(PARENT)} = s.{quoted('$on' + child.name)}"
        for child in children
    ]
    ids = [f"{quoted(name)}.id AS {quoted(name)}" for name in staged.layout.row.references.values()]
    lists = [f"{quoted(child.name)}.items AS {quoted(child.name)}" for child in children]
    refs = [f"coalesce({quoted(name)}.id, '')" for name in staged.layout.row.references.values()]
    refs += [f"coalesce({quoted(child.name)}.refs, '')" for child in children]
    hashes = [f"s.{quoted(HASH)}", *(f"{quoted(child.name)}.items_hash" for child in children)]
    selected = ", ".join(
        [
            f"s.* EXCLUDE ({', '.join([quoted(HASH), *([] if staged.layout.row.references else [quoted(REFS)])])})",
            *ids,
            *lists,
            f"hash({', '.join(hashes)}) AS {quoted(HASH)}",
            f"concat_ws({literal(ID_SEPARATOR)}, {', '.join(refs)}) AS {quoted(REFS)}",
        ]
    )
    workspace.execute(
        f"CREATE OR REPLACE TABLE {staged.table} AS SELECT {selected} FROM {staged.raw} AS s {' '.join(joins)}"
    )


def _child_rows(staged: Staged, child: ChildPart) -> str:
    """SQL for one row a parent: its child rows as a list of structs, their ids, and their hash."""
    names = list(child.references.values())
    fields = [f"{quoted(column)} := s.{quoted(column)}" for column in child.columns]
    fields += [f"{quoted(name)} := {quoted(name)}.id" for name in names]
    # A list without an order of its own would look changed whenever the warehouse returns its rows in another one.
    order = ", ".join(f"s.{quoted(column)}" for column in (child.child.order_by or tuple(child.columns)))
    ids = ", ".join(f"coalesce({quoted(name)}.id, '')" for name in names) or "''"
    separator = literal(ID_SEPARATOR)
    return (
        f"SELECT s.{quoted(PARENT)}, list(struct_pack({', '.join(fields)}) ORDER BY {order}) AS items, "
        f"string_agg(concat_ws({separator}, {ids}), {separator} ORDER BY {order}) AS refs, "
        f"hash(list(s.{quoted(HASH)} ORDER BY {order})) AS items_hash "
        f"FROM {staged.child_table(child)} AS s {' '.join(_reference_joins(child))} GROUP BY s.{quoted(PARENT)}"
    )


def _reference_joins(part: Part) -> Sequence[str]:
    return [
        f"LEFT JOIN ({_targets(reference)}) AS {quoted(name)} "
        f"ON {quoted(name)}.key = s.{quoted(part.reference_key(reference))}"
        for reference, name in part.references.items()
    ]


def _targets(reference: SyncRef | Lookup) -> str:
    """SQL for the ids that a reference can name: what this plan makes or removes comes before what is recorded."""
    if isinstance(reference, Lookup):
        return (
            f"SELECT value AS key, id FROM work.lookups WHERE resource = {literal(reference.resource)} "
            f"AND field = {literal(reference.by)}"
        )
    sync = literal(reference.sync)
    return (
        "SELECT coalesce(p.key, r.key) AS key, CASE WHEN p.key IS NULL THEN r.stripe_id ELSE p.id END AS id "
        f"FROM (SELECT key, stripe_id FROM records WHERE sync = {sync}) AS r "
        f"FULL JOIN (SELECT key, id FROM work.planned WHERE sync = {sync}) AS p ON p.key = r.key"
    )

"""Rows into staging tables, each with the canonical text of its key and a hash of all that its sync maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from dbt_stripe_sync.engine.payload.layout import HASH, KEY, PARENT, REFS
from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.errors import Location, Problem, StateError, WarehouseError
from dbt_stripe_sync.model.nodes import NUMBER_FIELD, RowSource
from dbt_stripe_sync.model.sql import key_text, literal, quoted
from dbt_stripe_sync.model.sync import SyncRef

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dbt_stripe_sync.engine.payload.layout import ChildPart, Layout, Part
    from dbt_stripe_sync.engine.ports import RowProgress, Warehouse
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.nodes import ModelNode, RowSource
    from dbt_stripe_sync.model.sync import Lookup, Sync

# A time in a key whose zone is not UTC.
LOCAL_TIME = r"\d\d:\d\d:\d\d(\.\d+)?[+-](0[1-9]|[1-9]\d|00:)"


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

    @property
    def left_out(self) -> str:
        """The table of those among them that this plan does not look at."""
        return f"work.left_out_{self.number}"

    def child_table(self, child: ChildPart) -> str:
        """The table of a child model's rows as read."""
        return f"work.{child.name.strip('$')}_{self.number}"


class CountingWarehouse:
    """Implements `Warehouse` over another one, and tells how many rows have come."""

    def __init__(self, warehouse: Warehouse, progress: RowProgress) -> None:
        self._warehouse = warehouse
        self._progress = progress

    def columns(self, source: RowSource) -> Mapping[str, str]:
        """Those of the warehouse."""
        return self._warehouse.columns(source)

    def rows(self, source: RowSource) -> pa.RecordBatchReader:
        """Those of the warehouse."""
        reader = self._warehouse.rows(source)
        return pa.RecordBatchReader.from_batches(reader.schema, self._heard(reader))

    def close(self) -> None:
        """The warehouse's owner closes it."""

    def _heard(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in reader:
            yield batch
            self._progress.rows_read(batch.num_rows)


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
    _check_keys(workspace, staged)
    for child in staged.layout.children:
        parent = f"{key_text(child.child.on, 'incoming')} AS {quoted(PARENT)}"
        hashed = f"hash({_columns(child)}) AS {quoted(HASH)}"
        _load(workspace, warehouse, child.child.model, staged.child_table(child), child, [parent, hashed])
    workspace.execute(
        f"CREATE OR REPLACE TABLE {staged.duplicates} AS SELECT {quoted(KEY)} AS key, count(*) AS rows "
        f"FROM {staged.raw} WHERE {quoted(KEY)} IS NOT NULL GROUP BY ALL HAVING count(*) > 1"
    )
    return int(workspace.one(f"SELECT count(*) FROM {staged.raw}")[0])


def _check_keys(workspace: Workspace, staged: Staged) -> None:
    """Whether the records' keys hold times in UTC, as the rows' do.

    Version 0.1.0 wrote them in the machine's own zone: such a record would match no row, and each row would be
    created again. Raises `StateError`.
    """
    types = {name: kind for name, kind, *_ in workspace.all(f"DESCRIBE {staged.raw}")}
    if not any(types[column] == "TIMESTAMP WITH TIME ZONE" for column in staged.sync.key):
        return
    query = f"SELECT count(*) FROM known_records WHERE sync = $sync AND regexp_matches(key, {literal(LOCAL_TIME)})"
    (count,) = workspace.one(query, {"sync": staged.sync.name})
    if count:
        keys = "has a key" if count == 1 else "have keys"
        raise StateError(
            Problem(
                code="keys-in-local-time",
                summary=f"{counted(count, 'record')} of sync `{staged.sync.name}` {keys} "
                "with a time in a zone other than UTC, and would be taken for other rows; nothing was sent",
                where=staged.sync.where,
                hint="run `dbt-stripe-sync state export FOLDER`, write those times in UTC (`2027-03-28 01:30:00+00`), "
                "and `state import` it into a new state (`--state-path`)",
            )
        )


def _salted(hashed: str, salt: str | None) -> str:
    """SQL for a hash that nobody can compute who has not the salt. DuckDB's own `hash` can be turned back."""
    return hashed if salt is None else f"hash(sha256(concat({literal(salt)}, {hashed})))"


def _load(
    workspace: Workspace, warehouse: Warehouse, model: ModelNode, table: str, part: Part, keys: Sequence[str]
) -> None:
    source = model.source(tuple(part.columns))
    references = [
        f"{key_text(_columns_of(reference), 'incoming')} AS {quoted(part.reference_key(reference))}"
        for reference in part.references
    ]
    extra = [] if part.references else [f"'' AS {quoted(REFS)}"]
    selected = ", ".join([*keys, _columns(part), *references, *extra])
    reader = warehouse.rows(source)
    part.numbers.update(field.name for field in reader.schema if NUMBER_FIELD.items() <= (field.metadata or {}).items())
    failures: list[WarehouseError] = []
    incoming = pa.RecordBatchReader.from_batches(reader.schema, _noting(reader, failures))
    try:
        workspace.fill(f"CREATE OR REPLACE TABLE {table} AS SELECT {selected} FROM incoming", incoming)
    except duckdb.Error:
        if failures:
            raise failures[0] from None
        # What the reader said stands in DuckDB's message with a traceback and perhaps values: neither is for a log.
        raise WarehouseError(
            Problem(
                code="read-failed",
                summary=f"`{model.label}` could not be read to its end",
                where=Location(file=model.file, model=model.label),
                hint="run it again; nothing was sent. If it persists, query the model in your warehouse",
            )
        ) from None


def _noting(reader: pa.RecordBatchReader, failures: list[WarehouseError]) -> Iterator[pa.RecordBatch]:
    """The batches. Why there are no more of them DuckDB would tell as text alone."""
    try:
        yield from reader
    except WarehouseError as error:
        failures.append(error)
        raise


def _columns(part: Part) -> str:
    return ", ".join(f"incoming.{quoted(column)}" for column in part.columns)


def _columns_of(reference: SyncRef | Lookup) -> Sequence[str]:
    return reference.columns if isinstance(reference, SyncRef) else (reference.column,)

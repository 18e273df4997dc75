"""Reads rows into staging tables, each with the canonical text of its key and a hash of its mapped columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
from msgspec import Struct
from msgspec.structs import replace

from dbt_stripe_sync.engine.payload.layout import HASH, KEY, PARENT, REFS
from dbt_stripe_sync.engine.stage.differing import (
    UNSIGNED_HASH,
    hashed_child,
    keys_to_read,
    parent_keys,
    split_answer,
)
from dbt_stripe_sync.engine.stage.hashes_first import (
    count_hashed,
    differing_keys,
    hashes_that_differ,
    is_complete,
    store_gone_keys,
)
from dbt_stripe_sync.engine.stage.unchanged import count_unchanged, store_no_gone_keys
from dbt_stripe_sync.engine.stage.workspace import FEW_ROWS
from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.errors import Location, Problem, StateError, WarehouseError
from dbt_stripe_sync.model.hashes import ROW_KEY, UNREADABLE
from dbt_stripe_sync.model.nodes import NUMBER_FIELD, RowSource
from dbt_stripe_sync.model.sql import key_text, literal, quoted
from dbt_stripe_sync.model.sync import SyncRef

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dbt_stripe_sync.engine.payload.layout import ChildPart, Part
    from dbt_stripe_sync.engine.ports import RowProgress, Warehouse
    from dbt_stripe_sync.engine.stage.staged import Compared, RowCounts, Staged
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.nodes import ModelNode, RowSource
    from dbt_stripe_sync.model.sync import Lookup

# A time in a key, in a zone other than UTC.
LOCAL_TIME = r"\d\d:\d\d:\d\d(\.\d+)?[+-](0[1-9]|[1-9]\d|00:)"


class CountingWarehouse:
    """Implements `Warehouse` over another one, and reports how many rows were read."""

    def __init__(self, warehouse: Warehouse, progress: RowProgress) -> None:
        self._warehouse = warehouse
        self._progress = progress

    def columns(self, source: RowSource) -> Mapping[str, str]:
        """The columns of `source` in the underlying warehouse. Raises `WarehouseError`."""
        return self._warehouse.columns(source)

    def rows(self, source: RowSource) -> pa.RecordBatchReader:
        """The rows of `source` in the underlying warehouse, reported as they are read. Raises `WarehouseError`."""
        reader = self._warehouse.rows(source)
        return pa.RecordBatchReader.from_batches(reader.schema, self._reported(reader))

    def close(self) -> None:
        """Does nothing: whoever opened the underlying warehouse closes it."""

    def _reported(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in reader:
            yield batch
            self._progress.rows_read(batch.num_rows)


def load_rows(workspace: Workspace, staged: Staged, warehouse: Warehouse) -> Staged:
    """Read the sync's model and its child models into the workspace.

    If the warehouse compares or hashes the rows, and its result is consistent, only rows that differ are read, and the
    result has `counts`. Raises `WarehouseError`.
    """
    loading = _Loading(workspace=workspace, warehouse=warehouse)
    staged = replace(staged, counts=_load_some(loading, staged))
    if staged.counts is None:
        workspace.expect_all_rows()
        model, compared = staged.sync.model, staged.compared
        row = staged.layout.row
        source = compared.diffs.all_rows(compared.rows) if compared else model.source(tuple(row.columns))
        loading.load(model, source, row, staged.raw, f"SELECT {_selected(row, _keys_and_hash(staged))} FROM incoming")
    _check_keys(workspace, staged)
    for child in staged.layout.children:
        parent = f"{key_text(child.child.on, 'incoming')} AS {quoted(PARENT)}"
        hashed = f"hash({_columns(child)}) AS {quoted(HASH)}"
        source = _child_source(workspace, staged, child)
        query = f"SELECT {_selected(child, [parent, hashed])} FROM incoming"
        loading.load(child.child.model, source, child, staged.child_table(child), query)
    workspace.execute(
        f"CREATE OR REPLACE TABLE {staged.duplicates} AS SELECT {quoted(KEY)} AS key, count(*) AS rows "
        f"FROM {staged.raw} WHERE {quoted(KEY)} IS NOT NULL GROUP BY ALL HAVING count(*) > 1"
    )
    return staged


def _load_some(loading: _Loading, staged: Staged) -> RowCounts | None:
    """Read only rows that differ; None if every row must be read."""
    compared = staged.compared
    if compared is None or not (compared.mark or compared.hashes_first):
        return None
    needed = keys_to_read(loading.workspace, staged.sync, staged.layout)
    if needed is None:
        return None
    counts = None if needed else _load_nothing(loading, staged, compared)
    if counts is not None:
        return counts
    load = _load_by_hashes if compared.hashes_first else _load_differing
    return load(loading, staged, compared, needed)


def _load_nothing(loading: _Loading, staged: Staged, compared: Compared) -> RowCounts | None:
    """Read a digest of all rows; None if it isn't that of the records."""
    if not compared.digest_first:
        return None
    digest = loading.warehouse.rows(compared.diffs.digest(compared.rows)).read_all()
    counts = count_unchanged(loading.workspace, staged, digest)
    if counts is not None:
        loading.workspace.expect_few_rows()
        row = staged.layout.row
        query = f"SELECT {_selected(row, _keys_and_hash(staged))} FROM incoming"
        loading.load(staged.sync.model, compared.diffs.no_rows(compared.rows), row, staged.raw, query)
        store_no_gone_keys(loading.workspace, staged)
    return counts


def _load_differing(loading: _Loading, staged: Staged, compared: Compared, needed: Sequence[str]) -> RowCounts | None:
    """Read the rows that the warehouse finds to differ; None if its result is inconsistent."""
    workspace, row = loading.workspace, staged.layout.row
    if compared.mark is None:
        return None
    source = compared.diffs.differing(compared.rows, compared.mark.state_id, needed)
    try:
        loading.load(staged.sync.model, source, row, staged.answer, "SELECT * FROM incoming")
    except WarehouseError as error:
        if error.problems[0].code not in UNREADABLE:
            raise
        return None  # someone dropped or changed the table of hashes; a problem of the model is found by the next query
    (differing,) = workspace.one(f"SELECT count(*) FROM {staged.answer}")
    if differing - 1 > FEW_ROWS:  # one row has the counts
        workspace.expect_all_rows()
    selected = _selected(row, _keys_and_hash(staged))
    counts = split_answer(workspace, staged, selected)
    workspace.execute(f"DROP TABLE {staged.answer}")
    return counts


def _load_by_hashes(loading: _Loading, staged: Staged, compared: Compared, needed: Sequence[str]) -> RowCounts | None:
    """Read every row's hash, then the rows that differ; None if every row must be read."""
    workspace, sync, row = loading.workspace, staged.sync, staged.layout.row
    workspace.expect_all_rows()
    hashes = compared.diffs.hashes(compared.rows)
    hashed = loading.load(sync.model, hashes, row, staged.answer, hashes_that_differ(sync))
    keys = differing_keys(workspace, staged)
    counts = count_hashed(workspace, staged, hashed)
    if keys is None or counts is None:
        return None
    some = compared.diffs.some_rows(compared.rows, [*{*keys, *needed}])
    if len(keys) <= FEW_ROWS:
        workspace.expect_few_rows()
    selected = f"{_selected(row, _keys_and_hash(staged))}, incoming.{quoted(ROW_KEY)}"
    loading.load(sync.model, some, row, staged.raw, f"SELECT {selected} FROM incoming")
    if not is_complete(workspace, staged):
        return None
    workspace.execute(f"ALTER TABLE {staged.raw} DROP COLUMN {quoted(ROW_KEY)}")
    store_gone_keys(workspace, staged)
    return counts


def _child_source(workspace: Workspace, staged: Staged, child: ChildPart) -> RowSource:
    """What to read of a child model: everything, or only the children of rows that were read."""
    if staged.counts is not None and staged.compared is not None:
        parents = parent_keys(workspace, staged.raw, child)
        if parents is not None:
            return staged.compared.diffs.children(hashed_child(child), parents)
    return child.child.model.source(tuple(child.columns))


def _keys_and_hash(staged: Staged) -> Sequence[str]:
    """SQL for a row's key, the values by which it joins its child rows, and its hash."""
    keys = [f"{key_text(staged.sync.key, 'incoming')} AS {quoted(KEY)}"]
    keys += [
        f"{key_text(child.child.parent_on, 'incoming')} AS {quoted('$on' + child.name)}"
        for child in staged.layout.children
    ]
    # The hash includes the mapping and DuckDB's version. If one of them changes, every row is compared again.
    salt = literal(f"{staged.sync.fingerprint} {duckdb.__version__}")
    hashed = _salted(f"hash({salt}, {_columns(staged.layout.row)})", staged.salt)
    return [*keys, f"{hashed if staged.compared is None else UNSIGNED_HASH} AS {quoted(HASH)}"]


def _check_keys(workspace: Workspace, staged: Staged) -> None:
    """Check that times in the records' keys are in UTC, as in the rows' keys.

    Version 0.1.0 wrote them in the machine's time zone. Such a record would match no row, so the row would be created
    again. Raises `StateError` (`keys-in-local-time`).
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
    """SQL for a hash that can't be computed without the salt, because DuckDB's `hash` alone can be inverted."""
    return hashed if salt is None else f"hash(sha256(concat({literal(salt)}, {hashed})))"


def _selected(part: Part, keys: Sequence[str]) -> str:
    """The select list, in SQL, for a staged row."""
    references = [
        f"{key_text(_columns_of(reference), 'incoming')} AS {quoted(part.reference_key(reference))}"
        for reference in part.references
    ]
    extra = [] if part.references else [f"'' AS {quoted(REFS)}"]
    return ", ".join([*keys, _columns(part), *references, *extra])


class _Loading(Struct, frozen=True, kw_only=True):
    """Reads from the warehouse into the workspace."""

    workspace: Workspace
    warehouse: Warehouse

    def load(self, model: ModelNode, source: RowSource, part: Part, table: str, query: str) -> int:
        """Create a table from a query over the rows, which are named `incoming` in it.

        Returns the number of rows that were read. Raises `WarehouseError`.
        """
        incoming = _Incoming(warehouse=self.warehouse, source=source, part=part)
        try:
            self.workspace.fill(f"CREATE OR REPLACE TABLE {table} AS {query}", incoming.open)
        except duckdb.Error:
            if incoming.failure is not None:
                raise incoming.failure from None
            # DuckDB's message includes the reader's traceback and possibly row values, which must not be logged.
            raise WarehouseError(
                Problem(
                    code="read-failed",
                    summary=f"`{model.label}` could not be read to its end",
                    where=Location(file=model.file, model=model.label),
                    hint="run it again; nothing was sent. If it persists, query the model in your warehouse",
                )
            ) from None
        return incoming.rows


class _Incoming(Struct, kw_only=True):
    """The rows of a source, counted. It keeps the reader's error, because DuckDB only passes on its text."""

    warehouse: Warehouse
    source: RowSource
    part: Part
    rows: int = 0
    failure: WarehouseError | None = None

    def open(self) -> pa.RecordBatchReader:
        """Query the source, once more if that was done before. Raises `WarehouseError`."""
        reader = self.warehouse.rows(self.source)
        numbers = (field.name for field in reader.schema if NUMBER_FIELD.items() <= (field.metadata or {}).items())
        self.part.numbers.update(numbers)
        self.rows = 0
        return pa.RecordBatchReader.from_batches(reader.schema, self._counted(reader))

    def _counted(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        try:
            for batch in reader:
                self.rows += batch.num_rows
                yield batch
        except WarehouseError as error:
            self.failure = error
            raise


def _columns(part: Part) -> str:
    return ", ".join(f"incoming.{quoted(column)}" for column in part.columns)


def _columns_of(reference: SyncRef | Lookup) -> Sequence[str]:
    return reference.columns if isinstance(reference, SyncRef) else (reference.column,)

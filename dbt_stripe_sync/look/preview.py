"""Shows some rows of a sync with the exact parameters that they would send. It changes nothing."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from msgspec import Struct

from dbt_stripe_sync.engine.payload.builder import PayloadBuilder, pending_id
from dbt_stripe_sync.engine.payload.layout import KEY, build_layout
from dbt_stripe_sync.engine.stage.extract import load_rows
from dbt_stripe_sync.engine.stage.linking import link_rows
from dbt_stripe_sync.engine.stage.staged import Staged
from dbt_stripe_sync.engine.stage.workspace import Workspace
from dbt_stripe_sync.model.errors import ConfigError, Problem
from dbt_stripe_sync.model.sql import key_order, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dbt_stripe_sync.engine.ports import Warehouse
    from dbt_stripe_sync.model.nodes import RowSource
    from dbt_stripe_sync.model.sync import Sync
    from dbt_stripe_sync.workload import Workload


class PreviewRow(Struct, frozen=True, kw_only=True):
    """One row's key, its parameters, and the problems that keep it from being sent."""

    key: str
    params: Mapping[str, Any]
    problems: tuple[Problem, ...]


class Preview(Struct, frozen=True, kw_only=True):
    """The first rows of a sync."""

    sync: Sync
    rows: tuple[PreviewRow, ...]


class FirstRows:
    """A warehouse that returns only the first rows of one model."""

    def __init__(self, warehouse: Warehouse, model: str, limit: int) -> None:
        self._warehouse = warehouse
        self._model = model
        self._limit = limit

    def columns(self, source: RowSource) -> Mapping[str, str]:
        """The columns in the warehouse."""
        return self._warehouse.columns(source)

    def rows(self, source: RowSource) -> pa.RecordBatchReader:
        """The first rows of the model, or all of a child model."""
        reader = self._warehouse.rows(source)
        if source.name != self._model:
            return reader
        return pa.RecordBatchReader.from_batches(reader.schema, self._first(reader))

    def close(self) -> None:
        """Do nothing: the warehouse's owner closes it."""

    def _first(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        left = self._limit
        for batch in reader:
            if left <= 0:
                return
            yield batch.slice(0, left)
            left -= batch.num_rows


NONE_SELECTED = "no sync is selected: `dbt-stripe-sync ls` lists them, with the same options"


def _find_sync(syncs: Sequence[Sync], name: str) -> Sync:
    """The sync with a name, or the only sync of the model with that name. Raises `ConfigError`."""
    of_model = [sync for sync in syncs if sync.model.name == name]
    found = [sync for sync in syncs if sync.name == name] or of_model
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"`{sync.name}`" for sync in of_model or syncs)
    summary = f"model `{name}` has {len(of_model)} syncs" if of_model else f"unknown sync `{name}`"
    hint = f"name one of them: {names}" if of_model else f"the project has {names}" if names else NONE_SELECTED
    raise ConfigError(Problem(code="unknown-sync", summary=summary, hint=hint))


def preview_rows(workload: Workload, warehouse: Warehouse, name: str, *, limit: int) -> Preview:
    """The first rows of the sync called `name`.

    Ids of other syncs' objects are shown by their key. Raises `ConfigError` and `WarehouseError`.
    """
    sync = _find_sync(workload.syncs, name)
    resource = workload.catalog.resources[sync.resource]
    staged = Staged(sync=sync, layout=build_layout(sync), number=1)
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE known_records(sync VARCHAR, key VARCHAR, stripe_id VARCHAR, refs VARCHAR)")
        connection.execute("CREATE TABLE known_former_ids(sync VARCHAR, key VARCHAR, stripe_id VARCHAR)")
        workspace = Workspace(connection)
        workspace.execute("CREATE TABLE work.lookups(resource VARCHAR, field VARCHAR, value VARCHAR, id VARCHAR)")
        load_rows(workspace, staged, FirstRows(warehouse, sync.model.name, limit))
        _name_references(workspace, staged)
        link_rows(workspace, staged)
        builder = PayloadBuilder(sync, staged.layout, resource)
        query = f"SELECT * FROM {staged.table} WHERE {quoted(KEY)} IS NOT NULL ORDER BY {key_order(quoted(KEY))}"
        rows = [row for batch in workspace.batches(query) for row in batch]
    return Preview(sync=sync, rows=tuple(_preview(builder, row) for row in islice(rows, limit)))


def _preview(builder: PayloadBuilder, row: dict[str, Any]) -> PreviewRow:
    payload = builder.build(row[KEY], row)
    return PreviewRow(key=row[KEY], params=payload.params, problems=payload.problems)


def _name_references(workspace: Workspace, staged: Staged) -> None:
    """Replace every reference with a description of the object that it refers to."""
    parts = [(staged.raw, staged.layout.row), *((staged.child_table(c), c) for c in staged.layout.children)]
    for table, part in parts:
        for reference in part.references:
            key = quoted(part.reference_key(reference))
            keys = [
                str(value) for (value,) in workspace.all(f"SELECT DISTINCT {key} FROM {table} WHERE {key} NOT NULL")
            ]
            for value in keys:
                if hasattr(reference, "sync"):
                    workspace.execute(
                        "INSERT INTO work.planned(sync, key, id) VALUES ($sync, $key, $id)",
                        {"sync": reference.sync, "key": value, "id": pending_id(reference.sync, value)},
                    )
                else:
                    workspace.execute(
                        "INSERT INTO work.lookups VALUES ($resource, $by, $value, $id)",
                        {
                            "resource": reference.resource,
                            "by": reference.by,
                            "value": value,
                            "id": pending_id(f"{reference.resource} by {reference.by}", value),
                        },
                    )

"""Writes hashes through a reader's connection, with statements that every engine accepts and separate commits."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from sqlglot import exp

from dbt_stripe_sync.model.errors import WarehouseError
from dbt_stripe_sync.model.nodes import RowSource
from dbt_stripe_sync.warehouse.hash_table import MARKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from dbt_stripe_sync.model.log import Kind, LogTable
    from dbt_stripe_sync.warehouse.hash_table import HashTables

ROWS_A_STATEMENT = 5_000
_TYPES = {"key": "text", "row_hash": "bigint", "is_live": "boolean"}


class WritableWarehouse(Protocol):
    """A reader whose connection can also execute other statements. Every method raises `WarehouseError`."""

    def columns(self, source: RowSource) -> Mapping[str, str]:
        """The columns of a query, with their types."""
        ...

    def rows(self, source: RowSource) -> pa.RecordBatchReader:
        """The rows of a query."""
        ...

    def execute(self, sql: str) -> None:
        """Execute a statement and commit it."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class PlainWriter:
    """Implements `warehouse.log.LogConnection` without transactions. The copy's marks replace them."""

    types: Mapping[Kind, str] = {}
    with_primary_key: tuple[LogTable, ...] = ()

    def __init__(self, warehouse: WritableWarehouse, tables: HashTables) -> None:
        self._warehouse = warehouse
        self._tables = tables

    def begin(self) -> None:
        """Does nothing, because each statement is committed."""

    def commit(self) -> None:
        """Does nothing, because each statement is committed."""

    def rollback(self) -> None:
        """Does nothing, because a table without a mark isn't trusted."""

    def hold(self, table: str) -> None:
        """Does nothing, because a state has one writer."""

    def execute(self, sql: str) -> None:
        """Execute a statement without a result."""
        self._warehouse.execute(sql)

    def read(self, sql: str) -> pa.RecordBatchReader:
        """The rows of a query."""
        source = RowSource(name=self._tables.schema, relation=None, sql=sql, columns=())
        names = tuple(self._warehouse.columns(source))
        return self._warehouse.rows(RowSource(name=source.name, relation=None, sql=sql, columns=names))

    def stage(self, name: str, rows: pa.RecordBatchReader) -> str:
        """Create a table with these rows in the copy's schema. A leftover of a killed run is dropped first."""
        table = self._tables.table(name)
        types = {column: _TYPES[column] for column in rows.schema.names}
        self.execute(self._tables.drop(table))
        self.execute(self._tables.render(self._tables.create(table.copy(), types)))
        for batch in rows:
            left = iter(batch.to_pylist())
            while some := list(islice(left, ROWS_A_STATEMENT)):
                self.execute(self._tables.render(_insert(table, list(types), some)))
        return self._tables.render(table)

    def has_schema(self, schema: str) -> bool:
        """Always false, so that the schema is created if it doesn't exist."""
        del schema
        return bool(self.tables(self._tables.schema))

    def tables(self, schema: str) -> frozenset[str]:
        """The table of marks, if it exists."""
        del schema
        query = self._tables.render(self._tables.marks())
        try:
            self._warehouse.columns(RowSource(name=MARKS, relation=None, sql=query, columns=()))
        except WarehouseError as error:
            if error.problems[0].code != "relation-missing":
                raise
            return frozenset()
        return frozenset({MARKS})

    def cancel(self) -> None:
        """Cancel the running statement, if the driver supports that."""
        cancel = getattr(self._warehouse, "cancel", None)
        if cancel is not None:
            cancel()

    def close(self) -> None:
        """Close the connection."""
        self._warehouse.close()


def _insert(table: exp.Table, names: list[str], rows: list[dict[str, Any]]) -> exp.Insert:
    columns = [exp.to_identifier(name, quoted=True) for name in names]
    return exp.insert(exp.values([tuple(row[name] for name in names) for row in rows]), table.copy(), columns=columns)

"""Rows of a warehouse that an ADBC driver reads: what Snowflake and BigQuery have in common."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import adbc_driver_manager

from dbt_stripe_sync.warehouse.select import SourceColumn, build_select, from_clause
from dbt_stripe_sync.warehouse.streams import guarded_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa
    from adbc_driver_manager import dbapi

    from dbt_stripe_sync.model.errors import WarehouseError
    from dbt_stripe_sync.model.nodes import RowSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one warehouse differs.

    `type_name` says a field's type in the warehouse's words; `plain` is the expression that reads a quoted column of
    that field. `failure` makes a Problem of the driver's error. `statement_options` are set on every query.
    """

    quote: Callable[[str], str]
    type_name: Callable[[pa.Field], str]
    plain: Callable[[str, pa.Field], str]
    failure: Callable[[RowSource, Exception], WarehouseError]
    statement_options: Mapping[str, str] = field(default_factory=dict)


class AdbcWarehouse:
    """One connection; every read has a cursor of its own."""

    def __init__(self, connection: dbapi.Connection, dialect: Dialect) -> None:
        self._connection = connection
        self._dialect = dialect
        self._reading: list[dbapi.Cursor] = []

    def columns(self, source: RowSource) -> Mapping[str, str]:
        """Every column with the warehouse's name for its type. Raises `WarehouseError`."""
        return {column.name: column.type for column in self._described(source)}

    def rows(self, source: RowSource) -> pa.RecordBatchReader:
        """The columns that `source` names, streamed. Raises `WarehouseError`."""
        select = build_select(source, self._described(source), self._dialect.quote)
        cursor = self._cursor()
        try:
            cursor.execute(select)
            reader = cursor.fetch_record_batch()
        except Exception as error:  # noqa: BLE001 - the driver's, and Arrow's about the driver's stream
            cursor.close()
            raise self._dialect.failure(source, error) from None
        self._reading.append(cursor)
        return guarded_reader(
            reader.schema, reader, failure=lambda error: self._dialect.failure(source, error), close=cursor.close
        )

    def close(self) -> None:
        """End what is still being read, and the connection."""
        for cursor in self._reading:
            cursor.close()
        self._connection.close()

    def _cursor(self) -> dbapi.Cursor:
        cursor = self._connection.cursor()
        if self._dialect.statement_options:
            cursor.adbc_statement.set_options(**self._dialect.statement_options)
        return cursor

    def _described(self, source: RowSource) -> Sequence[SourceColumn]:
        query = f"SELECT * FROM {from_clause(source)}"
        with contextlib.closing(self._cursor()) as cursor:
            try:
                schema = _schema(cursor, query)
            except Exception as error:  # noqa: BLE001 - as above
                raise self._dialect.failure(source, error) from None
        return [
            SourceColumn(
                name=column.name,
                type=self._dialect.type_name(column),
                sql=self._dialect.plain(self._dialect.quote(column.name), column),
            )
            for column in schema
        ]


def _schema(cursor: dbapi.Cursor, query: str) -> Any:
    try:
        return cursor.adbc_execute_schema(query)
    except adbc_driver_manager.NotSupportedError:
        # A driver that can't describe a query runs it for no rows, which costs nothing.
        cursor.execute(f"{query} WHERE FALSE LIMIT 0")
        return cursor.fetch_record_batch().schema

"""Reads rows through an ADBC driver, as for Snowflake and BigQuery."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import adbc_driver_manager
from msgspec import Struct, field

from dbt_stripe_sync.model.nodes import RowSource
from dbt_stripe_sync.warehouse.canonical import marked, restored
from dbt_stripe_sync.warehouse.select import SourceColumn, forms_of, from_clause, match_columns, select_of
from dbt_stripe_sync.warehouse.streams import guarded_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa
    from adbc_driver_manager import dbapi

    from dbt_stripe_sync.model.errors import WarehouseError


class Dialect(Struct, frozen=True, kw_only=True):
    """The parts that depend on the warehouse.

    `describe` turns a quoted name and an Arrow field into a column. `failure` turns a driver's error into an error with
    a Problem. `statement_options` are set on every query. `session_sql` runs once, before the first query.
    """

    quote: Callable[[str], str]
    describe: Callable[[str, pa.Field], SourceColumn]
    failure: Callable[[RowSource, Exception], WarehouseError]
    statement_options: Mapping[str, str] = field(default_factory=dict)
    session_sql: tuple[str, ...] = ()


class AdbcWarehouse:
    """One connection; every read has its own cursor."""

    def __init__(self, connection: dbapi.Connection, dialect: Dialect) -> None:
        self._connection = connection
        self._dialect = dialect
        self._reading: list[dbapi.Cursor] = []
        self._busy: dbapi.Cursor | None = None
        self._is_prepared = False

    def columns(self, source: RowSource) -> Mapping[str, str]:
        """Every column with the warehouse's name for its type. Raises `WarehouseError`."""
        return {column.name: column.type for column in self._described(source)}

    def rows(self, source: RowSource) -> pa.RecordBatchReader:
        """The columns that `source` names, streamed. Raises `WarehouseError`."""
        found = match_columns(source, self._described(source))
        select, forms = select_of(source, found, self._dialect.quote), forms_of(found)
        cursor = self._cursor()
        try:
            cursor.execute(select)
            reader = cursor.fetch_record_batch()
        except Exception as error:  # noqa: BLE001 - errors of the driver, and Arrow's for its stream
            cursor.close()
            raise self._dialect.failure(source, error) from None
        self._reading.append(cursor)
        return guarded_reader(
            marked(reader.schema, found),
            (restored(batch, forms) for batch in reader),
            failure=lambda error: self._dialect.failure(source, error),
            close=cursor.close,
        )

    def execute(self, sql: str) -> None:
        """Execute a statement and commit it. Raises `WarehouseError`."""
        source = RowSource(name="diff_schema", relation=None, sql=sql, columns=())
        with contextlib.closing(self._cursor()) as cursor:
            try:
                self._prepare()
                cursor.execute(sql)
            except Exception as error:  # noqa: BLE001 - as above
                raise self._dialect.failure(source, error) from None
        with contextlib.suppress(adbc_driver_manager.Error):  # an autocommitting connection has nothing to commit
            self._connection.commit()

    def cancel(self) -> None:
        """Cancel the running query, from another thread."""
        if self._busy is not None:
            self._busy.adbc_cancel()

    def close(self) -> None:
        """Close open cursors and the connection."""
        for cursor in self._reading:
            cursor.close()
        self._connection.close()

    def _cursor(self) -> dbapi.Cursor:
        cursor = self._busy = self._connection.cursor()
        if self._dialect.statement_options:
            cursor.adbc_statement.set_options(**self._dialect.statement_options)
        return cursor

    def _described(self, source: RowSource) -> Sequence[SourceColumn]:
        query = f"SELECT * FROM {from_clause(source)}"
        with contextlib.closing(self._cursor()) as cursor:
            try:
                self._prepare()
                schema = _schema(cursor, query)
            except Exception as error:  # noqa: BLE001 - as above
                raise self._dialect.failure(source, error) from None
        return [self._dialect.describe(self._dialect.quote(column.name), column) for column in schema]

    def _prepare(self) -> None:
        if self._is_prepared:
            return
        for statement in self._dialect.session_sql:
            with contextlib.closing(self._connection.cursor()) as cursor:
                cursor.execute(statement)
        self._is_prepared = True


def _schema(cursor: dbapi.Cursor, query: str) -> Any:
    try:
        return cursor.adbc_execute_schema(query)
    except adbc_driver_manager.NotSupportedError:
        # If the driver can't describe a query, run it for no rows, which costs nothing.
        cursor.execute(f"{query} WHERE FALSE LIMIT 0")
        return cursor.fetch_record_batch().schema

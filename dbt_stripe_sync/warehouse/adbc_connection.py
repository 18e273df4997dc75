"""Uses ADBC's PostgreSQL driver without its DB-API layer, which takes half a second to import pandas if installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import adbc_driver_postgresql
import pyarrow as pa
from adbc_driver_manager import AdbcConnection, AdbcStatement

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

# arrow.apache.org/adbc/current/driver/postgresql.html#bulk-ingestion
_INTO_A_NEW_TEMPORARY_TABLE = {"adbc.ingest.mode": "adbc.ingest.mode.create", "adbc.ingest.temporary": "true"}


class Connection:
    """One session in its own transaction. Every method raises `adbc_driver_manager.Error`."""

    def __init__(self, conninfo: str) -> None:
        self._database = adbc_driver_postgresql.connect(conninfo)
        try:
            self._connection = AdbcConnection(self._database)
            self._connection.set_autocommit(False)
        except BaseException:
            self._database.close()
            raise

    def cursor(self) -> Cursor:
        """A new statement in this session."""
        return Cursor(AdbcStatement(self._connection))

    def commit(self) -> None:
        """Commit the transaction; the next statement begins another."""
        self._connection.commit()

    def rollback(self) -> None:
        """Roll the transaction back; the next statement begins another."""
        self._connection.rollback()

    def close(self) -> None:
        """End the session."""
        self._connection.close()
        self._database.close()


class Cursor:
    """One statement. Every method raises `adbc_driver_manager.Error`."""

    def __init__(self, statement: AdbcStatement) -> None:
        self._statement = statement
        self._is_open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set_options(self, options: Mapping[str, str]) -> None:
        """Set the driver's options for this statement."""
        self._statement.set_options(**options)

    def schema(self, sql: str) -> pa.Schema:
        """The schema of a query, without executing it."""
        self._statement.set_sql_query(sql)
        return pa.schema(self._statement.execute_schema())

    def execute(self, sql: str) -> None:
        """Execute a statement without a result."""
        self._statement.set_sql_query(sql)
        self._statement.execute_update()

    def reader(self, sql: str) -> pa.RecordBatchReader:
        """The rows of a query, streamed."""
        self._statement.set_sql_query(sql)
        handle, _ = self._statement.execute_query()
        return pa.RecordBatchReader.from_stream(handle)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query with few rows."""
        with self.reader(sql) as reader:
            return [tuple(row.values()) for row in reader.read_all().to_pylist()]

    def ingest(self, table: str, rows: pa.RecordBatchReader) -> None:
        """Create a temporary table and fill it through COPY."""
        self._statement.set_options(**_INTO_A_NEW_TEMPORARY_TABLE, **{"adbc.ingest.target_table": table})
        self._statement.bind_stream(rows)
        self._statement.execute_update()

    def cancel(self) -> None:
        """Cancel the statement, from another thread."""
        if self._is_open:
            self._statement.cancel()

    def close(self) -> None:
        """Close the statement. It may already be closed."""
        if self._is_open:
            self._is_open = False
            self._statement.close()

"""Writes the log to the project's DuckDB file, which is only open while writing, because it allows one writer."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import duckdb
from msgspec.structs import replace

from dbt_stripe_sync.model.log import Kind
from dbt_stripe_sync.warehouse.duckdb import attach, safe_reason
from dbt_stripe_sync.warehouse.duckdb_profile import parse_profile
from dbt_stripe_sync.warehouse.log import LOG, Purpose
from dbt_stripe_sync.warehouse.select import double_quoted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

    from dbt_stripe_sync.model.errors import WarehouseError
    from dbt_stripe_sync.model.log import LogTable

BATCH_ROWS = 50_000


class DuckDBLog:
    """The file, attached to a separate connection. Implements `warehouse.log.LogConnection`."""

    types: Mapping[Kind, str] = {
        Kind.TEXT: "VARCHAR",
        Kind.TEXTS: "VARCHAR[]",
        Kind.NUMBER: "BIGINT",
        Kind.BOOLEAN: "BOOLEAN",
        Kind.TIME: "TIMESTAMPTZ",
    }
    # DuckDB reads a table of a million rows in milliseconds, and would keep an index of it in memory.
    with_primary_key: tuple[LogTable, ...] = ()

    def __init__(self, connection: duckdb.DuckDBPyConnection, database: str, purpose: Purpose) -> None:
        self._connection = connection
        self._database = database
        self._purpose = purpose

    def begin(self) -> None:
        """Begin a transaction."""
        self.execute("BEGIN TRANSACTION")

    def commit(self) -> None:
        """Commit the transaction."""
        self.execute("COMMIT")

    def rollback(self) -> None:
        """Roll back the transaction, unless a failed COMMIT has done so."""
        with contextlib.suppress(duckdb.Error):
            self._connection.execute("ROLLBACK")

    def hold(self, table: str) -> None:
        """Does nothing, because the file has one writer."""

    def execute(self, sql: str) -> None:
        """Execute a statement without a result."""
        try:
            self._connection.execute(sql).fetchall()
        except duckdb.Error as error:
            raise self._failed(error) from None

    def read(self, sql: str) -> pa.RecordBatchReader:
        """The rows of a query."""
        try:
            return self._connection.sql(sql).to_arrow_reader(BATCH_ROWS)
        except duckdb.Error as error:
            raise self._failed(error) from None

    def stage(self, name: str, rows: pa.RecordBatchReader) -> str:
        """Create a temporary table with these rows."""
        self._connection.register("stripe_sync_rows", rows)
        try:
            self.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM stripe_sync_rows")
        finally:
            self._connection.unregister("stripe_sync_rows")
        return f"temp.main.{name}"

    def has_schema(self, schema: str) -> bool:
        """Whether the schema exists, ignoring case like DuckDB."""
        query = "SELECT 1 FROM duckdb_schemas() WHERE database_name = $database AND lower(schema_name) = lower($schema)"
        return bool(self._rows(query, schema))

    def tables(self, schema: str) -> frozenset[str]:
        """The tables and views of a schema."""
        query = (
            "SELECT table_name FROM (SELECT database_name, schema_name, table_name FROM duckdb_tables() UNION ALL "
            "SELECT database_name, schema_name, view_name FROM duckdb_views()) "
            "WHERE database_name = $database AND lower(schema_name) = lower($schema)"
        )
        return frozenset(str(name).lower() for (name,) in self._rows(query, schema))

    def cancel(self) -> None:
        """Cancel the running statement, from another thread."""
        self._connection.interrupt()

    def close(self) -> None:
        """Detach the file and close the connection."""
        self._connection.close()

    def _failed(self, error: duckdb.Error) -> WarehouseError:
        changed = isinstance(error, duckdb.BinderException | duckdb.CatalogException)
        hint = self._purpose.changed_hint if changed else "check the file's permissions and the room on its disk"
        return self._purpose.problem("failed", f"DuckDB rejected {self._purpose.what}: {safe_reason(error)}", hint)

    def _rows(self, query: str, schema: str) -> list[tuple[Any, ...]]:
        try:
            return list(self._connection.execute(query, {"database": self._database, "schema": schema}).fetchall())
        except duckdb.Error as error:
            raise self._failed(error) from None


def connect(target: Mapping[str, Any], project_root: Path, read_seconds: float, purpose: Purpose = LOG) -> DuckDBLog:
    """Open the profile's file to write to it. Raises `WarehouseError`: `warehouse-locked` if it is in use."""
    del read_seconds  # a local file needs no time limit
    profile = parse_profile(target, project_root)
    if profile.file is None:
        raise purpose.problem("not-supported", "the profile's DuckDB database is not a file", "use a DuckDB file")
    # A new file is created in a format that an older DuckDB in dbt can open as well.
    ours = {"autoinstall_known_extensions": "false", "storage_compatibility_version": "v1.0.0"}
    connection = duckdb.connect(":memory:", config={**profile.config, **ours})
    try:
        connection.execute("SET enable_progress_bar = false")
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET python_enable_replacements = false")
        main = profile.attachments[0]
        attach(connection, replace(main, sql=main.sql.removesuffix(" (READ_ONLY)")), profile.connect_attempts)
        connection.execute(f"USE {double_quoted(profile.database)}")
    except BaseException:
        connection.close()
        raise
    return DuckDBLog(connection, profile.database, purpose)

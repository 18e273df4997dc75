"""Writes the log to PostgreSQL: binary COPY fills a temporary table, from which SQL moves the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import adbc_driver_manager

from dbt_stripe_sync.model.log import CHANGES, PROBLEMS, RUNS, Kind
from dbt_stripe_sync.model.sql import literal
from dbt_stripe_sync.warehouse.failures import first_line
from dbt_stripe_sync.warehouse.log import LOG, Purpose
from dbt_stripe_sync.warehouse.postgres import CONNECTION_ENDED, INSUFFICIENT_PRIVILEGE, MESSAGE_IS_SAFE, log_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

    from dbt_stripe_sync.model.errors import WarehouseError
    from dbt_stripe_sync.warehouse.adbc_connection import Connection

# How long to wait for locks on the log's tables, so that they can't block a run.
LOCK_SECONDS = 30
# A lost server is noticed within a minute (postgresql.org/docs/current/libpq-connect.html).
KEEPALIVE = {"keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
LOCK_NOT_AVAILABLE = "55P03"
# Classes of SQLSTATE: an undefined or wrong column or table, and values that don't fit.
WRONG_NAME_OR_TYPE = ("42", "22", "23")
QUERY_CANCELED = "57014"


class PostgresLog:
    """One connection with write access. Implements `warehouse.log.LogConnection`."""

    types: Mapping[Kind, str] = {
        Kind.TEXT: "text",
        Kind.TEXTS: "text[]",
        Kind.NUMBER: "bigint",
        Kind.BOOLEAN: "boolean",
        Kind.TIME: "timestamptz",
    }
    # Not OBJECTS, because PostgreSQL can't index a text of more than 2,704 bytes, and a key may be longer.
    with_primary_key = (RUNS, CHANGES, PROBLEMS)

    def __init__(self, connection: Connection, user: str, read_seconds: float, purpose: Purpose) -> None:
        self._connection = connection
        self._user = user
        self._read_seconds = read_seconds
        self._purpose = purpose
        self._cursor = connection.cursor()

    def begin(self) -> None:
        """Set time limits for the transaction, which the driver begins by itself."""
        self.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        self.execute(f"SET LOCAL statement_timeout = '{int(self._read_seconds * 1000)}ms'")

    def commit(self) -> None:
        """Commit the transaction."""
        try:
            self._connection.commit()
        except adbc_driver_manager.Error as error:
            raise self._failed(error) from None

    def rollback(self) -> None:
        """Roll back the transaction."""
        try:
            self._connection.rollback()
        except adbc_driver_manager.Error:
            return  # the connection was lost, and the transaction with it

    def hold(self, table: str) -> None:
        """Lock the table against other writers, but not readers."""
        self.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")

    def execute(self, sql: str) -> None:
        """Execute a statement without a result."""
        try:
            self._cursor.execute(sql)
        except adbc_driver_manager.Error as error:
            raise self._failed(error) from None

    def read(self, sql: str) -> pa.RecordBatchReader:
        """The rows of a query."""
        try:
            return self._cursor.reader(sql)
        except adbc_driver_manager.Error as error:
            raise self._failed(error) from None

    def stage(self, name: str, rows: pa.RecordBatchReader) -> str:
        """Create a temporary table with these rows, through COPY."""
        try:
            # In a separate statement, because a statement with bound rows can't get other SQL.
            with self._connection.cursor() as filling:
                filling.ingest(name, rows)
        except adbc_driver_manager.Error as error:
            raise self._failed(error) from None
        return f"pg_temp.{name}"

    def has_schema(self, schema: str) -> bool:
        """Whether the schema exists.

        `CREATE SCHEMA IF NOT EXISTS` would need a permission even if the schema exists.
        """
        return bool(self._rows(f"SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = {literal(schema)}"))

    def tables(self, schema: str) -> frozenset[str]:
        """The tables and views of a schema."""
        query = (
            "SELECT c.relname::text FROM pg_catalog.pg_class c "
            "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
            f"WHERE n.nspname = {literal(schema)} AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
        )
        return frozenset(str(name) for (name,) in self._rows(query))

    def cancel(self) -> None:
        """Cancel the running statement, from another thread."""
        self._cursor.cancel()

    def close(self) -> None:
        """Close the connection."""
        self._cursor.close()
        self._connection.close()

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        try:
            return self._cursor.rows(query)
        except adbc_driver_manager.Error as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> WarehouseError:
        state = getattr(error, "sqlstate", None) or ""
        message = first_line(error).rsplit("ERROR:  ", 1)[-1]
        what, problem = self._purpose.what, self._purpose.problem
        if state == INSUFFICIENT_PRIVILEGE:
            return problem(
                "denied",
                f"PostgreSQL does not let `{self._user}` write {what}: {message}",
                f"grant what {self._purpose.docs} lists",
            )
        if state in {LOCK_NOT_AVAILABLE, QUERY_CANCELED}:
            return problem(
                "failed",
                f"PostgreSQL gave up on writing {what}: {message}",
                f"end what holds the tables of {what}, such as a VACUUM FULL; to wait longer for large ones, raise "
                "`warehouse_read_timeout`",
            )
        if state.startswith(CONNECTION_ENDED) or "server closed the connection" in message:
            return problem("failed", f"the connection was lost while writing {what}", "check the network")
        # Messages about data can quote row values.
        reason = (
            f"{message} (SQLSTATE {state})" if state.startswith(MESSAGE_IS_SAFE) else f"SQLSTATE {state or 'unknown'}"
        )
        hint = self._purpose.changed_hint if state.startswith(WRONG_NAME_OR_TYPE) else "check the server's log"
        return problem("failed", f"PostgreSQL rejected {what}: {reason}", hint)


def connect(target: Mapping[str, Any], project_root: Path, read_seconds: float, purpose: Purpose = LOG) -> PostgresLog:
    """Connect with the profile's settings. Raises `WarehouseError`."""
    del project_root  # libpq resolves certificate paths as dbt's driver does
    user = str(target.get("role") or target.get("user"))
    return PostgresLog(log_in(target, **KEEPALIVE), user, read_seconds, purpose)
